"""A fleet for pollux-batch: each chunk of a job is a run, carried out by a worker with a journal of its own.

The one module that knows pollux-batch, which finds it through the entry-point group ``pollux_batch.fleets``.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch import FleetAnswer, FleetChunk, JournalError, Limits, carry_out_chunk
from pollux_durable import configuring
from pollux_durable.data.queues import Queue
from pollux_durable.declaring import workflow
from pollux_durable.errors import RunStopped
from pollux_durable.tables.cleaning import forget_runs
from pollux_durable.tables.shares import ShareTable
from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pollux_batch.data.chunks import ChunkState
    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import EngineStatus, JsonObject
    from pollux_durable.hosting import Host

#: Where a worker keeps the journals of its chunks; by default in the folder for temporary files.
FOLDER_VARIABLE = "POLLUX_FLEET_FOLDER"
_WORKFLOW = "pollux_batch.chunk"
_WAIT_S = 0.2
#: A run that is stopped goes on, unless it was cancelled.
_STATES: dict[EngineStatus, ChunkState] = {
    "queued": "waiting",
    "running": "running",
    "stopped": "running",
    "completed": "ended",
    "failed": "ended",
}
#: A smaller part of the limits would keep a worker waiting more than working.
_LEAST_SHARE = 0.01


class DurableFleet:
    """Has the chunks of a job carried out by workers of pollux-durable: ``run_batch(..., fleet="durable")``.

    Workers get it with ``pollux-sync durable worker pollux_durable.fleet``. A script that has not called
    ``configure(execute=False)`` carries out chunks too.
    """

    name = "durable"

    def submit(self, chunk: FleetChunk) -> None:
        """Take a chunk, once for each mark."""
        carry_out.invoke({"chunk": chunk.to_dict()}, execution_id=_build_id(chunk.mark))

    def inspect(self, marks: Sequence[str]) -> Mapping[str, ChunkState]:
        """Return the states of the chunks that were taken."""
        names = {_build_id(mark): mark for mark in marks}
        host = configuring.find_host()
        # Not the runs: those that have ended hold all answers of their chunks.
        statuses = host.engine.read_statuses([*names])
        stopped = [execution_id for execution_id, status in statuses.items() if status == "stopped"]
        cancelled = host.waits.find_cancelled(stopped) if stopped else set()
        return {
            names[execution_id]: "ended" if execution_id in cancelled else _STATES[status]
            for execution_id, status in statuses.items()
        }

    def collect(self, mark: str) -> Iterable[FleetAnswer]:
        """Yield the answers of a chunk that has ended; none if its run failed."""
        info = configuring.find_host().read_run(_build_id(mark))
        for row in info.result or () if info.status == "completed" else ():
            yield FleetAnswer.from_dict(row)

    def release(self, mark: str) -> None:
        """Forget a chunk and its answers, also what is left of its journals on this machine."""
        host = configuring.find_host()
        execution_id = _build_id(mark)
        if execution_id in host.read_runs([execution_id]):
            host.engine.delete([execution_id])
            forget_runs(host.engine.database, [execution_id])
        for pattern in (f"{mark}.db*", f"{mark}-*.db*"):
            _delete_files(_find_folder(), pattern)


def _build_id(mark: str) -> str:
    return f"{_WORKFLOW}:{mark}"


@workflow(id=_WORKFLOW, queue=Queue("pollux_batch.chunks", per_worker=1))
def carry_out(ctx: WorkflowContext, payload: dict[str, Any]) -> list[JsonObject]:
    """Carry a chunk out. Not as a step: its journal has the answers, so that nothing is recorded twice."""
    chunk = FleetChunk.from_dict(payload["chunk"])
    with _lease(ctx, chunk) as limits:
        answers, journal = _answer(ctx, chunk, limits)
    # Not before the run holds the answers: a worker that is killed in between must not have them paid again.
    arguments = (ctx.step.host, ctx.execution_id, journal)
    threading.Thread(target=_delete_when_recorded, args=arguments, name="pollux-fleet-journal", daemon=True).start()
    return [answer.to_dict() for answer in answers]


def _delete_when_recorded(host: Host, execution_id: str, journal: Path) -> None:
    """Delete a journal once its run has ended, or is forgotten. One that is to be carried out again needs it."""
    # A database that cannot be asked leaves the journal, which `DurableFleet.release` deletes.
    with suppress(Exception):
        status: EngineStatus | None = "running"
        while status == "running":
            time.sleep(_WAIT_S)
            status = host.engine.read_statuses([execution_id]).get(execution_id)
        if status in (None, "completed", "failed"):
            _delete_files(journal.parent, f"{journal.name}*")


def _delete_files(folder: Path, pattern: str) -> None:
    for file in folder.glob(pattern):
        file.unlink(missing_ok=True)


def _find_folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(tempfile.gettempdir()) / f"pollux-fleet-{_find_user()}")


def _answer(ctx: WorkflowContext, chunk: FleetChunk, limits: Limits) -> tuple[list[FleetAnswer], Path]:
    """Return the answers of a chunk, and its journal."""
    folder = _find_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal = folder / f"{chunk.mark}.db"
    try:
        return _carry_out(ctx, chunk, journal, limits), journal
    except JournalError:
        # A worker of this machine that was frozen has it: its part is asked anew rather than waited for.
        journal = folder / f"{chunk.mark}-{ctx.step.host.engine.executor_id}.db"
        return _carry_out(ctx, chunk, journal, limits), journal


def _carry_out(ctx: WorkflowContext, chunk: FleetChunk, journal: Path, limits: Limits) -> list[FleetAnswer]:
    try:
        return carry_out_chunk(chunk, journal=journal, limits=limits, stop=ctx.run.stopping)
    except PolluxError:
        if ctx.run.stopping.is_set():  # cancelled, or taken over by another worker
            raise RunStopped from None
        raise


def _find_user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


@contextmanager
def _lease(ctx: WorkflowContext, chunk: FleetChunk) -> Iterator[Limits]:
    """Take a part of a job's limits for one chunk, so that those of all workers together hold."""
    limits = chunk.limits
    if (limits.requests_per_minute, limits.tokens_per_minute, limits.max_concurrency) == (None, None, None):
        yield limits
        return
    host = ctx.step.host
    shares = ShareTable(host.engine.database)
    while (share := _take(host, shares, chunk.scope, ctx.execution_id)) < _LEAST_SHARE:
        if ctx.run.stopping.wait(_WAIT_S):
            raise RunStopped
    try:
        yield _scale(limits, share)
    finally:
        shares.give_back(ctx.execution_id)


def _take(host: Host, shares: ShareTable, scope: str, execution_id: str) -> float:
    holders = shares.list_holders(scope)
    statuses = host.engine.read_statuses(holders) if holders else {}
    for holder in holders:
        if statuses.get(holder) != "running":
            shares.give_back(holder)
    now, settings = time.time(), host.settings
    alive = [
        worker
        for worker in host.workers.list_all()
        if worker.version == settings.version and now - worker.beat < settings.lease_s
    ]
    return shares.take(scope, execution_id, 1 / max(1, len(alive)))


def _scale(limits: Limits, share: float) -> Limits:
    requests, tokens, concurrency = limits.requests_per_minute, limits.tokens_per_minute, limits.max_concurrency
    return attrs.evolve(
        limits,
        requests_per_minute=None if requests is None else requests * share,
        tokens_per_minute=None if tokens is None else tokens * share,
        max_concurrency=None if concurrency is None else max(1, int(concurrency * share)),
    )
