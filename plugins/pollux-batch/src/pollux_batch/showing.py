"""The progress of a run on stderr: one line that is rewritten on a terminal, else a line now and then."""

from __future__ import annotations

import math
import sys
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Self, TextIO

from pollux_batch.running import Job
from pollux_sync.commands import StatusLine, escape_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pollux_batch.data.results import WorkItemResult
    from pollux_batch.routing import Run

#: Seconds between two lines.
_TERMINAL_S, _PLAIN_S = 0.5, 5.0
#: A shorter wait is that of a rate limit, which is no news.
_LEAST_PAUSE_S = 1.0


class Progress:
    """Counts the results of a run, and shows the counts. Used as a context manager; without a stream it only counts."""

    def __init__(self, stream: TextIO | None, job: Run, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = None if stream is None else StatusLine(stream)
        self._job = job
        self._clock = clock
        self._started = clock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="pollux-batch progress", daemon=True)
        self.answered = self.failed = self.replayed = self.deduped = self.asked = 0
        self.input_tokens = self.output_tokens = 0
        self.cost = Decimal(0)
        #: Answers of this run whose price is not known.
        self.unpriced = 0
        self.first_failure: WorkItemResult | None = None

    def count(self, result: WorkItemResult) -> None:
        """Count a result."""
        self.answered += result.success
        self.failed += not result.success
        self.replayed += result.replayed
        self.deduped += result.deduped_from is not None and not result.replayed
        if not result.success and self.first_failure is None:
            self.first_failure = result
        if result.replayed or result.deduped_from is not None:
            return
        self.asked += 1
        self.input_tokens += result.token_usage.get("input_tokens", 0)
        self.output_tokens += result.token_usage.get("output_tokens", 0)
        self.unpriced += result.cost is None and result.success
        self.cost += result.cost or 0

    def describe(self) -> str:
        """Return the counts as a line."""
        facts = [
            f"{self.answered:,} answered",
            *([f"{self.replayed:,} of them from the journal"] if self.replayed else []),
            *([f"{self.deduped:,} equal to others"] if self.deduped else []),
            *([f"{self.failed:,} failed"] if self.failed else []),
            f"{self.input_tokens:,} + {self.output_tokens:,} tokens",
            *([self.describe_cost()] if self.cost else []),
        ]
        return ", ".join(facts)

    def describe_cost(self) -> str:
        """Return the cost of this run: the sum over answers with a known price."""
        return f"{'at least ' if self.unpriced else ''}${self.cost:.4f}"

    def describe_rate(self) -> str:
        """Return the seconds since the start, and how many items a second were asked."""
        duration_s = self._clock() - self._started
        return f"{self.asked / max(duration_s, 0.001):.1f}/s, {duration_s:.0f} s"

    def show(self) -> None:
        """Write the counts, the rate, and what the run waits for."""
        if self._line is not None:
            waits = self._list_waits()
            self._line.write(escape_line("; ".join([f"{self.describe()}, {self.describe_rate()}", *waits])))

    def _list_waits(self) -> list[str]:
        kind = self._job.termination.kind
        waits = [] if kind == "completed" else [f"stopping ({kind}): waiting for the calls in flight"]
        scopes = self._job.scopes if isinstance(self._job, Job) else ()
        now = time.monotonic()
        for scope in scopes:
            pause_s = scope.next_at - now
            # Without end is the wait for another call of the scope.
            if _LEAST_PAUSE_S < pause_s < math.inf:
                waits.append(f"{scope.name} is paused for {pause_s:.0f} s")
        return waits

    def _tick(self) -> None:
        period_s = _TERMINAL_S if self._line is not None and self._line.is_terminal else _PLAIN_S
        while not self._over.wait(period_s):
            self.show()

    def __enter__(self) -> Self:
        if self._line is not None:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._line is not None:
            self._ticker.join()
            self._line.erase()


def choose_stream(*, is_quiet: bool) -> TextIO | None:
    """Return the stream for the progress, None if none is wanted."""
    return None if is_quiet else sys.stderr
