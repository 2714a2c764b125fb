"""Single prompts on the retries and limits of a processor: `call`, `call_result`, `LLMCallPool`."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import attrs

from pollux_batch.coordinating import StrategyJob
from pollux_batch.data.configs import ProcessorConfig
from pollux_batch.data.settings import check_number, check_whole
from pollux_batch.data.workitems import LLMWorkItem
from pollux_batch.errors import AdmissionTimeoutError, BatchAdmissionClosedError, LLMCallError
from pollux_batch.receiving import Inbox
from pollux_batch.waiting import Latch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.results import WorkItemResult
    from pollux_batch.data.strategy import LLMCallStrategy
    from pollux_batch.observing import Middleware, ProcessorObserver

#: The longest wait at a stretch: a pool that has failed is noticed between two waits.
_STRETCH_S = 0.2


@attrs.define(eq=False)
class _Ticket:
    """A result that a caller waits for."""

    is_done: Latch = attrs.field(factory=Latch)
    result: WorkItemResult | None = None


class LLMCallPool:
    """Answers single prompts for many threads, which share the pauses, limits and threads of one processor.

    ``max_pending`` is the most prompts that may be in the pool, None for any number. Beyond that a caller waits, at
    most ``submit_timeout`` seconds, None for any time.
    """

    def __init__(
        self,
        strategy: LLMCallStrategy[Any],
        *,
        config: ProcessorConfig | None = None,
        error_classifier: ErrorClassifier | None = None,
        middlewares: Sequence[Middleware] = (),
        observers: Sequence[ProcessorObserver] = (),
        max_pending: int | None = None,
        submit_timeout: float | None = None,
    ) -> None:
        if max_pending is not None:
            check_whole("max_pending", max_pending, typical="1000")
        if submit_timeout is not None:
            check_number("submit_timeout", submit_timeout, typical="5 seconds")
        LLMWorkItem("check", strategy)
        self._strategy = strategy
        self._submit_timeout = submit_timeout
        self._places: SimpleQueue[None] | None = None
        if max_pending is not None:
            self._places = SimpleQueue()
            for _ in range(max_pending):
                self._places.put(None)
        self._tickets: dict[LLMWorkItem, _Ticket] = {}
        self._numbers = count()
        self._inbox = Inbox(0)
        self._job = StrategyJob(
            config or ProcessorConfig(),
            self._inbox,
            self._hand_out,
            error_classifier=error_classifier,
            middlewares=middlewares,
            observers=observers,
        )
        self._inbox.announce = self._job.scheduler.wake
        self._is_closed = False
        self._job.start()

    def submit(self, prompt: str, *, timeout: float | None = None) -> Any:
        """Return the output for a prompt. Raises LLMCallError if it fails; else as `submit_result`."""
        return _require_output(self.submit_result(prompt, timeout=timeout))

    def submit_result(self, prompt: str, *, timeout: float | None = None) -> WorkItemResult:
        """Return the result for a prompt, whether it succeeded or not.

        Raises AdmissionTimeoutError if there is no place for it in ``submit_timeout`` seconds, or no result in
        ``timeout`` seconds, and BatchAdmissionClosedError once the pool is closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        item = LLMWorkItem(f"item_{next(self._numbers)}", self._strategy, prompt)
        self._take_place()
        ticket = self._tickets[item] = _Ticket()
        try:
            self._inbox.put(item)
        except BaseException:
            self._forget(item)
            raise
        return self._wait(ticket, deadline)

    def _take_place(self) -> None:
        if self._places is None:
            return
        try:
            self._places.get(timeout=self._submit_timeout)
        except Empty:
            raise AdmissionTimeoutError(
                f"the pool had no place for another prompt in {self._submit_timeout:g} s",
                hint="raise max_pending, or submit fewer at a time",
            ) from None

    def _wait(self, ticket: _Ticket, deadline: float | None) -> WorkItemResult:
        while not ticket.is_done.wait(_STRETCH_S if deadline is None else min(_STRETCH_S, _left_s(deadline))):
            if deadline is not None and not _left_s(deadline):
                raise AdmissionTimeoutError("there was no result in time", hint="raise timeout")
            if self._job.scheduler.is_over.is_set() and not ticket.is_done.is_set():
                raise self._explain_end()
        if ticket.result is None:
            raise self._explain_end()
        return ticket.result

    def _explain_end(self) -> BaseException:
        return self._job.scheduler.failure or BatchAdmissionClosedError(
            f"the pool has ended: {self._job.termination.reason or 'it was closed'}", hint="open another pool"
        )

    def _hand_out(self, item: LLMWorkItem, result: WorkItemResult) -> None:
        self._job.statistics.count_result(result)
        ticket = self._forget(item)
        if ticket is not None:
            ticket.result = result
            ticket.is_done.set()

    def _forget(self, item: LLMWorkItem) -> _Ticket | None:
        if self._places is not None:
            self._places.put(None)
        return self._tickets.pop(item, None)

    def get_stats(self) -> dict[str, Any]:
        """Return what was counted so far."""
        return self._job.statistics.to_dict(self._job.n_read)

    def close(self) -> None:
        """Take no more prompts, wait for those that were submitted, and have the strategy let go.

        Raises what the strategy's ``cleanup`` raised.
        """
        for error in self._close():
            raise error

    def _close(self) -> list[Exception]:
        if self._is_closed:
            return []
        self._is_closed = True
        self._inbox.close()
        self._job.wait()
        return self._job.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = self._close()
        # The error of the block matters more than one of the clean-up, which is logged.
        if failures and error is None:
            raise failures[0]


#: The name that it had before.
LLMGateway = LLMCallPool


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _require_output(result: WorkItemResult) -> Any:
    if not result.success:
        raise LLMCallError(result.error or "the call failed", result=result) from result.exception
    return result.output


def call_result(strategy: LLMCallStrategy[Any], prompt: str, **settings: Any) -> WorkItemResult:
    """Ask one prompt, with retries; return the result. ``settings`` are those of `LLMCallPool`."""
    pool = LLMCallPool(strategy, **settings)
    try:
        return pool.submit_result(prompt)
    finally:
        # The result is worth more than a strategy's failure to let go, which is logged.
        with suppress(Exception):
            pool.close()


def call(strategy: LLMCallStrategy[Any], prompt: str, **settings: Any) -> Any:
    """Ask one prompt, with retries; return the output. Raises LLMCallError, with the result, if it fails."""
    return _require_output(call_result(strategy, prompt, **settings))
