"""The engine on DBOS Transact, over SQLite or PostgreSQL. The one module that imports dbos and sqlalchemy.

Only the MIT part of DBOS is used: no Conductor, no auto-upgrade, no sharding. The table of workers shows
which processes are alive; DBOS recovers the runs of the others.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import threading
import time
import uuid
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from contextvars import Context
from functools import cache
from importlib.metadata import version as read_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import attrs
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, Serializer, SetWorkflowID
from dbos import _dbos as _theirs
from dbos._context import current_owner_xid
from dbos._core import WorkflowHandleFuture
from dbos._dbos import _get_dbos_instance
from dbos._error import (
    DBOSInitializationError,
    DBOSStepNondeterminismError,
    DBOSUnexpectedStepError,
    DBOSWorkflowCancelledError,
    DBOSWorkflowConflictIDError,
)
from dbos._serialization import DefaultSerializer, safe_deserialize
from dbos._sys_db import db_retry

from pollux_durable.data.queues import SHARED_QUEUE, Queue
from pollux_durable.dbosrows import STATUSES, StoredRun, Unreadable, find_queue, read_status, read_step
from pollux_durable.dbossteps import EndedStep, StepStatements
from pollux_durable.errors import (
    PayloadError,
    RunFailure,
    RunStopped,
    StepOrderError,
    StoredDataError,
    describe_error,
)
from pollux_durable.notifying import POLL_S
from pollux_durable.ringing import QueueBell
from pollux_durable.sqliteturns import BUSY_TIMEOUT_MS, TurnTakingConnection
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dbos import EnqueueOptions
    from dbos import Queue as StoredQueue
    from dbos._sys_db import OperationResultInternal, RecordedResult, SystemDatabase, WorkflowStatuses
    from sqlalchemy.pool import PoolProxiedConnection

    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.runs import EngineRun, EngineStatus, Json, JsonObject, RunRequest, StepRecord
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.engines import Body, Row

#: How many runs of the shared queue a worker carries out at a time. Runs that wait do not count.
_WORKER_CONCURRENCY = 64
#: So many threads carry runs out; more runs than this wait for one of them. None is held for long by a run that waits.
_MAX_THREADS = 80
#: So many runs begin at once in this process; of a longer list the queue starts one after the other.
_MAX_AT_ONCE = 20
_ENQUEUED_TOGETHER = 500
_NO_KEY = "-"
_APPLICATION = "pollux"
#: The schema of their tables on PostgreSQL.
_SCHEMA = "dbos"
#: Begins the text of an error. No JSON does, so a result that looks like one is not taken for it.
_ERROR_MARK = "pollux-error:"
_CONNECT_TIMEOUT_S = 10
_SHORTEST_PATIENCE_S = 5.0
#: What statements are given holds prompts and answers, which no error may show.
_POOL = {"pool_size": 20, "max_overflow": 20, "pool_timeout": 60, "hide_parameters": True}
#: SQLite knows `unixepoch('subsec')` since then, and DBOS needs it on Python 3.12 and later.
_UNIXEPOCH_VERSION = (3, 42)
#: Of these DBOS warns, and here they are the usual course: a run that was cancelled, taken over, or started twice.
_EXPECTED = ("cancelled", "no longer owned", "already exists in queue")
#: Inputs and results were in the first table before they had tables of their own.
_SELECT_RUNS = (
    "SELECT r.workflow_uuid, r.status, r.name, COALESCE(i.inputs, r.inputs), COALESCE(o.output, r.output),"
    " COALESCE(o.error, r.error), r.serialization, r.created_at, r.started_at_epoch_ms, r.completed_at,"
    " r.executor_id, r.application_version FROM {schema}workflow_status r"
    " LEFT JOIN {schema}workflow_input i ON i.workflow_uuid = r.workflow_uuid"
    " LEFT JOIN {schema}workflow_output o ON o.workflow_uuid = r.workflow_uuid WHERE r.workflow_uuid IN :ids"
)
#: What their threads for queues, schedules, and delays and timeouts do.
_THREADS = ("queue_thread", "dynamic_scheduler_loop", "background_jobs_thread")
#: The releases of DBOS whose steps and ends of runs are written by statements of ours: those that were read for it.
_READ_RELEASES = frozenset({"3.4.0"})
#: DBOS takes runs from a queue whatever their workflow, and says so of one that this process does not know.
_UNKNOWN = "is not a registered workflow function"
_unknown_taken = threading.Event()
log = logging.getLogger("pollux_durable.engine")


def _refuse_pickle(*_: object) -> NoReturn:
    raise StoredDataError(
        "a row of the database claims to be a pickle, which could run any code; it is not read",
        hint="find out who writes to the database",
    )


def _forbid_pickle() -> None:
    """Replace the functions of DBOS that pickle. A serializer is not enough: each row names its own format."""
    for name in ("serialize", "deserialize"):
        if name not in vars(DefaultSerializer):
            raise ConfigurationError(
                "this release of dbos cannot be kept from reading pickles", hint="pip install 'dbos>=3.4,<3.5'"
            )
        setattr(DefaultSerializer, name, _refuse_pickle)


_forbid_pickle()


@attrs.frozen
class _Encoded:
    """A result that is JSON already."""

    text: str


class _JsonSerializer(Serializer):
    """Writes what DBOS stores as JSON: requests, results, and errors as their descriptions."""

    def __init__(self, store: JsonStore) -> None:
        self._store = store

    def name(self) -> str:
        return "pollux_json"

    def serialize(self, data: Any) -> str:
        if isinstance(data, _Encoded):
            return data.text
        if isinstance(data, BaseException):
            error = data.error if isinstance(data, RunFailure) else describe_error(data)
            return _ERROR_MARK + self._store.dump(error)
        return self._store.dump(data)

    def deserialize(self, serialized_data: str) -> Any:
        if serialized_data.startswith(_ERROR_MARK):
            return RunFailure(self._store.load(serialized_data.removeprefix(_ERROR_MARK)))
        return self._store.load(serialized_data)


class _ShowingSerializer(_JsonSerializer):
    """Reads what is shown of runs, also where some of it cannot be read."""

    def deserialize(self, serialized_data: str) -> Any:
        try:
            return super().deserialize(serialized_data)
        except StoredDataError as error:
            return Unreadable(error.message)


class _Carrier(BaseException):
    """Takes an exception past DBOS, which would record it as the result of the step."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Transaction:
    def __init__(self, connection: PoolProxiedConnection, dialect: sa.Dialect) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._dialect = dialect

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        try:
            self._cursor.execute(_adapt_sql(sql, self._dialect.name), dict(parameters or {}))
            return [tuple(row) for row in self._cursor.fetchall()] if self._cursor.description else []
        except self._dialect.loaded_dbapi.Error as error:
            raise _wrap_error(error, self._dialect, self._connection) from error

    def commit(self) -> None:
        try:
            self._connection.commit()
        except self._dialect.loaded_dbapi.Error as error:
            raise _wrap_error(error, self._dialect, self._connection) from error


@cache
def _adapt_sql(sql: str, dialect: str) -> str:
    """Return a statement with its parameters as the driver names them."""
    return sql if dialect == "sqlite" else re.sub(r":(\w+)", r"%(\1)s", sql.replace("%", "%%"))


def _wrap_error(error: Exception, dialect: sa.Dialect, connection: PoolProxiedConnection | None = None) -> Exception:
    """Return an error of the driver as SQLAlchemy raises it, so that whoever catches errors knows one kind."""
    is_lost = connection is not None and dialect.is_disconnect(error, connection, None)  # type: ignore[arg-type]
    if connection is not None and is_lost:
        connection.invalidate(error)
    driver_error = dialect.loaded_dbapi.Error
    return sa.exc.DBAPIError.instance(
        None, None, error, driver_error, hide_parameters=True, connection_invalidated=is_lost, dialect=dialect
    )


class _SqlDatabase:
    """Executes statements on the driver's own connections: those of SQLAlchemy take four times as long."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.dialect: Literal["sqlite", "postgresql"] = "sqlite" if "sqlite" in engine.dialect.name else "postgresql"

    @contextmanager
    def transact(self) -> Iterator[_Transaction]:
        dialect = self._engine.dialect
        try:
            connection = self._engine.raw_connection()
        except dialect.loaded_dbapi.Error as error:
            raise _wrap_error(error, dialect) from error
        # Closing gives the connection back, and rolls back what is not committed.
        with closing(connection):
            transaction = _Transaction(connection, dialect)
            yield transaction
            transaction.commit()


class DbosEngine:
    """Keeps runs and steps in the tables of DBOS. There is one in a process, as DBOS is global."""

    def __init__(self, settings: DurableSettings, store: JsonStore) -> None:
        self._settings = settings
        self._store = store
        self._sql = _create_sql_engine(settings)
        _check_connection(self._sql, settings)
        self.database = _SqlDatabase(self._sql)
        self._serializer = _ShowingSerializer(store)
        self._schema = "" if self.database.dialect == "sqlite" else f"{_SCHEMA}."
        self._runs_table = f"{self._schema}workflow_status"
        statement = sa.text(_SELECT_RUNS.format(schema=self._schema))
        self._read_statement = statement.bindparams(sa.bindparam("ids", expanding=True))
        name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        self.executor_id = f"{name}-{uuid.uuid4().hex[:8]}"
        self._functions: dict[str, Callable[[JsonObject], Json]] = {}
        #: The runs that were started in this process, while their threads carry them out.
        self._futures: dict[str, Future[Any]] = {}
        self._queues: dict[str, Queue] = {}
        self._paused: set[str] = set()
        self._bell = QueueBell(self._has_queued)
        self._lock = threading.Lock()
        self._is_launched = self._is_draining = False
        self._client: DBOSClient | None = None
        _warn_of_environment()
        _quieten_log()
        if settings.execute:
            self._create_dbos()
        else:
            # Not `DBOS`, whose launch takes runs from the queues.
            self._client = self._open_checked_client()

    def _create_dbos(self) -> None:
        DBOS(
            config={
                "name": _APPLICATION,
                "system_database_engine": self._sql,
                "serializer": _JsonSerializer(self._store),
                "application_version": self._settings.version,
                "executor_id": self.executor_id,
                "enable_otlp": False,
                "max_executor_threads": _MAX_THREADS,
                "dbos_system_schema": _SCHEMA,
                "run_migrations": True,
            }
        )

    def _open_client(self) -> DBOSClient:
        return DBOSClient(
            system_database_engine=self._sql,
            serializer=self._serializer,
            application_name=_APPLICATION,
            retry_connection_errors=self._settings.execute,
            lazy=True,
        )

    def _open_checked_client(self) -> DBOSClient:
        try:
            client = self._open_client()
            _check_migrations(client, self._settings)
        except BaseException:
            self._sql.dispose()
            raise
        return client

    def register(self, name: str, body: Body) -> None:
        """Add a body."""
        if not self._settings.execute:
            return

        def carry_out(request: JsonObject) -> _Encoded:
            try:
                return _Encoded(self._store.dump(body(str(DBOS.workflow_id), request), "the result"))
            except PayloadError as error:
                raise RunFailure(describe_error(error)) from None
            finally:
                # Another run may have its place in the queue.
                self._bell.ring([request.get("queue") or SHARED_QUEUE])

        carry_out.__qualname__ = name
        self._functions[name] = DBOS.workflow(name=name)(carry_out)

    def register_queue(self, queue: Queue) -> None:
        """Set the limits of a queue."""
        with self._lock:
            known = self._queues.get(queue.name)
            queue = queue if known is None else known.tighten(queue)
            if known == queue:
                return
            self._queues[queue.name] = queue
        if self._is_launched:
            self._declare_queue(queue)

    def _declare_queue(self, queue: Queue) -> None:
        rate, limit, per_key, per_worker = queue.rate_limit, queue.concurrency_limit, queue.per_key, queue.per_worker
        per_worker = per_worker if per_worker is None or limit is None else min(per_worker, limit)
        self._reach().register_queue(
            queue.name,
            global_concurrency=limit,
            # DBOS refuses a higher limit for each key, or for each worker, than for all.
            partition_concurrency=per_key if per_key is None or limit is None else min(per_key, limit),
            worker_concurrency=0 if queue.name in self._paused else per_worker,
            limiter=None if rate is None else {"limit": rate[0], "period": rate[1]},
            polling_interval_sec=POLL_S,
        )
        self._bell.ring()

    def list_queues(self) -> list[Queue]:
        """Return all queues."""
        return [_read_queue(queue) for queue in self._reach().list_queues() if queue.name != SHARED_QUEUE]

    def pause_queue(self, name: str) -> None:
        """Leave the runs of a queue in it."""
        self._paused.add(name)
        self._set_worker_concurrency(name, 0)

    def resume_queue(self, name: str) -> None:
        """Take runs from a queue again."""
        self._paused.discard(name)
        with self._lock:
            known = self._queues.get(name)
        self._set_worker_concurrency(name, None if known is None else known.per_worker)
        self._bell.ring([name])

    def _set_worker_concurrency(self, name: str, limit: int | None) -> None:
        """Set a limit that each worker reads before each look; 0 is a pause."""
        # Before the launch it is remembered for when the queue is declared.
        queue = None if self._client is None else self._client.retrieve_queue(name)
        if queue is not None:
            queue.set_worker_concurrency(limit)

    def _find_queue(self, name: str) -> Queue:
        """Return a queue that was only named here, with the limits that other processes have set."""
        with self._lock:
            known = self._queues.get(name)
        if known is not None:
            return known
        stored = self._reach().retrieve_queue(name)
        queue = Queue(name) if stored is None else _read_queue(stored)
        if stored is None:
            self._declare_queue(queue)
        with self._lock:
            return self._queues.setdefault(name, queue)

    def launch(self) -> None:
        """Begin to carry out runs."""
        with self._lock:
            if self._is_launched:
                return
            self._is_launched = True
        if not self._settings.execute:
            return
        if self._settings.queues is not None:
            DBOS.listen_queues(self._settings.queues)
        with _start_fewer_threads(self._bell):
            DBOS.launch()
        if read_version("dbos") in _READ_RELEASES:
            tables = _get_dbos_instance()._sys_db  # noqa: SLF001 - what a step calls
            _StepFunctions(tables, StepStatements(self.database, self._schema, _APPLICATION)).install()
        self._client = self._open_client()
        if read_version("dbos") in _READ_RELEASES and self.database.dialect == "sqlite":
            _PreparedInserts(self._client._sys_db).install()  # noqa: SLF001 - as above
        self._client.register_queue(SHARED_QUEUE, worker_concurrency=_WORKER_CONCURRENCY, polling_interval_sec=POLL_S)
        for queue in self._queues.values():
            self._declare_queue(queue)

    def drain(self) -> None:
        """Begin no more runs here."""
        self._is_draining = True
        if self._settings.execute:
            for event in _get_dbos_instance().background_thread_stop_events:
                event.set()

    def describe(self) -> dict[str, str]:
        """Return the versions of DBOS, its tables and the database, by name."""
        with self._sql.connect() as connection:
            tables = connection.scalar(sa.text(f"SELECT version FROM {self._schema}dbos_migrations"))  # noqa: S608
            postgresql = None if not self._schema else connection.scalar(sa.text("SHOW server_version"))
        server = {"sqlite": sqlite3.sqlite_version} if postgresql is None else {"postgresql": str(postgresql)}
        return {"dbos": read_version("dbos"), "dbos tables": str(tables), **server}

    def close(self) -> None:
        """End all threads."""
        if self._client is not None:
            self._client.destroy()
        if self._settings.execute:
            DBOS.destroy(destroy_registry=True)
        self._sql.dispose()

    def _reach(self) -> DBOSClient:
        if self._client is None:
            raise ConfigurationError("the engine is not launched")
        return self._client

    # Runs

    def start(self, requests: Sequence[RunRequest]) -> None:
        """Start runs."""
        here = [request for request in requests if request.queue is None]
        if len(here) > _MAX_AT_ONCE or not self._takes_shared():
            here = []
        queued = [request for request in requests if request not in here] if here else [*requests]
        for request in here:
            # In a context of its own: DBOS takes a run that begins inside another one for its step.
            Context().run(self._start_here, request)
        for first in range(0, len(queued), _ENQUEUED_TOGETHER):
            self._enqueue(queued[first : first + _ENQUEUED_TOGETHER])

    def _takes_shared(self) -> bool:
        queues = self._settings.queues
        may_begin = self._settings.execute and not self._is_draining
        return may_begin and (queues is None or SHARED_QUEUE in queues)

    def _start_here(self, request: RunRequest) -> None:
        function = self._functions.get(request.workflow_id)
        if function is None:
            self._enqueue([request])
            return
        with SetWorkflowID(request.execution_id):
            handle = DBOS.start_workflow(function, request.to_dict())
        if isinstance(handle, WorkflowHandleFuture):
            name = request.execution_id
            self._futures[name] = handle.future
            handle.future.add_done_callback(lambda _: self._futures.pop(name, None))

    def join(self, execution_id: str, timeout_s: float | None) -> bool:
        """Wait until a run that was started here has left its thread."""
        future = self._futures.get(execution_id)
        return future is not None and future in wait([future], timeout_s).done

    def _enqueue(self, requests: Sequence[RunRequest]) -> None:
        client = self._reach()
        # Before the transaction: to declare one is a transaction of its own.
        queues = {name: self._find_queue(name) for name in {request.queue for request in requests} if name}
        with self._sql.begin() as connection:
            for request in requests:
                options: EnqueueOptions = {
                    "workflow_name": request.workflow_id,
                    "queue_name": request.queue or SHARED_QUEUE,
                    "workflow_id": request.execution_id,
                    "app_version": self._settings.version,
                }
                if request.priority:
                    options["priority"] = request.priority
                queue = queues.get(request.queue or "")
                if queue is not None and queue.per_key is not None:
                    options["queue_partition_key"] = request.concurrency_key or _NO_KEY
                client.enqueue_in_transaction(connection, options, request.to_dict())
        self._bell.ring({request.queue or SHARED_QUEUE for request in requests})

    def _has_queued(self, queue: str) -> bool:
        """Return whether runs are in a queue that this process may carry out; also if that cannot be found out."""
        # DBOS reads the limits of a queue before it waits, so it may not know of a pause.
        if queue in self._paused:
            return False
        try:
            with self.database.transact() as transaction:
                found = transaction.execute(
                    f"SELECT 1 FROM {self._runs_table} WHERE queue_name = :queue AND status = 'ENQUEUED'"  # noqa: S608
                    # Said twice for SQLite, which else does not see that the index of runs in queues will do.
                    " AND status IN ('ENQUEUED', 'PENDING')"
                    " AND (application_version = :version OR application_version IS NULL) LIMIT 1",
                    {"queue": queue, "version": self._settings.version},
                )
        except sa.exc.SQLAlchemyError:  # DBOS meets it, too, and says so
            return True
        return bool(found)

    def read_runs(self, execution_ids: Sequence[str]) -> dict[str, EngineRun]:
        """Return the runs that exist among these."""
        if not execution_ids:
            return {}
        # From their tables: runs are read after each of them, and their own list takes four times as long.
        with self._sql.begin() as connection:
            rows = connection.execute(self._read_statement, {"ids": [*execution_ids]}).all()
        return {row[0]: read_status(self._open_row(row)) for row in rows}

    def _open_row(self, row: Sequence[Any]) -> StoredRun:
        """Return a row of `_SELECT_RUNS` with what it holds opened. What cannot be read is a text, or a mark."""
        name, status, workflow, given, output, error, kind, created_at, started_at, ended_at, executor_id, version = row
        given, output, error = safe_deserialize(
            self._serializer,
            kind,
            name,
            serialized_input=given,
            serialized_output=output,
            serialized_exception=error,
        )
        return StoredRun(
            workflow_id=name,
            status=status,
            name=workflow,
            input=given,
            output=output,
            error=error,
            created_at=created_at,
            dequeued_at=started_at,
            completed_at=ended_at,
            executor_id=executor_id,
            app_version=version,
        )

    def read_statuses(self, execution_ids: Sequence[str]) -> dict[str, EngineStatus]:
        """Return the statuses of those of these runs that exist."""
        # From their table, as above; whoever waits for a run asks often.
        statement = sa.text(f"SELECT workflow_uuid, status FROM {self._runs_table} WHERE workflow_uuid IN :ids")  # noqa: S608
        statement = statement.bindparams(sa.bindparam("ids", expanding=True))
        with self._sql.begin() as connection:
            rows = connection.execute(statement, {"ids": [*execution_ids]}).all()
        return {name: STATUSES[status] for name, status in rows}

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
        wanted = [theirs for theirs, ours in STATUSES.items() if ours in statuses] or None
        found = self._reach().list_workflows(
            name=name, status=wanted, workflow_id_prefix=prefix, limit=limit, offset=offset, sort_desc=True
        )
        return [read_status(status) for status in found]

    def list_steps(self, execution_id: str) -> list[StepRecord]:
        """Return the steps of a run."""
        return [read_step(step) for step in self._reach().list_workflow_steps(execution_id)]

    def stop(self, execution_id: str) -> None:
        """Stop a run."""
        # What their own cancel does, but for one that counts for the rate of its queue: DBOS forgets when it began.
        self._change(
            "status = 'CANCELLED', owner_xid = NULL, deduplication_id = NULL, completed_at = :now, updated_at = :now,"
            " queue_name = CASE WHEN rate_limited = TRUE THEN queue_name END,"
            " started_at_epoch_ms = CASE WHEN rate_limited = TRUE THEN started_at_epoch_ms END",
            "status NOT IN ('SUCCESS', 'ERROR')",
            [{"id": execution_id}],
        )

    def resume(self, queues: Mapping[str, str | None]) -> None:
        """Have stopped runs go on."""
        # What their own resume does, but for one that is not stopped: DBOS would begin it a second time.
        self._change(
            "status = 'ENQUEUED', owner_xid = NULL, deduplication_id = NULL, completed_at = NULL, updated_at = :now,"
            " queue_name = :queue, started_at_epoch_ms = NULL, recovery_attempts = 0,"
            " workflow_deadline_epoch_ms = NULL",
            "status = 'CANCELLED'",
            [{"id": execution_id, "queue": queue or SHARED_QUEUE} for execution_id, queue in sorted(queues.items())],
        )
        self._bell.ring({queue or SHARED_QUEUE for queue in queues.values()})

    def note_answer(self) -> None:
        """Note that a run is answered, and that more answers may follow."""
        self._bell.note_answer()

    def _change(self, change: str, condition: str, runs: Sequence[Mapping[str, str]]) -> None:
        """Change rows of runs, all or none."""
        with self.database.transact() as transaction:
            for run in runs:
                transaction.execute(
                    f"UPDATE {self._runs_table} SET {change} WHERE workflow_uuid = :id AND {condition}",  # noqa: S608
                    {"now": int(time.time() * 1000), **run},
                )

    def rewind(self, execution_id: str, position: int, version: str | None = None) -> None:
        """Have an ended run go on from a step."""
        (status,) = self._reach().list_workflows(workflow_ids=[execution_id])
        self._reach().rewind_workflow(
            execution_id,
            start_step=position,
            application_version=version,
            queue_name=find_queue(status),
            queue_partition_key=status.queue_partition_key,
        )

    def fork(self, execution_id: str, position: int, fork_id: str, version: str | None = None) -> None:
        """Start another run from a step of this one."""
        (status,) = self._reach().list_workflows(workflow_ids=[execution_id])
        with SetWorkflowID(fork_id):
            self._reach().fork_workflow(
                execution_id,
                position,
                application_version=version or status.app_version,
                queue_name=find_queue(status),
                queue_partition_key=status.queue_partition_key,
            )

    def delete(self, execution_ids: Sequence[str]) -> None:
        """Delete ended runs."""
        self._reach().delete_workflows([*execution_ids])

    def recover(self, executor_ids: Sequence[str]) -> None:
        """Have the runs of processes that are gone go on."""
        # What the recovery of DBOS does, but onto a queue of ours: theirs is taken from by every process, also by those
        # that do not know the workflow or take other queues.
        tables = _get_dbos_instance()._sys_db  # noqa: SLF001 - the one way to it without their service
        for executor_id in executor_ids:
            for run in tables.get_pending_workflows(executor_id, self._settings.version):
                tables.reenqueue_for_recovery(run.workflow_id, [executor_id], SHARED_QUEUE)

    def give_back(self) -> None:
        """Put runs back into their queues that were taken here and belong to workflows of other programs."""
        if not _unknown_taken.is_set():
            return
        _unknown_taken.clear()
        tables = _get_dbos_instance()._sys_db  # noqa: SLF001 - as above
        for status in self._reach().list_workflows(
            executor_id=self.executor_id, status="PENDING", load_input=False, load_output=False
        ):
            if status.name not in self._functions:
                tables.reenqueue_for_recovery(status.workflow_id, [self.executor_id], SHARED_QUEUE)

    def has_pending(self, executor_id: str) -> bool:
        """Return whether runs are recorded as going on in a process."""
        return bool(
            self._reach().list_workflows(
                executor_id=executor_id, status="PENDING", limit=1, load_input=False, load_output=False
            )
        )

    # Steps

    def run_step(self, key: str, function: Callable[[], Json]) -> Json:
        """Return what a step returned before, or carry it out."""
        return self._carry_out_step(key, function, lambda call: DBOS.run_step({"name": key}, call))

    def reserve_steps(self, keys: Sequence[str]) -> list[Callable[[Callable[[], Json]], Json]]:
        """Return as many functions that each carry out one step."""
        return [self._reserve(key) for key in keys]

    def _reserve(self, key: str) -> Callable[[Callable[[], Json]], Json]:
        reservation = DBOS.reserve_step()

        def run(function: Callable[[], Json]) -> Json:
            return self._carry_out_step(key, function, lambda call: reservation.run({"name": key}, call))

        return run

    def _carry_out_step(
        self, key: str, function: Callable[[], Json], run: Callable[[Callable[[], _Encoded]], Any]
    ) -> Json:
        def call() -> _Encoded:
            try:
                return _Encoded(self._store.dump(function(), f"the result of step {key!r}"))
            except Exception as error:  # noqa: BLE001 - raised again outside of DBOS
                raise _Carrier(error) from None

        try:
            result = run(call)
        except _Carrier as carrier:
            raise carrier.error from None
        except (DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError):
            # Stopped, or carried on elsewhere: this thread has nothing more to do with it.
            raise RunStopped from None
        except DBOSUnexpectedStepError as error:
            raise StepOrderError(
                f"the run has recorded other steps than its code makes now: {error}",
                hint="keep the order of steps while runs go on, or fork the run",
            ) from None
        return self._store.load(result.text) if isinstance(result, _Encoded) else result


class _StepFunctions:
    """Replaces what DBOS does for each step and at the end of each run by statements of ours.

    Its own way stays for what is written without an owner, from outside of the run.
    """

    def __init__(self, tables: SystemDatabase, statements: StepStatements) -> None:
        self._tables = tables
        self._statements = statements
        self._record_their_way = tables.record_operation_result
        self._end_their_way = tables.update_workflow_outcome

    def install(self) -> None:
        """Have the tables use the statements from now on."""
        retry = db_retry(sys_db=self._tables)
        vars(self._tables).update(
            check_operation_execution=retry(self.find_step),
            record_operation_result=self.record_step,
            update_workflow_outcome=retry(self.end_run),
        )

    def find_step(self, execution_id: str, position: int, name: str, **_: object) -> RecordedResult | None:
        """Return what a step has recorded. Raises the errors of DBOS for a run that is stopped, and another step."""
        found = self._statements.find(execution_id, position)
        if found is None or found.status == "CANCELLED":
            raise DBOSWorkflowCancelledError(f"the run {execution_id} is stopped")
        if found.name is None:
            return None
        if found.name != name:
            raise DBOSUnexpectedStepError(
                workflow_id=execution_id, step_id=position, expected_name=name, recorded_name=found.name
            )
        return {
            "output": found.output,
            "error": found.error,
            "serialization": found.serialization,
            "child_workflow_id": found.child_id,
            "child_shard_key": None,
        }

    def record_step(
        self,
        result: OperationResultInternal,
        *,
        completed_at_epoch_ms: int | None = None,
        owner_xid: str | None = None,
        **more: Any,
    ) -> None:
        """Record a step. Raises the errors of DBOS for a run that was taken over, and for a step that is there."""
        owner = owner_xid or current_owner_xid(result["workflow_uuid"])
        # Once, before any retry: by its time a step knows itself again.
        ended_ms = int(time.time() * 1000) if completed_at_epoch_ms is None else completed_at_epoch_ms
        if owner is None:
            self._record_their_way(result, completed_at_epoch_ms=ended_ms, **more)
            return
        step = EndedStep(
            execution_id=result["workflow_uuid"],
            position=result["function_id"],
            name=result["function_name"],
            output=result["output"],
            error=result["error"],
            serialization=result["serialization"],
            child_id=result["child_workflow_id"],
            started_ms=result["started_at_epoch_ms"],
            ended_ms=ended_ms,
        )
        recorded_ms = db_retry(sys_db=self._tables)(self._statements.record)(step, owner)
        if recorded_ms is None:
            raise DBOSWorkflowConflictIDError(step.execution_id)
        if recorded_ms != ended_ms:
            raise DBOSStepNondeterminismError(step.execution_id, step.position)

    def end_run(
        self,
        execution_id: str,
        status: WorkflowStatuses,
        *,
        output: str | None = None,
        error: str | None = None,
        owner_xid: str | None = None,
    ) -> bool:
        """Record the end of a run; return False if it does not go on here any more."""
        owner = owner_xid or current_owner_xid(execution_id)
        if owner is None:
            return self._end_their_way(execution_id, status, output=output, error=error)
        return self._statements.end(execution_id, status, owner, output=output, error=error)


class _PreparedInserts:
    """Compiles what DBOS inserts for each run once. For SQLite it has SQLAlchemy build it anew each time."""

    def __init__(self, tables: SystemDatabase) -> None:
        self._tables = tables
        self._prepared: dict[tuple[str, ...], tuple[str, list[str], dict[str, Callable[[Any], Any]]]] = {}

    def install(self) -> None:
        """Have the tables use them from now on."""
        vars(self._tables)["_execute_prepared"] = self.execute

    def execute(
        self, connection: sa.Connection, name: str, values: dict[str, Any], build: Callable[[], Any], **_: object
    ) -> sa.CursorResult[Any]:
        """Execute the insert that ``build`` returns, with these values by column."""
        key = (name, *values)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = self._compile(build(), values)
        statement, names, processors = prepared
        given = (processors[name](values[name]) if name in processors else values[name] for name in names)
        return connection.exec_driver_sql(statement, tuple(given))

    def _compile(self, insert: Any, values: dict[str, Any]) -> tuple[str, list[str], dict[str, Callable[[Any], Any]]]:
        engine = self._tables.engine
        schemas = engine.get_execution_options().get("schema_translate_map")
        compiled = insert.compile(
            dialect=engine.dialect,
            column_keys=[*values],
            schema_translate_map=schemas,
            render_schema_translate=schemas is not None,
        )
        found = {
            name: bind.type.dialect_impl(engine.dialect).bind_processor(engine.dialect)
            for name, bind in compiled.binds.items()
        }
        return str(compiled), [*compiled.positiontup], {name: one for name, one in found.items() if one is not None}


@contextmanager
def _start_fewer_threads(bell: QueueBell) -> Iterator[None]:
    """Have an instance that is launched in the block wait for a bell before it looks into queues.

    Its threads for schedules, delays and timeouts, which this package does without, are not started.
    """
    before = {name: getattr(_theirs, name) for name in _THREADS}
    look_into_queues = before["queue_thread"]

    def hang_bell_and_look(stop: threading.Event, instance: DBOS) -> None:
        bell.hang(stop)
        look_into_queues(stop, instance)

    vars(_theirs).update(dict.fromkeys(_THREADS, _do_nothing), queue_thread=hang_bell_and_look)
    try:
        yield
    finally:
        vars(_theirs).update(before)


def _do_nothing(*_: object) -> None:
    pass


@contextmanager
def migrate_database(settings: DurableSettings) -> Iterator[_SqlDatabase]:
    """Create or upgrade the tables of DBOS; give the database, for those of this package."""
    sql = _create_sql_engine(attrs.evolve(settings, execute=True))
    _quieten_log()
    try:
        _check_connection(sql, settings)
        client = DBOSClient(system_database_engine=sql, application_name=_APPLICATION, lazy=True)
        client._sys_db.run_migrations()  # noqa: SLF001 - otherwise only a launch does so
        client.destroy()
        yield _SqlDatabase(sql)
    finally:
        sql.dispose()


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationError(
            f"there is no database {str(path)!r}",
            hint="start a worker, or name another one with --url or POLLUX_DURABLE_URL",
        )


def _check_migrations(client: DBOSClient, settings: DurableSettings) -> None:
    try:
        client._sys_db.verify_migrations()  # noqa: SLF001 - otherwise only a launch does so
    except DBOSInitializationError:
        raise ConfigurationError(
            f"the database {settings.shown_url!r} lacks tables that this release needs",
            hint="pollux-sync durable migrate",
        ) from None


def _create_sql_engine(settings: DurableSettings) -> sa.Engine:
    try:
        url = sa.make_url(settings.url)
    except sa.exc.ArgumentError:
        url = sa.URL.create("none")
    if url.get_backend_name() == "postgresql":
        return _create_postgresql(url, settings)
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            f"the database {settings.shown_url!r} is neither a file of SQLite nor PostgreSQL",
            hint="use sqlite:///path/to/file.db or postgresql://user@host/name; memory: for unit tests",
        )
    if settings.execute:
        _create_file(Path(str(url.database)))
    else:
        # To connect would create it, without its tables.
        _check_file(Path(str(url.database)))
    engine = sa.create_engine(url, connect_args={"factory": TurnTakingConnection}, **_POOL)
    turn = threading.Lock()
    synchronous = "FULL" if settings.durability == "full" else "NORMAL"

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: TurnTakingConnection, _: object) -> None:
        connection.turn = turn
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        if sqlite3.sqlite_version_info < _UNIXEPOCH_VERSION:
            connection.create_function("unixepoch", -1, _read_clock)

    return engine


def _create_postgresql(url: sa.URL, settings: DurableSettings) -> sa.Engine:
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(_CONNECT_TIMEOUT_S)})
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, **_POOL)
    # A process that is frozen in a transaction keeps its locks: without an end to that, all others wait for it.
    patience_ms = int(max(settings.lease_s, _SHORTEST_PATIENCE_S) * 1000)

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {patience_ms}")
        connection.commit()

    return engine


def _create_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only for its owner: it holds prompts and answers.
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the file {str(path)!r} cannot be written: {error.strerror}", hint="configure(url=...) with another path"
        ) from None


def _check_connection(engine: sa.Engine, settings: DurableSettings) -> None:
    """Raise ConfigurationError if the database cannot be used."""
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        reason = " ".join(str(getattr(error, "orig", error)).split())
        password = engine.url.password
        if password:
            reason = reason.replace(str(password), "***")
        raise ConfigurationError(
            f"the database {settings.shown_url!r} cannot be used: {reason}",
            hint="start it, or configure(url=...) with another one",
        ) from None


def _read_queue(stored: StoredQueue) -> Queue:
    limiter = stored.limiter
    return Queue(
        stored.name,
        stored.global_concurrency,
        rate_limit=None if limiter is None else (limiter["limit"], limiter["period"]),
        per_key=stored.partition_concurrency,
        # None for a pause, too: whoever has declared the queue knows.
        per_worker=stored.worker_concurrency or None,
    )


def _read_clock(*modifiers: str) -> float:
    """Return the time as SQLite's `unixepoch` does, in whole seconds unless a fraction is asked for."""
    return time.time() if "subsec" in modifiers or "subsecond" in modifiers else int(time.time())


def _warn_of_environment() -> None:
    names = sorted(name for name in os.environ if name.startswith("DBOS__"))
    if names:
        log.warning("these variables change how DBOS works: %s", ", ".join(names))


def _quieten_log() -> None:
    """Send what DBOS logs through a logger of ours: whoever waits for a workflow learns of its failure."""
    engine_log = logging.getLogger("dbos")
    engine_log.handlers[:] = [_Forwarder()]
    engine_log.propagate = False
    engine_log.setLevel(logging.WARNING)


class _Forwarder(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage()
        if _UNKNOWN in message:
            _unknown_taken.set()
        is_expected = isinstance(error, RunFailure) or any(words in message for words in (*_EXPECTED, _UNKNOWN))
        is_news = record.levelno >= logging.WARNING and not is_expected
        log.log(record.levelno if is_news else logging.DEBUG, "%s", message)
