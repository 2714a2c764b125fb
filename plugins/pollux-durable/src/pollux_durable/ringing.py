"""When queues are looked at: at once if a run was put into one here, and otherwise only if a run is in it.

DBOS looks into each queue in a thread of its own, at a fixed interval, and each look takes it some milliseconds of CPU.
Between two looks the thread waits for the event that ends it. The bell stands in for that wait. For what other
processes have put into a queue, it looks by one cheap statement.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pollux_durable.notifying import POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: DBOS reads the limits of a queue once for each look, so it looks at least so often.
_LONGEST_S = 2.0
#: Rings within this time count as one.
_TOGETHER_S = 0.05
#: For so long at most no run is started while answers come one after the other.
_LONGEST_HOLD_S = 1.5
_THREAD_PREFIX = "queue-worker-"
#: The queue of DBOS itself, which nothing here puts runs into.
_INTERNAL = "_dbos_internal_queue"
#: Stands for the thread that starts a thread for each new queue.
_MANAGER = ""


class QueueBell:
    """Wakes the threads that look into queues."""

    def __init__(self, has_runs: Callable[[str], bool]) -> None:
        self._has_runs = has_runs
        self._rung = threading.Condition()
        self._counts: dict[str, int] = {}
        #: Of each queue: the count of rings at its last look, the time of that, and how long to wait for the next one.
        self._seen: dict[str, int] = {}
        self._looked_at: dict[str, float] = {}
        self._pauses_s: dict[str, float] = {}
        self._answered_at = self._held_until = self._hold_ends = 0.0

    def hang(self, stop: threading.Event) -> None:
        """Have the threads wait here that wait for this event."""
        wait, end = stop.wait, stop.set

        def wait_or_ring(timeout: float | None = None) -> bool:
            name = threading.current_thread().name
            queue = name.removeprefix(_THREAD_PREFIX) if name.startswith(_THREAD_PREFIX) else _MANAGER
            if queue == _INTERNAL:
                return wait()
            if queue == _MANAGER or timeout is None:
                self._wait_rung(queue, stop, timeout)
            elif timeout > 2 * POLL_S:  # another process was in the way: DBOS leaves the queue to it for a while
                wait(timeout)
            else:
                self._wait_for_runs(queue, stop)
            return stop.is_set()

        def end_all() -> None:
            end()
            with self._rung:
                self._rung.notify_all()

        # The threads have this very object already.
        vars(stop).update(wait=wait_or_ring, set=end_all)

    def ring(self, queues: Iterable[str] = (_MANAGER,)) -> None:
        """Have these queues looked at; without any, have new queues found."""
        with self._rung:
            for queue in queues:
                self._counts[queue] = self._counts.get(queue, 0) + 1
            self._rung.notify_all()

    def note_answer(self) -> None:
        """Have runs start a moment later if answers come one after the other.

        The runs that they wake would take the interpreter from the thread that answers.
        """
        now = time.monotonic()
        if now - self._answered_at > _TOGETHER_S:
            self._hold_ends = now + _LONGEST_HOLD_S
        else:
            self._held_until = min(now + _TOGETHER_S, self._hold_ends)
        self._answered_at = now

    def _wait_for_runs(self, queue: str, stop: threading.Event) -> None:
        """Return when a queue has runs, or was not looked at for long."""
        until = time.monotonic() + _LONGEST_S
        while not stop.is_set() and time.monotonic() < until:
            pause_s = self._pauses_s.get(queue, POLL_S)
            is_rung = self._wait_rung(queue, stop, pause_s)
            # What has rung may be recorded a moment later, as the end of a run that leaves its place to the next one.
            self._pauses_s[queue] = _TOGETHER_S if is_rung else min(pause_s * 2, POLL_S)
            if self._has_runs(queue):
                return

    def _wait_rung(self, queue: str, stop: threading.Event, timeout_s: float | None) -> bool:
        """Return whether a queue was rung for since its last look; wait for that."""

        def is_rung() -> bool:
            return self._counts.get(queue, 0) != self._seen.get(queue, 0)

        with self._rung:
            self._rung.wait_for(lambda: stop.is_set() or is_rung(), timeout_s)
            self._rung.wait_for(stop.is_set, self._looked_at.get(queue, 0.0) + _TOGETHER_S - time.monotonic())
            while not stop.is_set() and (left_s := self._held_until - time.monotonic()) > 0:
                self._rung.wait(left_s)
            was_rung = is_rung()
            self._seen[queue] = self._counts.get(queue, 0)
            self._looked_at[queue] = time.monotonic()
        return was_rung
