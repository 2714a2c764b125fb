"""Chunk -> answers: the work of one worker of a fleet, with limits, retries and a journal as in any job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_batch.data.chunks import FleetAnswer
from pollux_batch.data.items import Asked, BatchItem
from pollux_batch.data.settings import BatchSettings
from pollux_batch.data.work import Work
from pollux_batch.feeding import Chunk
from pollux_batch.inspecting import JournalView
from pollux_batch.running import Job
from pollux_sync import Config, Options
from pollux_sync.data.request import Call
from pollux_sync.errors import PolluxError
from pollux_sync.plugin import HttpRequest

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Sequence

    from pollux_batch.data.chunks import ChunkCall, FleetChunk
    from pollux_batch.data.settings import Limits
    from pollux_batch.data.work import Follower
    from pollux_batch.journaling import Journal
    from pollux_batch.lanes import Lanes
    from pollux_batch.remembering import MemoryJournal

#: How many calls are looked up together.
_STRETCH = 200
_STOPPED = "the worker was told to stop"


def carry_out_chunk(
    chunk: FleetChunk,
    *,
    journal: str | os.PathLike[str],
    config: Config | None = None,
    limits: Limits | None = None,
    workers: int = 32,
    processes: int = 1,
    stop: threading.Event | None = None,
) -> list[FleetAnswer]:
    """Carry out a chunk, and return its answers; calls that failed for good have none.

    * ``journal``: a file of this chunk's own. Called again with it, also after a ``kill -9``, no answer is paid twice.
      Delete it once the answers are where the fleet keeps them.
    * ``config``: by default provider, model, address and time limit of the job, with the key of this machine's
      environment. Pass another one for headers, a proxy or plugins.
    * ``limits``: this worker's share of ``chunk.limits``; by default all of them, for one worker at a time.
    * ``stop``: set it, from another thread, once the chunk is not this worker's any more. Calls in flight end then.

    Raises what ends a job, such as an APIError for a key that is refused, and PolluxError after a stop; the answers
    until then are in the journal.
    """
    config = Config(**chunk.settings) if config is None else config
    settings = BatchSettings(
        workers=workers,
        processes=processes,
        limits=chunk.limits if limits is None else limits,
        retries=chunk.retries,
    )
    path = Path(journal)
    asked = Asked(items=(), config=config)
    feed = partial(ChunkFeeder, chunk, config)
    job = Job(asked, settings=settings, journal=path, parser=None, is_ordered=False, open_feeder=feed)
    failures = {}
    for result in job.iter_results():
        if not result.success:
            failures[result.item_id] = result.exception
        if stop is not None and stop.is_set():
            job.stop("interrupted", _STOPPED)
    if job.termination.reason == _STOPPED:
        raise PolluxError(_STOPPED, hint="carry the chunk out again with its journal: no answer is paid twice")
    if job.termination.kind == "interrupted":
        raise KeyboardInterrupt
    if job.termination.kind != "completed":
        cause = failures.get(job.termination.triggering_item_id or "")
        raise cause or PolluxError(f"the chunk has ended: {job.termination.reason}")
    with JournalView(path) as view:
        return [FleetAnswer.from_row(row) for _, row in view.iter_answers()]


class ChunkFeeder:
    """Feeds a job with the calls of a chunk that its journal has no answers to."""

    def __init__(self, chunk: FleetChunk, config: Config, lanes: Lanes, journal: Journal | MemoryJournal) -> None:
        self._calls = chunk.calls
        self._config = config
        self._lanes = lanes
        self._journal = journal
        self.count = 0

    @property
    def has_ended(self) -> bool:
        """True once all calls were read."""
        return self.count == len(self._calls)

    def read_chunk(self) -> Chunk | None:
        """Return the next calls without an answer; None at the end."""
        if self.has_ended:
            return None
        first = self.count
        some = self._calls[first : first + _STRETCH]
        self.count += len(some)
        return Chunk(works=tuple(self._build_works(some, first)))

    def _build_works(self, calls: Sequence[ChunkCall], first: int) -> list[Work]:
        keys = [bytes.fromhex(call.key) for call in calls]
        known = self._journal.find_answers(keys)
        lane = self._lanes.find(self._config)
        return [
            Work(
                index=index,
                label=call.label,
                item=BatchItem(prompt=""),
                lane=lane,
                # Whoever has the question reads the answer again: this one is decoded for its tokens alone.
                call=Call(index=index, model=self._config.model, prompt="", options=Options()),
                answers=None,
                key=key,
                ask=key[:16],
                n_tokens=call.n_tokens,
                request=HttpRequest(path=call.path, body=call.body, method=call.method, headers=call.headers),
            )
            for index, (key, call) in enumerate(zip(keys, calls, strict=True), first)
            if key not in known
        ]

    def close(self, work: Work) -> list[Follower]:
        """Return the items that wait for the answer of a work: none, since the job has joined them."""
        return []
