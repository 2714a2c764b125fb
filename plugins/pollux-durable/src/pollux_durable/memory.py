"""An engine in memory, for unit tests: it records and replays as the other does, and forgets all when it is closed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_durable.data.queues import Queue
from pollux_durable.data.runs import EngineRun, StepRecord
from pollux_durable.errors import RunFailure, RunStopped, StepOrderError, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.runs import EngineStatus, Json, JsonObject, RunRequest
    from pollux_durable.engines import Body, Row

_OPEN_S = 0.02


class MemoryDatabase:
    """A SQLite database in memory. One thread at a time uses it."""

    dialect: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()

    @contextmanager
    def transact(self) -> Iterator[MemoryDatabase]:
        """Begin a transaction."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Execute one statement."""
        return self._connection.execute(sql, dict(parameters or {})).fetchall()

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.close()


@attrs.define(kw_only=True)
class _StoredRun:
    """A run and its steps. ``owner`` is the thread that carries it out: one that was replaced records no more."""

    run: EngineRun
    steps: dict[int, StepRecord] = attrs.field(factory=dict)
    owner: object = None


@attrs.define
class _Execution:
    """The run that a thread carries out."""

    stored: _StoredRun
    owner: object
    n_steps: int = 0


_current: ContextVar[_Execution] = ContextVar("pollux_durable_memory")


class MemoryEngine:
    """Keeps runs in this process. Values pass through ``store``, so that what works here works on a database too."""

    executor_id = "memory"

    def __init__(self, store: JsonStore) -> None:
        self.database = MemoryDatabase()
        self._store = store
        self._bodies: dict[str, Body] = {}
        self._queues: dict[str, Queue] = {}
        self._paused: set[str] = set()
        #: When each run of a queue was begun last. One that goes on counts once for the rate.
        self._begun: dict[str, dict[str, float]] = {}
        self._runs: dict[str, _StoredRun] = {}
        self._lock = threading.RLock()
        self._is_open = False
        self._clock: threading.Thread | None = None

    def register(self, name: str, body: Body) -> None:
        """Add a body."""
        self._bodies[name] = body

    def register_queue(self, queue: Queue) -> None:
        """Set the limits of a queue."""
        known = self._queues.get(queue.name)
        self._queues[queue.name] = queue if known is None else known.tighten(queue)

    def list_queues(self) -> list[Queue]:
        """Return all queues."""
        return [*self._queues.values()]

    def pause_queue(self, name: str) -> None:
        """Leave the runs of a queue in it."""
        with self._lock:
            self._paused.add(name)

    def resume_queue(self, name: str) -> None:
        """Take runs from a queue again."""
        with self._lock:
            self._paused.discard(name)
        self._begin_queued()

    def launch(self) -> None:
        """Begin to carry out runs."""
        self._is_open = True
        self._clock = threading.Thread(target=self._watch_rates, name="pollux-durable memory", daemon=True)
        self._clock.start()
        self._begin_queued()

    def drain(self) -> None:
        """Begin no more runs here."""
        with self._lock:
            self._is_open = False

    def describe(self) -> dict[str, str]:
        """Return an empty dict: the engine has no database."""
        return {}

    def close(self) -> None:
        """Carry out nothing more, and forget all."""
        with self._lock:
            self._is_open = False
            for stored in self._runs.values():
                stored.owner = None
        if self._clock is not None:
            self._clock.join()
        self.database.close()

    # Runs

    def start(self, requests: Sequence[RunRequest]) -> None:
        """Start runs."""
        with self._lock:
            for request in requests:
                if request.queue is not None:
                    self._queues.setdefault(request.queue, Queue(request.queue))
                if request.execution_id not in self._runs:
                    data = self._store.load(self._store.dump(request.to_dict(), "the payload"))
                    self._runs[request.execution_id] = _StoredRun(run=_build_run(request, data))
        self._begin_queued()

    def join(self, execution_id: str, timeout_s: float | None) -> bool:
        """Return False: to look for the end of a run costs nothing here."""
        return False

    def read_runs(self, execution_ids: Sequence[str]) -> dict[str, EngineRun]:
        """Return the runs that exist among these."""
        with self._lock:
            return {name: self._runs[name].run for name in execution_ids if name in self._runs}

    def read_statuses(self, execution_ids: Sequence[str]) -> dict[str, EngineStatus]:
        """Return the statuses of those of these runs that exist."""
        return {name: run.status for name, run in self.read_runs(execution_ids).items()}

    def list_runs(
        self,
        *,
        name: str | None = None,
        statuses: Sequence[EngineStatus] = (),
        prefix: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[EngineRun]:
        """Return runs, the newest first."""
        with self._lock:
            runs = [stored.run for stored in reversed(self._runs.values())]
        fitting = [
            run
            for run in runs
            if name in {None, run.name}
            and (not statuses or run.status in statuses)
            and run.execution_id.startswith(prefix or "")
        ]
        return fitting[offset : offset + limit]

    def list_steps(self, execution_id: str) -> list[StepRecord]:
        """Return the steps of a run."""
        with self._lock:
            stored = self._runs.get(execution_id)
            return [] if stored is None else [step for _, step in sorted(stored.steps.items())]

    def stop(self, execution_id: str) -> None:
        """Stop a run."""
        with self._lock:
            self._change(execution_id, {"queued", "running"}, "stopped")
        self._begin_queued()

    def resume(self, queues: Mapping[str, str | None]) -> None:
        """Have stopped runs go on."""
        with self._lock:
            for execution_id in queues:
                self._change(execution_id, {"stopped"}, "queued")
        self._begin_queued()

    def note_answer(self) -> None:
        """Do nothing: runs start at once."""

    def rewind(self, execution_id: str, position: int, version: str | None = None) -> None:
        """Have an ended run go on from a step."""
        with self._lock:
            stored = self._runs[execution_id]
            stored.steps = {number: step for number, step in stored.steps.items() if number < position}
            stored.run = attrs.evolve(stored.run, result=None, error=None, ended_at=None)
            self._change(execution_id, {"completed", "failed", "stopped"}, "queued")
        self._begin_queued()

    def fork(self, execution_id: str, position: int, fork_id: str, version: str | None = None) -> None:
        """Start another run from a step of this one."""
        with self._lock:
            stored = self._runs[execution_id]
            run = EngineRun(
                execution_id=fork_id,
                name=stored.run.name,
                status="queued",
                request=stored.run.request,
                created_at=time.time(),
                queue=stored.run.queue,
            )
            steps = {number: step for number, step in stored.steps.items() if number < position}
            self._runs[fork_id] = _StoredRun(run=run, steps=steps)
        self._begin_queued()

    def delete(self, execution_ids: Sequence[str]) -> None:
        """Delete ended runs."""
        with self._lock:
            for execution_id in execution_ids:
                self._runs.pop(execution_id, None)

    def recover(self, executor_ids: Sequence[str]) -> None:
        """Do nothing: runs end with their process."""

    def give_back(self) -> None:
        """Do nothing: no other program can use this engine."""

    def has_pending(self, executor_id: str) -> bool:
        """Return False: no other process can use this engine."""
        return False

    def _change(self, execution_id: str, old: set[str], new: EngineStatus) -> None:
        stored = self._runs.get(execution_id)
        if stored is not None and stored.run.status in old:
            stored.run = attrs.evolve(stored.run, status=new)
            stored.owner = None

    # Carrying out

    def _watch_rates(self) -> None:
        while self._is_open:
            time.sleep(_OPEN_S)
            self._begin_queued()

    def _begin_queued(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            queued = [stored for stored in self._runs.values() if stored.run.status == "queued"]
            for stored in sorted(queued, key=lambda stored: stored.run.request["priority"]):
                if stored.run.name in self._bodies and self._admits(stored.run):
                    self._begin(stored)

    def _admits(self, run: EngineRun) -> bool:
        queue = self._queues.get(run.queue or "")
        if run.queue in self._paused:
            return False
        if queue is None:
            return True
        running = [other.run for other in self._runs.values() if other.run.status == "running"]
        keys = Counter(other.request["concurrency_key"] for other in running if other.queue == run.queue)
        count, period_s = queue.rate_limit or (0, 0.0)
        known = self._begun.get(queue.name, {})
        times = {name: begun for name, begun in known.items() if begun > time.monotonic() - period_s}
        self._begun[queue.name] = times
        return (
            (queue.concurrency_limit is None or keys.total() < queue.concurrency_limit)
            and (queue.per_worker is None or keys.total() < queue.per_worker)
            and (queue.per_key is None or keys[run.request["concurrency_key"]] < queue.per_key)
            and (queue.rate_limit is None or len(times.keys() - {run.execution_id}) < count)
        )

    def _begin(self, stored: _StoredRun) -> None:
        if stored.run.queue in self._queues:
            self._begun.setdefault(stored.run.queue or "", {})[stored.run.execution_id] = time.monotonic()
        started_at = stored.run.started_at or time.time()
        stored.run = attrs.evolve(stored.run, status="running", started_at=started_at, executor_id=self.executor_id)
        stored.owner = owner = object()
        threading.Thread(target=self._carry_out, args=(stored, owner), name="pollux-durable run", daemon=True).start()

    def _carry_out(self, stored: _StoredRun, owner: object) -> None:
        _current.set(_Execution(stored, owner))
        try:
            result = self._bodies[stored.run.name](stored.run.execution_id, stored.run.request)
            self._end(stored, owner, status="completed", result=self._store.load(self._store.dump(result)))
        except RunStopped:
            pass
        except RunFailure as failure:
            self._end(stored, owner, status="failed", error=failure.error)
        except BaseException as error:  # noqa: BLE001 - as the other engine, which ends such a run in the same way
            self._end(stored, owner, status="failed", error=describe_error(error))
        self._begin_queued()

    def _end(self, stored: _StoredRun, owner: object, **facts: Any) -> None:
        with self._lock:
            if stored.owner is owner:
                stored.run = attrs.evolve(stored.run, ended_at=time.time(), **facts)
                stored.owner = None

    # Steps

    def run_step(self, key: str, function: Callable[[], Json]) -> Json:
        """Return what a step returned before, or carry it out."""
        (run,) = self.reserve_steps([key])
        return run(function)

    def reserve_steps(self, keys: Sequence[str]) -> list[Callable[[Callable[[], Json]], Json]]:
        """Return as many functions that each carry out one step."""
        execution = _current.get()
        return [self._reserve(execution, key) for key in keys]

    def _reserve(self, execution: _Execution, key: str) -> Callable[[Callable[[], Json]], Json]:
        execution.n_steps += 1
        position, stored = execution.n_steps, execution.stored

        def run(function: Callable[[], Json]) -> Json:
            with self._lock:
                self._check_owner(execution)
                recorded = stored.steps.get(position)
            if recorded is not None:
                if recorded.key != key:
                    raise StepOrderError(
                        f"step {position} of run {stored.run.execution_id!r} was {recorded.key!r} and is {key!r} now",
                        hint="keep the order of steps while runs go on, or fork the run",
                    )
                return recorded.result
            started_at = time.time()
            result = self._store.load(self._store.dump(function(), f"the result of step {key!r}"))
            with self._lock:
                self._check_owner(execution)
                stored.steps[position] = StepRecord(
                    position=position, key=key, result=result, started_at=started_at, ended_at=time.time()
                )
            return result

        return run

    def _check_owner(self, execution: _Execution) -> None:
        if execution.stored.owner is not execution.owner:
            raise RunStopped


def _build_run(request: RunRequest, data: JsonObject) -> EngineRun:
    return EngineRun(
        execution_id=request.execution_id,
        name=request.workflow_id,
        status="queued",
        request=data,
        created_at=request.created_at,
        queue=request.queue,
    )
