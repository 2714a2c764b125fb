"""Waits: in the thread while they are short, and without one when they are long.

A run that waits for long is stopped: its thread ends, and its place in the queue is free. Whoever brings what it waits
for has it go on, and the function of the run begins again, over the steps that it has recorded.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import attrs

from pollux_durable.errors import RunStopped
from pollux_durable.notifying import POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.data.runs import Json
    from pollux_durable.hosting import Host
    from pollux_durable.tables.waits import Wait

    #: Returns what is waited for in a list of one, or an empty list while it is not there.
    Look: TypeAlias = Callable[[], list[Json]]

_SHORTEST_POLL_S = 0.005


class Waiter:
    """The waits of one run."""

    def __init__(self, host: Host, run: ActiveRun) -> None:
        self._host = host
        self._run = run

    def wait(self, wait: Wait, look: Look, *, threshold_s: float | None = None) -> list[Json]:
        """Return what ``look`` finds; an empty list if it finds nothing until ``wake_at``. Raises RunStopped to park.

        It is called again when the run goes on. ``wake_at`` is then the one of the first time.
        """
        known = self._host.waits.find([wait.execution_id]).get(wait.execution_id)
        wake_at = known.wake_at if known is not None and known.step_key == wait.step_key else wait.wake_at
        threshold_s = self._host.settings.wait_threshold_s if threshold_s is None else threshold_s
        # A wait that is known to be long is parked at once, and so is one too many for the threads of this process.
        is_long = known is not None or (wake_at is not None and wake_at - time.time() > threshold_s)
        with self._host.hold_thread() as may_hold:
            found = look() if is_long or not may_hold else self._wait_here(look, wake_at, threshold_s)
        if not found and (wake_at is None or time.time() < wake_at):
            self._park(attrs.evolve(wait, wake_at=wake_at), look)
        if known is not None:
            self._host.waits.remove(wait.execution_id)
        return found

    def _wait_here(self, look: Look, wake_at: float | None, threshold_s: float) -> list[Json]:
        until = time.time() + threshold_s
        until = until if wake_at is None else min(until, wake_at)
        pause_s = _SHORTEST_POLL_S
        while True:
            seen = self._host.changes.count
            found = look()
            left_s = until - time.time()
            if found or left_s <= 0:
                return found
            has_changed = self._host.changes.wait(seen, min(left_s, pause_s))
            # What was announced may be recorded a moment later.
            pause_s = _SHORTEST_POLL_S if has_changed else min(pause_s * 2, POLL_S)
            if self._run.stopping.is_set():
                raise RunStopped

    def _park(self, wait: Wait, look: Look) -> None:
        deadline = self._run.deadline
        if deadline is not None:
            wait = attrs.evolve(wait, wake_at=min(deadline, wait.wake_at or deadline))

        def is_due() -> bool:
            return bool(look()) or (wait.wake_at is not None and wait.wake_at <= time.time())

        park(self._host, self._run, wait, is_due)


def park(host: Host, run: ActiveRun, wait: Wait, is_due: Callable[[], bool]) -> NoReturn:
    """Stop a run until it is woken, at once if its wait is due by then. One that was cancelled stays so."""
    waits = host.waits
    waits.add(attrs.evolve(wait, queue=run.request.queue))
    host.engine.stop(wait.execution_id)
    waits.mark_parked(wait.execution_id)
    if waits.find_cancelled([wait.execution_id]):
        waits.remove(wait.execution_id)
    elif is_due():
        host.wake([wait.execution_id])
    raise RunStopped
