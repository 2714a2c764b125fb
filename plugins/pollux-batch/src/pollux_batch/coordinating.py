"""A run over the items of strategies: receiving -> scheduling -> attempting -> whoever takes the results."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pollux_batch.attempting import Executor, StrategyWork, build_failure
from pollux_batch.classifying import DefaultErrorClassifier
from pollux_batch.data.configs import AbortMode
from pollux_batch.data.results import Termination, WorkItemResult
from pollux_batch.data.usage import TokenUsage, add_usage
from pollux_batch.errors import TokenEstimationError
from pollux_batch.observing import Dispatcher, ProcessingEvent
from pollux_batch.preparing import StrategyLanes
from pollux_batch.scheduling import Scheduler
from pollux_batch.timing import Runners
from pollux_batch.waiting import Latch
from pollux_sync.plugin import TokenEstimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.configs import AttemptUsage, ProcessorConfig
    from pollux_batch.data.results import TerminationKind
    from pollux_batch.data.workitems import LLMWorkItem
    from pollux_batch.observing import Middleware, ProcessorObserver
    from pollux_batch.receiving import Intake

#: The longest wait at a stretch: Python acts on Ctrl-C between two waits.
_STRETCH_S = 0.2
#: The longest wait for observers at the end.
FLUSH_S = 5.0
#: What is expected of a prompt where nobody estimates it.
_CHARS_PER_TOKEN = 4
_OUTPUT_TOKENS = 256


class Statistics:
    """The counts of a processor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_at = time.time()
        self._succeeded = self._failed = self._rate_limits = 0
        self._errors: Counter[str] = Counter()
        self._usage = TokenUsage()

    def count_result(self, result: WorkItemResult) -> int:
        """Count a result; return how many there are."""
        with self._lock:
            self._usage = add_usage((self._usage, result.token_usage))
            if result.success:
                self._succeeded += 1
            else:
                self._failed += 1
                self._errors[result.error_category or "unknown"] += 1
            return self._succeeded + self._failed

    def count_rate_limit(self) -> None:
        """Count a refusal for the rate."""
        with self._lock:
            self._rate_limits += 1

    def to_dict(self, total: int) -> dict[str, Any]:
        """Return all counts; ``total`` is the number of items so far."""
        with self._lock:
            return {
                "total": total,
                "processed": self._succeeded + self._failed,
                "succeeded": self._succeeded,
                "failed": self._failed,
                "error_counts": dict(self._errors),
                "rate_limit_count": self._rate_limits,
                "start_time": self._started_at,
                **{f"total_{name}": count for name, count in self._usage.items()},
            }


class StrategyJob:
    """A run over the items of an intake.

    ``deliver`` receives each result, in the thread that got it; ``ended`` is called after the last. Nothing is
    taken from the intake while ``may_take`` returns False.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        intake: Intake,
        deliver: Callable[[LLMWorkItem, WorkItemResult], None],
        *,
        may_take: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
        error_classifier: ErrorClassifier | None = None,
        middlewares: Sequence[Middleware] = (),
        observers: Sequence[ProcessorObserver] = (),
    ) -> None:
        self._config = config
        self._intake = intake
        self._deliver = deliver
        self._may_take = may_take
        self.lanes = StrategyLanes(config, error_classifier)
        self.runners = Runners()
        self.statistics = Statistics()
        self.dispatcher = Dispatcher(observers)
        self._halt, self._stop = Latch(), Latch()
        self.scheduler: Scheduler[StrategyWork] = Scheduler(
            config.workers, self._feed, self._answer, self._may_feed, announce_end=ended
        )
        self._executor = Executor(
            config=config,
            scheduler=self.scheduler,
            runners=self.runners,
            middlewares=tuple(middlewares),
            emit=self._emit,
            count=self._count,
            halt=self._halt,
            stop=self._stop,
        )
        self._budget_lock = threading.Lock()
        self._spent_tokens, self._spent_cost = 0, 0.0
        #: How many items were read.
        self.n_read = 0
        self.termination = Termination()
        self._started = time.monotonic()

    def start(self) -> None:
        """Begin to work."""
        self._started = time.monotonic()
        self._emit(ProcessingEvent.BATCH_STARTED)
        self.scheduler.start()

    def stop(self, kind: TerminationKind, reason: str, **facts: str | None) -> None:
        """Begin no further item and no further try. What is in flight ends, or is left, as the guardrails say."""
        if self.termination.kind != "completed" or self.scheduler.is_over.is_set():
            return
        self.termination = Termination(kind=kind, reason=reason, **facts)
        self._emit(ProcessingEvent.BATCH_ABORTED, kind=kind, reason=reason)
        self._intake.close()
        self._halt.set()
        self.scheduler.drain()
        if self._config.guardrails.abort_mode == AbortMode.CANCEL_ACTIVE:
            self.abort()

    def abort(self) -> None:
        """Wait for nothing that is in flight."""
        self._intake.close()
        self._halt.set()
        self._stop.set()
        self.scheduler.drain()
        self.runners.abandon_all()
        self.scheduler.wake()

    def check_deadline(self) -> None:
        """End the job once its time is over."""
        limit_s = self._config.guardrails.batch_timeout or math.inf
        if time.monotonic() - self._started >= limit_s:
            self.stop("batch_timeout", f"batch_timeout={limit_s:g} has passed")

    def wait(self) -> None:
        """Wait until nothing is in flight."""
        while not self.scheduler.is_over.wait(_STRETCH_S):
            self.check_deadline()

    def close(self) -> list[Exception]:
        """Have strategies let go, and end all threads; return what strategies raised."""
        failures = self.lanes.clean_up()
        self.dispatcher.close(FLUSH_S)
        self.runners.close()
        return failures

    # In the worker threads

    def _may_feed(self) -> bool:
        return self._intake.has_more and self._may_take()

    def _feed(self) -> Sequence[StrategyWork] | None:
        try:
            items = self._intake.take(self._config.workers)
            return None if items is None else [work for item in items if (work := self._open(item)) is not None]
        except BaseException as error:  # noqa: BLE001 - the input's own, raised where the results are read
            self.scheduler.failure = error
            return None

    def _open(self, item: LLMWorkItem) -> StrategyWork | None:
        """Return the work of an item. One that cannot be asked is answered at once."""
        index, self.n_read = self.n_read, self.n_read + 1
        try:
            lane = self.lanes.find(item.strategy)
            return StrategyWork(index=index, item=item, lane=lane, n_tokens=self._estimate(item))
        except Exception as error:  # noqa: BLE001 - one item that cannot be asked must not cost the others
            self._intake.note_begun()
            self._finish(item, _refuse(item, index, error))
            return None

    def _estimate(self, item: LLMWorkItem) -> int:
        if self._config.max_tokens_per_minute is None:
            return 0
        estimator = self._config.token_estimator or _estimate_by_length
        try:
            estimate = item.strategy.estimate_tokens(item.prompt, 1, None) or estimator(item.prompt)
            return estimate.input_tokens + estimate.output_tokens
        except Exception as error:
            raise TokenEstimationError(f"the tokens of item {item.item_id!r} cannot be estimated: {error}") from error

    def _answer(self, work: StrategyWork) -> None:
        self._intake.note_begun()
        try:
            self._finish(work.item, self._executor.execute(work))
        except BaseException as error:
            # Before the work counts as finished, which the scheduler sees to: whoever sees the end must see this too.
            self.scheduler.failure = self.scheduler.failure or error
            raise
        self.scheduler.finish(1)

    def _finish(self, item: LLMWorkItem, result: WorkItemResult) -> None:
        if not result.success and result.error_category in self._config.guardrails.abort_on_error_categories:
            self.stop(
                "fail_fast",
                result.error or "an item failed",
                error_category=result.error_category,
                triggering_item_id=result.item_id,
            )
        event = ProcessingEvent.ITEM_COMPLETED if result.success else ProcessingEvent.ITEM_FAILED
        self._emit(
            event,
            item_id=result.item_id,
            error=result.error,
            error_category=result.error_category,
            duration_s=result.duration_s,
            **result.token_usage,
        )
        self._deliver(item, result)

    def _emit(self, event: ProcessingEvent, **data: Any) -> None:
        if event == ProcessingEvent.RATE_LIMIT_HIT:
            self.statistics.count_rate_limit()
        self.dispatcher.emit(event, **data)

    def _count(self, usage: AttemptUsage) -> None:
        guardrails = self._config.guardrails
        cost = guardrails.cost_function(usage) if guardrails.cost_function is not None else 0.0
        with self._budget_lock:
            self._spent_tokens += usage.usage.get("total_tokens", 0)
            self._spent_cost += cost
            is_exceeded = self._spent_tokens >= (guardrails.max_total_tokens or math.inf)
            is_exceeded = is_exceeded or self._spent_cost >= (guardrails.max_total_cost or math.inf)
        if is_exceeded:
            self.stop("budget_exceeded", "the budget is spent", triggering_item_id=usage.item_id)


def _estimate_by_length(prompt: str) -> TokenEstimate:
    return TokenEstimate(input_tokens=max(1, len(prompt) // _CHARS_PER_TOKEN), output_tokens=_OUTPUT_TOKENS)


def _refuse(item: LLMWorkItem, index: int, error: Exception) -> WorkItemResult:
    result = WorkItemResult(item_id=item.item_id, success=False, context=item.context, submission_index=index)
    return build_failure(result, error, DefaultErrorClassifier().classify(error))
