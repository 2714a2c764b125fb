"""The host: an engine, its tables and the runs that this process carries out. There is one in a process."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pollux_durable.data.runs import ENDED, RunInfo, RunRequest
from pollux_durable.errors import RunCancelledError, RunFailedError, StoredDataError, WorkflowTimeoutError
from pollux_durable.lanes import LanePool
from pollux_durable.notifying import POLL_S, ChangeSignal
from pollux_durable.pausing import QueuePauses
from pollux_durable.tables.calls import CallTable
from pollux_durable.tables.events import EventTable
from pollux_durable.tables.schedules import ScheduleTable
from pollux_durable.tables.schema import check_tables, create_tables
from pollux_durable.tables.sessions import SessionTable
from pollux_durable.tables.states import StateTable
from pollux_durable.tables.triggers import TriggerTable
from pollux_durable.tables.waits import WaitTable
from pollux_durable.tables.workers import WorkerTable
from pollux_durable.tracing import Tracer
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.events import EventDraft, Suspension
    from pollux_durable.data.runs import EngineRun, EngineStatus, RunStatus
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.engines import Engine
    from pollux_durable.registry import Registry

#: So many runs may hold a thread while they wait. Further ones give theirs back at once.
_MAX_HOLDING = 50
_MANY = 100_000
#: So many runs are looked up by one statement.
_READ_TOGETHER = 500
#: The first wait for the record of a run that has ended here a moment ago.
_SHORTEST_WAIT_S = 0.002
log = logging.getLogger("pollux_durable")
_STATUSES: dict[EngineStatus, RunStatus] = {"queued": "queued", "running": "running", "completed": "completed"}


class Host:
    """Carries runs out and lets the rest of the process start, wait for and change them."""

    def __init__(self, settings: DurableSettings, engine: Engine, store: JsonStore, registry: Registry) -> None:
        self.settings = settings
        self.engine = engine
        self.store = store
        self.registry = registry
        (create_tables if settings.execute else check_tables)(engine.database)
        self.events = EventTable(engine.database, store)
        self.waits = WaitTable(engine.database)
        self.states = StateTable(engine.database, store)
        self.calls = CallTable(engine.database, store)
        self.sessions = SessionTable(engine.database, store)
        self.lanes = LanePool()
        self.workers = WorkerTable(engine.database)
        self.schedules = ScheduleTable(engine.database)
        self.triggers = TriggerTable(engine.database)
        self.pauses = QueuePauses(engine)
        #: Announced when a run has ended or an event was published here.
        self.changes = ChangeSignal()
        #: The runs that threads of this process carry out.
        self.active: dict[str, ActiveRun] = {}
        self.tracer = Tracer()
        #: Called with each run that waits for an answer.
        self.notifiers: list[Callable[[Suspension], object]] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._n_holding = 0

    def check_process(self) -> None:
        """Raise ConfigurationError in a process that was forked from the one which launched the engine."""
        if self.is_foreign:
            raise ConfigurationError(
                "durable workflows were set up in the parent process, whose connections a fork must not use",
                hint="fork before the first run, or start processes with 'spawn'",
            )

    @property
    def is_foreign(self) -> bool:
        """True in a fork of the process that launched the engine."""
        return self._process != os.getpid()

    # Starting

    def start(self, requests: Sequence[RunRequest]) -> None:
        """Start runs."""
        self.check_process()
        for request in requests:
            workflow = self.registry.get(request.workflow_id)
            if workflow is not None and workflow.queue is not None and workflow.queue.name == request.queue:
                self.engine.register_queue(workflow.queue)
        self.engine.start(requests)

    # Looking

    def read_run(self, execution_id: str) -> RunInfo:
        """Return the state of a run. Raises ConfigurationError for an unknown id."""
        found = self.read_runs([execution_id])
        if execution_id not in found:
            raise ConfigurationError(f"there is no run {execution_id!r}", hint="pollux-sync durable ls")
        return found[execution_id]

    def read_runs(self, execution_ids: Sequence[str]) -> dict[str, RunInfo]:
        """Return what is known of those of these runs that exist."""
        return {info.execution_id: info for info in self._describe([*self.engine.read_runs(execution_ids).values()])}

    def list_runs(
        self,
        *,
        workflow_id: str | None = None,
        statuses: Sequence[EngineStatus] = (),
        prefix: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[RunInfo]:
        """Return runs, the newest first; with a ``prefix`` those whose ids begin with it."""
        return self._describe(
            self.engine.list_runs(name=workflow_id, statuses=statuses, prefix=prefix, limit=limit, offset=offset)
        )

    def _describe(self, runs: Sequence[EngineRun]) -> list[RunInfo]:
        open_ids = [run.execution_id for run in runs if run.status not in ("completed", "failed")]
        cancelled = self.waits.find_cancelled(open_ids) if open_ids else set()
        waits = self.waits.find(open_ids) if open_ids else {}
        infos = []
        for run in runs:
            wait = waits.get(run.execution_id)
            status = self._find_status(run, is_cancelled=run.execution_id in cancelled)
            infos.append(_describe_run(run, status, wait.step_key if wait and status == "waiting" else None))
        return infos

    def _find_status(self, run: EngineRun, *, is_cancelled: bool) -> RunStatus:
        if run.status in ("completed", "failed"):
            return run.status
        if is_cancelled:
            return "pending_cancel" if run.status == "running" or run.execution_id in self.active else "cancelled"
        # Its wait may have been removed since the run was read: it goes on already.
        return "waiting" if run.status == "stopped" else _STATUSES[run.status]

    # Waiting

    @contextmanager
    def hold_thread(self) -> Iterator[bool]:
        """Tell whether one more run may hold its thread while it waits."""
        with self._lock:
            self._n_holding += 1
            may_hold = self._n_holding <= _MAX_HOLDING
        try:
            yield may_hold
        finally:
            with self._lock:
                self._n_holding -= 1

    def wait_ended(self, execution_id: str, timeout_s: float | None) -> RunInfo:
        """Wait until a run has ended; return what is known of it. Raises WorkflowTimeoutError."""
        self.check_process()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # What has left its thread here has most likely ended: then one statement reads it.
        may_have_ended = self.engine.join(execution_id, timeout_s)
        pause_s = _SHORTEST_WAIT_S
        while True:
            seen = self.changes.count
            # The end of a run that goes on here is announced: until then there is nothing to read.
            if execution_id not in self.active and (may_have_ended or self._find_stopped([execution_id])):
                info = self.read_run(execution_id)
                if info.status in ENDED:
                    return info
            may_have_ended = False
            left_s = POLL_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise WorkflowTimeoutError(
                    f"run {execution_id!r} did not end within {timeout_s:g} s",
                    hint="it goes on: wait for it again, or cancel it",
                )
            has_changed = self.changes.wait(seen, min(pause_s, left_s))
            # What was announced may be recorded a moment later.
            pause_s = _SHORTEST_WAIT_S if has_changed else min(pause_s * 2, POLL_S)

    def _find_stopped(self, execution_ids: Sequence[str]) -> list[str]:
        """Return those of the runs that do not go on now: they have ended, wait, or do not exist."""
        statuses = self.engine.read_statuses(execution_ids)
        return [name for name in execution_ids if statuses.get(name) not in ("queued", "running")]

    def wait_all_ended(self, execution_ids: Sequence[str], timeout_s: float | None) -> dict[str, RunInfo]:
        """Wait until all of these runs have ended; return what is known of each. Raises WorkflowTimeoutError."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        ended: dict[str, RunInfo] = {}
        pending = dict.fromkeys(execution_ids)
        while pending:
            for names in _split([*pending]):
                infos = self.read_runs(self._find_stopped(names))
                ended |= {name: info for name, info in infos.items() if info.status in ENDED}
            pending = dict.fromkeys(name for name in pending if name not in ended)
            if pending and deadline is not None and time.monotonic() >= deadline:
                raise WorkflowTimeoutError(
                    f"{len(pending)} of {len(execution_ids)} runs did not end within {timeout_s:g} s",
                    hint="they go on: wait for them again, or cancel them",
                )
            if pending:
                time.sleep(POLL_S)
        return ended

    def open_result(self, info: RunInfo) -> Any:
        """Return the result of an ended run, as the type that its workflow declares. Raises RunFailedError."""
        if info.status == "completed":
            if info.error_type == StoredDataError.__name__:
                raise StoredDataError(f"the result of run {info.execution_id!r} cannot be read: {info.error}")
            workflow = self.registry.get(info.workflow_id)
            return info.result if workflow is None else workflow.restore_result(info.result)
        kind = RunCancelledError if info.status == "cancelled" else RunFailedError
        reason = "was cancelled" if info.status == "cancelled" else f"failed: {info.error_type}: {info.error}"
        raise kind(
            f"run {info.execution_id!r} of {info.workflow_id!r} {reason}",
            hint=f"pollux-sync durable show {info.execution_id}",
            execution_id=info.execution_id,
            error_type=info.error_type,
        )

    # Changing

    def publish(self, drafts: Sequence[EventDraft]) -> list[int]:
        """Publish events, and wake the runs that wait for their topics."""
        self.check_process()
        ids = self.events.publish(drafts)
        self.wake_waiting_for({draft.topic for draft in drafts})
        return ids

    def wake_waiting_for(self, targets: set[str]) -> None:
        """Have runs that wait for these topics or runs go on."""
        self.changes.announce()
        self.wake([wait.execution_id for wait in self.waits.find_waiting_for(sorted(targets))])

    def wake(self, execution_ids: Sequence[str]) -> None:
        """Have runs that wait go on. Another process may do the same: each is resumed once."""
        if execution_ids and (claimed := self.waits.claim(execution_ids)):
            self.engine.resume(claimed)

    def cancel(self, execution_ids: Sequence[str], *, aborts: bool = False) -> None:
        """Cancel runs and all that they have started. Model calls in flight end, or are aborted."""
        self.check_process()
        # One that is being cancelled may be aborted still.
        again = execution_ids if aborts else ()
        for execution_id in sorted({*self._find_family(execution_ids), *again}):
            self.waits.cancel([execution_id], aborts=aborts)
            self.engine.stop(execution_id)
            run = self.active.get(execution_id)
            if run is not None:
                run.abort() if aborts else run.stop()
            freed = self.states.release_all(execution_id)
            self.wake_waiting_for({build_state_target(*names) for names in freed} | {execution_id})

    def _find_family(self, execution_ids: Sequence[str]) -> list[str]:
        """Return those of the runs that go on, and the runs below them that do."""
        infos = self.read_runs(execution_ids)
        open_ids = [info.execution_id for info in infos.values() if info.status not in ENDED]
        below = set(open_ids)
        found = True
        # The ids of runs begin with those of the runs that have started them.
        others = [info for name in open_ids for info in self.list_runs(prefix=f"{name}.", limit=_MANY)]
        others = [info for info in others if info.status not in ENDED]
        while found:
            found = False
            for info in others:
                if info.parent_execution_id in below and info.execution_id not in below:
                    below.add(info.execution_id)
                    found = True
        return sorted(below)

    def resume(self, execution_id: str) -> None:
        """Have a cancelled run go on."""
        self.check_process()
        info = self.read_run(execution_id)
        if info.status != "cancelled":
            raise ConfigurationError(f"run {execution_id!r} is {info.status}", hint="only a cancelled run is resumed")
        self.waits.revoke_cancel(execution_id)
        self.engine.resume({execution_id: info.queue})

    def notify_suspended(self, suspension: Suspension) -> None:
        """Tell plugins of a run that waits for an answer."""
        for notify in self.notifiers:
            try:
                notify(suspension)
            except Exception as error:  # noqa: BLE001 - the run waits all the same
                log.warning("a plugin failed over a suspended run: %s: %s", type(error).__name__, error)

    def close(self) -> None:
        """End all that this process carries out."""
        for run in [*self.active.values()]:
            run.stop()
        self.lanes.close()
        try:
            self.workers.mark_gone(self.engine.executor_id)
        except Exception as error:  # noqa: BLE001 - a database that is away; others find out when the lease is over
            log.warning("other workers could not be told of the end: %s: %s", type(error).__name__, error)
        self.engine.close()


def _split(names: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(names), _READ_TOGETHER):
        yield names[first : first + _READ_TOGETHER]


def build_state_target(workflow_id: str, scope: str) -> str:
    """Return what runs wait for that want a state which another run has."""
    return f"state/{workflow_id}/{scope}"


def _describe_run(run: EngineRun, status: RunStatus, waits_for: str | None) -> RunInfo:
    request = RunRequest.from_dict(run.request)
    error = run.error or {}
    is_root = request.parent_execution_id is None
    return RunInfo(
        execution_id=run.execution_id,
        workflow_id=run.name,
        status=status,
        payload=request.payload,
        result=run.result,
        error=error.get("message"),
        error_type=error.get("type"),
        # The engine may count in whole seconds; a fork has the request of the run that it was made from.
        created_at=max(run.created_at, request.created_at),
        started_at=run.started_at,
        # A run that waits is stopped, which the engine takes for an end.
        ended_at=run.ended_at if status in ENDED else None,
        parent_execution_id=request.parent_execution_id,
        root_execution_id=run.execution_id if is_root else request.root_execution_id,
        root_workflow_id=request.root_workflow_id,
        session_id=request.session_id,
        user_id=request.user_id,
        step_key=request.step_key,
        waits_for=waits_for,
        queue=run.queue,
        executor_id=run.executor_id,
        version=run.version,
    )
