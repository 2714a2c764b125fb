"""A job by way of deferred jobs or of a fleet: feeding -> submitting -> delivering."""

from __future__ import annotations

import math
import time
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pollux_batch.answering import read_known
from pollux_batch.data.results import Termination, WorkItemResult
from pollux_batch.data.rows import AnswerRow, Entry
from pollux_batch.data.usage import read_usage
from pollux_batch.data.work import Leftover
from pollux_batch.delivering import Outbox, Reader, drain
from pollux_batch.feeding import Chunk, Feeder
from pollux_batch.journaling import Journal
from pollux_batch.lanes import Lanes
from pollux_batch.waiting import Latch
from pollux_sync.plugin import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from pollux_batch.data.items import Asked
    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.settings import BatchSettings
    from pollux_batch.data.work import Refused, Work
    from pollux_batch.submitting import Collected, Submitter

#: Results that come within this time are handed out together: to take one waits for others, for two milliseconds.
_TAKEN_TOGETHER_S = 0.05


class DeferredRun:
    """One run over the items of a job, by submissions of them: ``open_submitter`` says to whom. Iterate over it once.

    Where there is a list of ``leftovers``, what the jobs did not answer goes there and gets no result.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        settings: BatchSettings,
        journal: Path,
        parser: Callable[[LLMResponse], Any] | None,
        is_ordered: bool,
        wait: bool,
        open_submitter: Callable[[Journal], Submitter],
        leftovers: list[Leftover] | None = None,
    ) -> None:
        self._until = time.monotonic() + (settings.deadline_s or math.inf) if wait else 0.0
        self._leftovers = leftovers
        self._reader = Reader(parser)
        self._outbox = Outbox(is_ordered=is_ordered, changed=lambda: None)
        self._taken: deque[WorkItemResult] = deque()
        self._journal = Journal(journal, self._deliver)
        self._open_submitter = open_submitter
        self._lanes = Lanes(settings)
        self._feeder = Feeder(asked, settings, self._lanes, self._journal, delivers=False)
        self._stop = Latch()
        self._taken_at = 0.0
        self.termination = Termination()

    @property
    def n_read(self) -> int:
        """The number of items read so far."""
        return self._feeder.count

    @property
    def has_read_all(self) -> bool:
        """True once the end of the items was read."""
        return self._feeder.has_ended

    def iter_results(self) -> Generator[WorkItemResult, None, None]:
        """Yield the results as they come; on Ctrl-C those so far. Jobs go on at the provider."""
        is_whole = False
        try:
            yield from self._run()
            is_whole = True
        except KeyboardInterrupt:
            self.termination = Termination(kind="interrupted", reason="Ctrl-C")
            is_whole = True
        finally:
            try:
                self._journal.close(self.termination.kind if is_whole else "failed")
            finally:
                self._lanes.__exit__(None, None, None)
        # What was on its way to the disk when the journal was closed.
        self._outbox.release()
        yield from self._take()

    def _take(self) -> Iterator[WorkItemResult]:
        self._outbox.take(self._taken, 0.0)
        self._taken_at = time.monotonic()
        return drain(self._taken)

    def _run(self) -> Iterator[WorkItemResult]:
        submitter = self._open_submitter(self._journal)
        yield from self._submit(submitter)
        yield from self._collect(submitter)
        if submitter.n_pending:
            self.termination = Termination(
                kind="submitted", reason=f"{submitter.n_pending} items wait for their answers: run again later"
            )

    def _submit(self, submitter: Submitter) -> Iterator[WorkItemResult]:
        while (chunk := self._feeder.read_chunk()) is not None:
            self._deliver_unasked(chunk)
            for work in chunk.works:
                if not self._leave(work, is_left=not submitter.takes(work)):
                    submitter.add(work)
            yield from self._take()
        submitter.submit()
        for work, error in submitter.refused:
            if not self._leave(work):
                self._refuse(self._feeder.refuse(work, error))

    def _collect(self, submitter: Submitter) -> Iterator[WorkItemResult]:
        failed: dict[bytes, Collected] = {}
        for collected in submitter.iter_items(self._stop, until=self._until):
            if collected is None:  # the next one may come in hours
                self._journal.flush()
                yield from self._take()
            elif collected.needs_repair and self._leave(collected.work):
                self._journal.write(Entry(tuple(collected.rows)))
            # An answer may follow the failure of the same request.
            elif isinstance(collected.item.outcome, Reply):
                failed.pop(collected.member.key, None)
                self._keep(collected)
            else:
                # A paid answer is kept before its service forgets it.
                self._journal.write(Entry(tuple(row for row in collected.rows if isinstance(row, AnswerRow))))
                failed[collected.member.key] = collected
            if time.monotonic() > self._taken_at + _TAKEN_TOGETHER_S:
                yield from self._take()
        for collected in failed.values():
            if not self._leave(collected.work, is_left=collected.is_unanswered):
                self._keep(collected)

    def _leave(self, work: Work | None, *, is_left: bool = True) -> bool:
        """Leave a work and its equals to live calls, where there are any; return whether it was left."""
        if self._leftovers is None or work is None or not is_left:
            return False
        self._leftovers.append(Leftover(work.index, work.label, work.item, work.number))
        self._leftovers += [Leftover(one.index, one.label, one.item) for one in self._feeder.close(work)]
        return True

    def _deliver_unasked(self, chunk: Chunk) -> None:
        for known in chunk.known:
            work, outcome = known.work, read_known(known.work, known.stored, self._journal)
            result = self._reader.read_known(work, outcome, known.stored.label)
            self._outbox.put([result, *self._reader.follow(self._feeder.close(work), work, outcome, is_known=True)])
        self._refuse(chunk.refused)

    def _refuse(self, refusals: Iterable[Refused]) -> None:
        from pollux_batch.running import build_refusal

        for refused in refusals:
            result = self._reader.refuse(refused)
            self._journal.write(Entry((build_refusal(refused, result),), [result]))

    def _keep(self, collected: Collected) -> None:
        self._journal.write(Entry(tuple(collected.rows), self._build_results(collected)))

    def _build_results(self, collected: Collected) -> list[WorkItemResult]:
        work, outcome = collected.work, collected.item.outcome
        if work is None:
            return []
        result = self._reader.read_outcome(work, outcome)
        result.token_usage = read_usage(outcome.usage)
        costs = [row.cost for row in collected.rows if isinstance(row, AnswerRow) and row.cost is not None]
        result.cost = Decimal(costs[0]) if costs else None
        return [result, *self._reader.follow(self._feeder.close(work), work, outcome)]

    def _deliver(self, entries: list[Entry]) -> None:
        self._outbox.put([result for entry in entries for result in entry.reminder or ()])
