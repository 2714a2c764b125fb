"""An item of a strategy -> its result: tried, and tried again where that may help."""

from __future__ import annotations

import logging
import math
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.data.categories import ErrorCategory, ErrorInfo
from pollux_batch.data.configs import AttemptUsage
from pollux_batch.data.results import WorkItemResult
from pollux_batch.data.state import RetryState
from pollux_batch.data.usage import TokenUsage, add_usage, check_usage
from pollux_batch.errors import (
    BatchAbortedError,
    EmptyResponseError,
    FrameworkTimeoutError,
    ItemDeadlineExceeded,
    MiddlewareContractError,
    RateLimitRetriesExceeded,
    StrategyPrepareError,
    TokenTrackingError,
)
from pollux_batch.observing import ProcessingEvent
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_batch.data.configs import ProcessorConfig
    from pollux_batch.data.workitems import LLMWorkItem
    from pollux_batch.observing import Middleware
    from pollux_batch.preparing import StrategyLane
    from pollux_batch.scheduling import Scheduler
    from pollux_batch.timing import Runners, TimedCall
    from pollux_batch.waiting import Latch

log = logging.getLogger("pollux_batch")

_MAX_ERROR = 500
#: The categories after which the answer is asked for again at once: nobody has to recover.
_AT_ONCE = frozenset({ErrorCategory.VALIDATION_ERROR, ErrorCategory.STRUCTURED_OUTPUT_VALIDATION_ERROR})


@attrs.define(eq=False, kw_only=True)
class StrategyWork:
    """One item that is to be asked of its strategy."""

    index: int
    item: LLMWorkItem
    lane: StrategyLane
    n_tokens: int = 0


@attrs.frozen
class _Answered:
    output: Any
    metadata: dict[str, Any] | None


@attrs.frozen
class _Failed:
    error: Exception
    info: ErrorInfo


@attrs.frozen(kw_only=True, eq=False)
class Executor:
    """Carries works out with the limits of a job. Many threads use it at once.

    Once ``halt`` is set no further try is begun; once ``stop`` is set nothing in flight is waited for.
    """

    config: ProcessorConfig
    scheduler: Scheduler[StrategyWork]
    runners: Runners
    middlewares: Sequence[Middleware]
    emit: Callable[..., None]
    count: Callable[[AttemptUsage], None]
    halt: Latch
    stop: Latch

    def execute(self, work: StrategyWork) -> WorkItemResult:
        """Return the result of a work. Its scope has admitted the first call."""
        run = _ItemRun(work, self)
        try:
            return run.run()
        finally:
            run.leave_scope()


class _ItemRun:
    """The tries of one item."""

    def __init__(self, work: StrategyWork, job: Executor) -> None:
        self._job = job
        self._work = work
        self._item = work.item
        self._lane = work.lane
        self._scope = work.lane.scope
        self._state = RetryState()
        self._started = time.monotonic()
        self._deadline = self._started + (job.config.guardrails.total_timeout_per_item or math.inf)
        # The scheduler has asked the scope for the first call.
        self._is_admitted = True
        self._answered_at: float | None = None
        self._incident = self._scope.quota.incident
        self._attempt = 1
        self._tries = self._throttles = 0
        self._late: list[TimedCall[Any]] = []
        self._usages: list[TokenUsage] = []

    def run(self) -> WorkItemResult:
        """Return the result of the item."""
        self._emit(ProcessingEvent.ITEM_STARTED)
        try:
            item = self._apply_before()
        except MiddlewareContractError as error:
            return self._build_failure(_Failed(error, self._classify(error)))
        if item is None:
            skipped = PolluxError("Skipped by middleware")
            return self._build_failure(
                _Failed(skipped, ErrorInfo(is_retryable=False, error_category=ErrorCategory.MIDDLEWARE_FILTERED))
            )
        self._item = item
        outcome = self._answer_dry() if self._job.config.dry_run else self._ask_until_answered()
        self.leave_scope()
        return self._recover(outcome) if isinstance(outcome, _Failed) else self._finish(outcome)

    # Middleware

    def _apply_before(self) -> LLMWorkItem | None:
        item: LLMWorkItem | None = self._item
        for middleware in self._job.middlewares:
            name = type(middleware).__name__
            try:
                item = middleware.before_process(item) if item is not None else None
            except Exception as error:
                raise MiddlewareContractError(f"before_process of {name} failed: {error}") from error
            if item is not None and (item.item_id, item.strategy) != (self._item.item_id, self._item.strategy):
                raise MiddlewareContractError(
                    f"before_process of {name} changed the id or the strategy of item {self._item.item_id!r}",
                    hint="return attrs.evolve(item, prompt=...)",
                )
        return item

    def _finish(self, answered: _Answered) -> WorkItemResult:
        result = self._build_result(success=True, output=answered.output, metadata=answered.metadata)
        for middleware in reversed(self._job.middlewares):
            try:
                result = middleware.after_process(result)
            except Exception as cause:  # noqa: BLE001 - what middleware did not see must not get out
                error = MiddlewareContractError(f"after_process of {type(middleware).__name__} failed: {cause}")
                error.__cause__ = cause
                return self._build_failure(_Failed(error, self._classify(error)))
        return result

    def _recover(self, failed: _Failed) -> WorkItemResult:
        for middleware in self._job.middlewares:
            try:
                result = middleware.on_error(self._item, failed.error)
            except Exception:
                log.exception("on_error of %s failed", type(middleware).__name__)
                continue
            if result is not None:
                return result
        return self._build_failure(failed)

    # Tries

    def _answer_dry(self) -> _Answered | _Failed:
        try:
            output, usage = self._item.strategy.dry_run(self._item.prompt)
            self._usages.append(check_usage(usage))
        except Exception as error:  # noqa: BLE001 - the caller's code may raise anything, which is the result
            return _Failed(error, self._classify(error))
        return _Answered(output, None)

    def _ask_until_answered(self) -> _Answered | _Failed:
        try:
            self._lane.prepare()
        except StrategyPrepareError as error:
            return _Failed(error, self._classify(error))
        not_before = 0.0
        while True:
            outcome = self._enter_scope(not_before) or self._take_late() or self._try_once()
            if isinstance(outcome, _Answered) or not self._is_open(outcome):
                return outcome
            self.leave_scope()
            self._learn(outcome)
            wait_s = self._decide(outcome)
            if wait_s is None:
                return self._take_late() or self._give_up(outcome)
            not_before = time.monotonic() + wait_s

    def _is_open(self, failed: _Failed) -> bool:
        """Return whether another try is thinkable after a failure."""
        if isinstance(failed.error, ItemDeadlineExceeded):
            self._emit(ProcessingEvent.ITEM_DEADLINE_EXCEEDED)
        return not isinstance(failed.error, BatchAbortedError | ItemDeadlineExceeded)

    def _try_once(self) -> _Answered | _Failed:
        job, item = self._job, self._item
        self._tries += 1
        self._emit(ProcessingEvent.ITEM_ADMITTED, attempt=self._attempt)
        limit_s = min(job.config.attempt_timeout, self._deadline - time.monotonic())
        ask = partial(item.strategy.execute, item.prompt, self._attempt, limit_s, self._state)
        call: TimedCall[Any] = job.runners.begin(ask)
        if job.stop.is_set():
            call.abandon()
        if call.wait(limit_s):
            return self._read(call)
        self._late.append(call)
        if call.is_abandoned:
            return self._fail(BatchAbortedError("the job was ended while the item was in flight"))
        self._count(TokenUsage(), success=False)
        return self._fail(self._build_timeout(limit_s))

    def _build_timeout(self, limit_s: float) -> PolluxError:
        if time.monotonic() >= self._deadline:
            return ItemDeadlineExceeded(
                f"all tries of item {self._item.item_id!r} together took longer than they may",
                hint="raise GuardrailConfig(total_timeout_per_item=...)",
            )
        return FrameworkTimeoutError(
            f"a try of item {self._item.item_id!r} took longer than {limit_s:g} s",
            hint="raise ProcessorConfig(attempt_timeout=...)",
            item_id=self._item.item_id,
            elapsed=time.monotonic() - self._started,
            timeout_limit=limit_s,
        )

    def _take_late(self) -> _Answered | None:
        """Return the answer of an earlier try that was given up, if it has come meanwhile: it was paid for."""
        for call in [call for call in self._late if call.is_done]:
            self._late.remove(call)
            outcome = self._read(call)
            if isinstance(outcome, _Answered):
                return outcome
        return None

    def _read(self, call: TimedCall[Any]) -> _Answered | _Failed:
        try:
            output, usage, metadata = _check_executed(call.result(), self._item)
        except Exception as raised:  # noqa: BLE001 - the caller's code may raise anything, which is the result
            self._count(_read_failed_usage(raised), success=False)
            return self._fail(_unwrap(raised))
        self._answered_at = time.monotonic()
        self._count(usage, success=True)
        return _Answered(output, metadata)

    def _count(self, usage: TokenUsage, *, success: bool) -> None:
        self._usages.append(usage)
        total = usage.get("total_tokens")
        if self._work.n_tokens:
            with self._job.scheduler.lock:
                self._scope.quota.settle(self._work.n_tokens, total)
        self._job.count(
            AttemptUsage(
                item_id=self._item.item_id,
                attempt=self._attempt,
                try_number=self._tries,
                strategy=self._item.strategy,
                usage=usage,
                success=success,
            )
        )

    def _learn(self, failed: _Failed) -> None:
        try:
            self._item.strategy.on_error(failed.error, self._attempt, self._state)
        except Exception as error:  # noqa: BLE001 - the first error is the one that counts
            log.warning("on_error of %s failed: %s", type(self._item.strategy).__name__, error)

    def _decide(self, failed: _Failed) -> float | None:
        """Return the seconds to wait before the next try, None for no other try."""
        config, info = self._job.config.retry, failed.info
        if info.is_rate_limit:
            self._throttles += 1
            self._cool_down(info)
            ends_in_time = self._scope.quota.cools_until < self._deadline
            # The pause of the scope is what is waited for.
            is_open = self._throttles <= config.max_rate_limit_retries and ends_in_time
            return 0.0 if is_open and not self._job.halt.is_set() else None
        if not info.is_retryable or self._attempt >= config.max_attempts or self._job.halt.is_set():
            return None
        self._attempt += 1
        wait_s = max(0.0 if info.error_category in _AT_ONCE else self._backoff_s(), info.suggested_wait or 0.0)
        return wait_s if time.monotonic() + wait_s < self._deadline else None

    def _backoff_s(self) -> float:
        config = self._job.config.retry
        wait_s = min(config.initial_wait * config.exponential_base ** min(self._attempt - 2, 100), config.max_wait)
        return wait_s * random.uniform(0.5, 1.0) if config.jitter else wait_s  # noqa: S311 - spreads load

    def _cool_down(self, info: ErrorInfo) -> None:
        self._emit(ProcessingEvent.RATE_LIMIT_HIT, attempt=self._attempt)
        with self._job.scheduler.lock:
            wait_s = self._scope.quota.cool_down(info.suggested_wait, self._incident, time.monotonic())
        if wait_s is not None:
            self._emit(ProcessingEvent.COOLDOWN_STARTED, duration_s=wait_s)

    def _give_up(self, failed: _Failed) -> _Failed:
        if not failed.info.is_rate_limit or self._throttles <= self._job.config.retry.max_rate_limit_retries:
            return failed
        error = RateLimitRetriesExceeded(
            f"item {self._item.item_id!r} was refused {self._throttles} times for its rate",
            hint="lower max_workers, or set max_requests_per_minute",
        )
        error.__cause__ = failed.error
        return _Failed(error, ErrorInfo(is_retryable=False, error_category=ErrorCategory.RATE_LIMIT_RETRIES_EXCEEDED))

    # The scope

    def _enter_scope(self, not_before: float) -> _Failed | None:
        """Wait until the scope admits the next try; return why it does not any more."""
        scheduler = self._job.scheduler
        if not self._is_admitted:
            with scheduler.step_aside(self._scope):
                self._is_admitted = scheduler.wait_admitted(
                    self._scope, self._work.n_tokens, not_before, self._job.halt
                )
            self._incident = self._scope.quota.incident
        if not self._is_admitted:
            return self._fail(BatchAbortedError("the job was ended while the item waited for its next try"))
        return self._fail(self._build_timeout(0.0)) if time.monotonic() >= self._deadline else None

    def leave_scope(self) -> None:
        """Note that no call of the item is in flight."""
        if self._is_admitted:
            self._is_admitted = False
            with self._job.scheduler.lock:
                self._scope.end()
                if self._answered_at is not None:
                    self._scope.record_answer(self._answered_at)
                self._job.scheduler.announce_change()
            self._answered_at = None

    # Results

    def _classify(self, error: Exception) -> ErrorInfo:
        try:
            return self._lane.classifier.classify(error)
        except Exception:
            log.exception("%s failed", type(self._lane.classifier).__name__)
            return ErrorInfo(is_retryable=False, error_category=ErrorCategory.CLASSIFIER_ERROR)

    def _fail(self, error: Exception) -> _Failed:
        return _Failed(error, self._classify(error))

    def _build_failure(self, failed: _Failed) -> WorkItemResult:
        return build_failure(self._build_result(success=False), failed.error, failed.info)

    def _build_result(self, **facts: Any) -> WorkItemResult:
        return WorkItemResult(
            item_id=self._item.item_id,
            context=self._item.context,
            token_usage=add_usage(self._usages),
            submission_index=self._work.index,
            attempts=self._tries,
            duration_s=time.monotonic() - self._started,
            **facts,
        )

    def _emit(self, event: ProcessingEvent, **data: Any) -> None:
        self._job.emit(event, item_id=self._item.item_id, **data)


def build_failure(result: WorkItemResult, error: Exception, info: ErrorInfo) -> WorkItemResult:
    """Return a result as that of an item that failed."""
    text = error.message if isinstance(error, PolluxError) else str(error)
    return attrs.evolve(
        result,
        success=False,
        error=f"{type(error).__name__}: {text}"[:_MAX_ERROR],
        exception=error.with_traceback(None),
        error_category=str(info.error_category),
    )


def _check_executed(executed: object, item: LLMWorkItem) -> tuple[Any, TokenUsage, dict[str, Any] | None]:
    """Return output, usage and metadata of a try. Raises ConfigurationError for another shape."""
    if not isinstance(executed, tuple) or len(executed) not in {2, 3}:
        raise ConfigurationError(
            f"execute of {type(item.strategy).__name__} returned {type(executed).__name__}",
            hint="return (output, usage), or (output, usage, metadata)",
        )
    output, usage, *metadata = executed
    return output, check_usage(usage), metadata[0] if metadata else None


def _unwrap(error: Exception) -> Exception:
    """Return the error that an error which only carries tokens stands for."""
    cause = error.__cause__
    is_carrier = isinstance(error, TokenTrackingError) and not isinstance(error, EmptyResponseError)
    return cause if is_carrier and isinstance(cause, Exception) else error


def _read_failed_usage(error: Exception) -> TokenUsage:
    """Return the tokens that were billed for a failed try, as far as its error tells."""
    envelope = getattr(error, "partial_result", None)
    candidates = [
        getattr(error, "token_usage", None),
        getattr(error, "_failed_token_usage", None),
        getattr(error, "usage", None),
        {
            name: count
            for name, count in (envelope or {}).get("usage", {}).items()
            if name in TokenUsage.__annotations__
        },
    ]
    for candidate in candidates:
        try:
            usage = check_usage(candidate)
        except ConfigurationError:  # not a usage, whatever it is
            continue
        if usage:
            return usage
    return TokenUsage()
