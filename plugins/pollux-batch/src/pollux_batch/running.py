"""A job: feeding -> answering, with the journal and the limits beneath -> delivering."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pollux_batch.answering import Answer, Answerer, read_known
from pollux_batch.budgeting import Ledger
from pollux_batch.data.results import Termination, WorkItemResult
from pollux_batch.data.rows import Entry, FailureRow
from pollux_batch.delivering import Outbox, Reader, drain, name_category
from pollux_batch.feeding import Chunk, Feeder
from pollux_batch.journaling import Journal
from pollux_batch.lanes import Lanes
from pollux_batch.remembering import MemoryJournal
from pollux_batch.scheduling import Scheduler
from pollux_batch.warming import Warmer
from pollux_sync.data.reply import Failure
from pollux_sync.errors import APIError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from pollux_batch.data.items import Asked
    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.results import TerminationKind
    from pollux_batch.data.settings import BatchSettings
    from pollux_batch.data.work import Follower, Refused, Work
    from pollux_batch.limiting import Scope
    from pollux_batch.scheduling import Answered
    from pollux_sync.data.reply import Outcome

#: The longest wait at a stretch: Python acts on Ctrl-C between two waits.
_STRETCH_S = 0.2
#: Works that wait before a retry are in flight as well: as many as there are workers, for each paused scope.
_SLOTS_A_WORKER = 4
#: Where senders carry the calls out, more threads would only take the interpreter from one another.
_THREADS_BESIDE_SENDERS = 2
_FORBIDDEN = 403


class ChunkReader(Protocol):
    """The source of a job's works. One thread at a time calls `read_chunk`."""

    @property
    def count(self) -> int:
        """The number of items read so far."""
        ...

    @property
    def has_ended(self) -> bool:
        """True once the end of the items was read."""
        ...

    def read_chunk(self) -> Chunk | None:
        """Return the next items, planned; None at the end."""
        ...

    def close(self, work: Work) -> list[Follower]:
        """Note that a work has its result; return the items that wait for the same."""
        ...


class Job:
    """One run over the items of a job. Iterate over it once; closing it ends the work in order.

    ``open_feeder`` opens another source of works than the items.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        settings: BatchSettings,
        journal: Path | None,
        parser: Callable[[LLMResponse], Any] | None,
        is_ordered: bool,
        open_feeder: Callable[[Lanes, Journal | MemoryJournal], ChunkReader] | None = None,
    ) -> None:
        self._settings = settings
        self._journal = self._open_journal(journal)
        self._lanes = Lanes(settings)
        tokens, usd = self._journal.sum_spent() if settings.budget else (0, "0")
        self._ledger = Ledger(settings.budget, tokens, Decimal(usd))
        self._reader = Reader(parser)
        open_feeder = open_feeder or partial(Feeder, asked, settings)
        self._feeder = open_feeder(self._lanes, self._journal)
        self._outbox = Outbox(is_ordered=is_ordered, changed=self._announce_room)
        self._scheduler = self._build_scheduler()
        self._stop = threading.Event()
        self._answerer = Answerer(
            scheduler=self._scheduler,
            journal=self._journal,
            ledger=self._ledger,
            retries=settings.retries,
            stop=self._stop,
        )
        self._warmer = Warmer()
        self._is_full = False
        self._termination: Termination | None = None
        self._deadline = time.monotonic() + (settings.deadline_s or math.inf)
        self._interrupts = 0

    def _open_journal(self, path: Path | None) -> Journal | MemoryJournal:
        if path is None:
            return MemoryJournal(self._end_entries)
        return Journal(path, self._end_entries, slots=self._settings.workers * _SLOTS_A_WORKER)

    def _build_scheduler(self) -> Scheduler[Work]:
        return Scheduler(
            self._settings.workers,
            self._feed,
            self._answer,
            self._may_feed,
            announce_end=self._outbox.end,
            n_threads=_THREADS_BESIDE_SENDERS if self._settings.processes > 1 else None,
        )

    @property
    def termination(self) -> Termination:
        """The reason for the end of the job."""
        return self._termination or Termination()

    @property
    def n_read(self) -> int:
        """The number of items read so far."""
        return self._feeder.count

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes of limits so far."""
        return self._lanes.scopes

    @property
    def has_read_all(self) -> bool:
        """True once the end of the items was read."""
        return self._feeder.has_ended

    def stop(self, kind: TerminationKind, reason: str, **facts: str | None) -> None:
        """Begin no further call. What is in flight goes on to its end, and is kept."""
        if self._termination is None:
            self._termination = Termination(kind=kind, reason=reason, **facts)
        self._scheduler.drain()

    def iter_results(self) -> Generator[WorkItemResult, None, None]:
        """Yield the results as they come. On the first Ctrl-C what is in flight ends; a second one leaves at once."""
        self._scheduler.start()
        is_whole = False
        results: deque[WorkItemResult] = deque()
        try:
            while True:
                try:
                    yield from drain(results)
                    self._outbox.take(results, _STRETCH_S)
                    is_over = not results and self._has_ended()
                except KeyboardInterrupt:
                    self._interrupt()
                    continue
                if is_over:
                    break
            is_whole = True
        except GeneratorExit:
            self.stop("interrupted", "the reader of the results left")
            self._finish_quietly()
            is_whole = True
            raise
        except BaseException:
            self._abort()
            raise
        finally:
            self._close(is_whole=is_whole)

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            self._abort()
            raise KeyboardInterrupt
        self.stop("interrupted", "Ctrl-C")

    def _has_ended(self) -> bool:
        if self._journal.failure is not None:
            raise self._journal.failure
        if time.monotonic() >= self._deadline and self._termination is None:
            self.stop("batch_timeout", f"deadline_s={self._settings.deadline_s:g} has passed")
        self._lanes.end_overdue()
        if not self._scheduler.is_over.is_set():
            return False
        # Items that could not be asked may still wait to be written.
        self._journal.end()
        if self._journal.failure is not None:
            raise self._journal.failure
        self._outbox.release()
        if len(self._outbox):
            return False
        if self._scheduler.failure is not None:
            raise self._scheduler.failure
        return True

    def _finish_quietly(self) -> None:
        """Wait for the calls in flight, so that their answers are kept."""
        while not self._scheduler.is_over.wait(_STRETCH_S) and self._journal.failure is None:
            pass

    def _abort(self) -> None:
        """End calls in flight at once."""
        self._stop.set()
        self._scheduler.drain()
        self._lanes.abort()

    def _close(self, *, is_whole: bool) -> None:
        try:
            self._journal.close(self.termination.kind if is_whole else "failed")
        finally:
            self._lanes.__exit__(None, None, None)

    # In the worker threads

    def _may_feed(self) -> bool:
        n_waiting = len(self._outbox) + self._scheduler.count_ready() + len(self._warmer)
        self._is_full = n_waiting >= self._settings.max_pending
        return not self._is_full

    def _announce_room(self) -> None:
        if self._is_full:
            self._scheduler.wake()

    def _feed(self) -> Sequence[Work] | None:
        chunk = self._feeder.read_chunk()
        if chunk is None:
            return None
        self._deliver_unasked(chunk)
        return self._warmer.choose(chunk.works)

    def _deliver_unasked(self, chunk: Chunk) -> None:
        for known in chunk.known:
            work, outcome = known.work, read_known(known.work, known.stored, self._journal)
            result = self._reader.read_known(work, outcome, known.stored.label)
            self._outbox.put([result, *self._reader.follow(self._feeder.close(work), work, outcome, is_known=True)])
        for refused in chunk.refused:
            self._refuse(refused)

    def _refuse(self, refused: Refused) -> None:
        result = self._reader.refuse(refused)
        self._journal.write(Entry((build_refusal(refused, result),), _Ended(result)))

    def _answer(self, work: Work) -> Answered:
        if work.sent is None:
            if not self._reserve(work):
                return None
            work.slot = self._journal.note_flight(work.key, work.label)
            if self._answerer.begin(work):
                return "away"
        answer = self._answerer.answer(work)
        self._ledger.release(work.reservation)
        work.reservation = None
        rows: list[Any] = [*answer.rows, *answer.charges]
        try:
            result = self._reader.read_answer(work, answer)
        except BaseException:
            # A parser that ends the script: the answer is paid for all the same.
            self._journal.write(Entry(tuple(rows)))
            raise
        if isinstance(answer.outcome, Failure):
            rows.append(_build_failure(work, answer))
        self._journal.write(Entry(tuple(rows), _Ended(result, work, answer.outcome)))
        return answer.answered_at

    def _reserve(self, work: Work) -> bool:
        """Set the budget of a call aside; return False, with the work back in its queue, if too little is left now."""
        if self._settings.budget is None:
            return True
        work.reservation = self._ledger.reserve(work.call, work.lane.hooks)
        if work.reservation is not None:
            return True
        self._give_back(work)
        if self._ledger.is_exceeded:
            self.stop("budget_exceeded", "the budget does not allow the next call", triggering_item_id=work.label)
        else:
            self._scheduler.wait_for_change()
        return False

    def _give_back(self, work: Work) -> None:
        with self._scheduler.lock:
            work.lane.scope.end()
        self._scheduler.push_back(work)

    def _end_entries(self, entries: list[Entry]) -> None:
        """Deliver what is on disk now."""
        results: list[WorkItemResult] = []
        released: list[Work] = []
        n_works = 0
        for entry in entries:
            ended = entry.reminder
            if ended is None:
                continue
            results.append(ended.result)
            if ended.work is not None:
                n_works += 1
                self._journal.end_flight(ended.work.slot)
                results += self._reader.follow(self._feeder.close(ended.work), ended.work, ended.outcome)
                released += self._warmer.release(ended.work)
        self._deliver(results)
        self._scheduler.add(released)
        self._scheduler.finish(n_works)

    def _deliver(self, results: list[WorkItemResult]) -> None:
        self._outbox.put(results)
        for result in results:
            if not result.success and (self._settings.fail_fast or _is_shared(result.exception)):
                self.stop(
                    "fail_fast",
                    result.error or "an item failed",
                    error_category=result.error_category,
                    triggering_item_id=result.item_id,
                )
                return


def _is_shared(error: BaseException | None) -> bool:
    """Return whether every other call would fail in the same way: with a key that is refused, or a quota used up."""
    if not isinstance(error, APIError):
        return False
    # Some services answer 403 to a single prompt that breaks their rules.
    return error.kind == "quota" or (error.kind == "auth" and error.status_code != _FORBIDDEN)


def build_refusal(refused: Refused, result: WorkItemResult) -> FailureRow:
    """Return the row of an item that cannot be asked."""
    return FailureRow(
        label=refused.label,
        key=b"",
        error=result.error or "",
        category=result.error_category or "",
        at=time.time(),
    )


@attrs.frozen(weakref_slot=False)
class _Ended:
    """A result that may be seen once it is on disk, and its work, if anything was asked."""

    result: WorkItemResult
    work: Work | None = None
    outcome: Outcome | None = None


def _build_failure(work: Work, answer: Answer) -> FailureRow:
    outcome = answer.outcome
    error = outcome.error if isinstance(outcome, Failure) else PolluxError("no failure")
    return FailureRow(
        label=work.label,
        key=work.key,
        error=f"{type(error).__name__}: {error.message}",
        category=name_category(error),
        attempts=answer.n_attempts,
        at=time.time(),
    )
