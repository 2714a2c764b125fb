"""The beat: a thread that says this process is alive, and brings on what nobody else would."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from pollux_durable.data.runs import ENDED
from pollux_durable.hosting import build_state_target
from pollux_durable.notifying import POLL_S
from pollux_durable.scheduling import Scheduler
from pollux_durable.tables.workers import find_host_name
from pollux_durable.triggering import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.runs import RunInfo
    from pollux_durable.hosting import Host
    from pollux_durable.tables.workers import Worker

#: How often schedules are looked at. Crons count in seconds at most.
_SCHEDULE_S = 0.5
#: How often waits are looked at that somebody else should have ended.
_SWEEP_S = 1.0
#: A process that has stopped a run and not said so for this long has died in between.
_STUCK_S = 5.0
#: The clocks of machines may differ by so much.
_CLOCK_SKEW_S = 60.0
log = logging.getLogger("pollux_durable")


class Beat:
    """Runs its tasks until it is stopped. One that fails is logged, and tried again at the next beat."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pollux-durable beat", daemon=True)
        self._dispatcher = Dispatcher(host)
        lease_s = host.settings.lease_s
        self._tasks: list[tuple[float, Callable[[], None]]] = [
            (lease_s / 3, self._keep_lease),
            (POLL_S, self._wake_due),
            (POLL_S, self._end_overdue),
            (POLL_S, self._stop_cancelled),
            (_SCHEDULE_S, Scheduler(host).fire_due),
            # A run that begins meanwhile goes back.
            (_SWEEP_S, host.pauses.keep),
            (_SWEEP_S, self._sweep),
            (min(_SWEEP_S, lease_s / 3), self._take_over),
        ]
        self._due = [0.0 for _ in self._tasks]
        self._beaten_at = time.monotonic()

    def start(self) -> None:
        """Begin."""
        # Known to others before the first run can be ours.
        self._keep_lease()
        self._thread.start()
        self._dispatcher.start()

    def stop(self) -> None:
        """End."""
        self._is_over.set()
        self._dispatcher.stop()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(POLL_S):
            now = time.monotonic()
            for number, (interval_s, task) in enumerate(self._tasks):
                if now >= self._due[number]:
                    self._due[number] = now + interval_s
                    self._attempt(task)

    def _attempt(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001 - a database that is away comes back
            log.warning("the beat could not %s: %s: %s", task.__name__.strip("_"), type(error).__name__, error)

    def _keep_lease(self) -> None:
        is_late = time.monotonic() - self._beaten_at > self._host.settings.lease_s
        self._host.workers.beat(self._host.engine.executor_id, self._host.settings.version)
        self._beaten_at = time.monotonic()
        if is_late:
            self._stop_lost()

    def _stop_lost(self) -> None:
        """Stop runs that another worker has taken over, as this process was silent for too long."""
        ours = self._host.engine.executor_id
        active = {**self._host.active}
        known = self._host.engine.read_runs([*active])
        for execution_id, run in active.items():
            now = known.get(execution_id)
            if now is not None and (now.status, now.executor_id) != ("running", ours):
                log.warning("run %s goes on elsewhere: this process was silent for too long", execution_id)
                run.stop()

    def _wake_due(self) -> None:
        self._host.wake([wait.execution_id for wait in self._host.waits.find_due(time.time())])

    def _end_overdue(self) -> None:
        """Cancel runs of this process whose time is over."""
        now = time.time()
        for run in [*self._host.active.values()]:
            if run.deadline is not None and now >= run.deadline:
                self._host.cancel([run.execution_id], aborts=True)

    def _stop_cancelled(self) -> None:
        """Tell runs of this process that another process has cancelled them."""
        active = {**self._host.active}
        if not active:
            return
        for execution_id, aborts in self._host.waits.find_cancelled_since(time.time() - _CLOCK_SKEW_S).items():
            run = active.get(execution_id)
            if run is not None:
                run.abort() if aborts else run.stop()

    def _sweep(self) -> None:
        self._host.engine.give_back()
        self._wake_stuck()
        self._wake_for_ended()
        self._free_states()

    def _wake_stuck(self) -> None:
        """Bring runs on whose process died between stopping them and resuming them."""
        stuck = [wait.execution_id for wait in self._host.waits.find_stuck(time.time() - _STUCK_S)]
        runs = self._host.engine.read_runs(stuck)
        for execution_id in stuck:
            run = runs.get(execution_id)
            if run is None or run.status in ("completed", "failed"):
                self._host.waits.remove(execution_id)
            elif run.status == "stopped":
                self._host.waits.mark_parked(execution_id)
                self._host.engine.resume({execution_id: run.queue})

    def _wake_for_ended(self) -> None:
        """Wake runs that wait for one which ended without saying so."""
        waits = self._host.waits.find_of_kind("run")
        runs = self._host.read_runs(sorted({wait.target for wait in waits if wait.target is not None}))
        self._host.wake([wait.execution_id for wait in waits if _has_ended(runs, wait.target)])

    def _free_states(self) -> None:
        """Let runs have a state whose run has ended without giving it back."""
        waits = self._host.waits.find_of_kind("state")
        wanted = {wait.target for wait in waits}
        if not wanted:
            return
        holders = [held for held in self._host.states.list_held() if build_state_target(*held[:2]) in wanted]
        runs = self._host.read_runs([execution_id for _, _, execution_id in holders])
        for workflow_id, scope, execution_id in holders:
            if _has_ended(runs, execution_id):
                self._host.states.release(workflow_id, scope, execution_id)
                self._host.wake_waiting_for({build_state_target(workflow_id, scope)})

    def _take_over(self) -> None:
        """Have the runs of dead workers go on."""
        host = self._host
        dead = [worker for worker in host.workers.list_all() if self._is_dead(worker)]
        for worker in dead:
            if worker.version == host.settings.version:
                host.engine.recover([worker.executor_id])
            # Asked again at the next beat while it has runs; a dropped request is made up for.
            if not host.engine.has_pending(worker.executor_id):
                host.workers.remove(worker.executor_id)

    def _is_dead(self, worker: Worker) -> bool:
        return worker.executor_id != self._host.engine.executor_id and is_gone(worker, self._host.settings.lease_s)


def is_gone(worker: Worker, lease_s: float) -> bool:
    """Return whether a worker counts as dead: it was silent for too long, or its process is not there."""
    if time.time() - worker.beat > lease_s:
        return True
    return worker.host == find_host_name() and not _is_alive(worker.pid)


def _has_ended(runs: dict[str, RunInfo], execution_id: str | None) -> bool:
    run = runs.get(execution_id or "")
    return run is None or run.status in ENDED


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine exists."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
