"""Strategies for tests, which ask nobody."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from pollux_batch.data.settings import check_number
from pollux_batch.data.strategy import CallOutcome
from pollux_batch.strategies import CallableStrategy
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FakeRateLimitError", "FakeStrategy"]

TOutput = TypeVar("TOutput")


class FakeRateLimitError(Exception):
    """A refusal for the rate, with the status of one; ``retry_after`` are the seconds that it asks for."""

    status_code = 429

    def __init__(self, message: str = "429 rate limit", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FakeStrategy(CallableStrategy[TOutput]):
    """Answers with ``response``, or with what it returns for a prompt.

    ``failure_schedule`` has for each call, in their order, an exception to raise or None; after it ``failure_rate`` is
    the part of the calls that fail, drawn by ``seed``. ``latency`` is the seconds that a call takes. ``calls`` counts.
    """

    def __init__(
        self,
        response: TOutput | Callable[[str], TOutput],
        *,
        latency: float = 0.0,
        failure_schedule: Sequence[Exception | None] = (),
        failure_rate: float = 0.0,
        seed: int | None = None,
        token_usage: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        check_number("latency", latency)
        check_number("failure_rate", failure_rate)
        if failure_rate > 1:
            raise ConfigurationError(f"failure_rate must be at most 1, got {failure_rate}", hint="e.g. 0.1")
        if failure_rate and seed is None:
            raise ConfigurationError("failure_rate needs a seed", hint="pass seed=1, so that each run is the same")
        self._response = response
        self._latency = latency
        self._schedule = tuple(failure_schedule)
        self._failure_rate = failure_rate
        self._draw = random.Random(seed)  # noqa: S311 - what a test draws is no secret
        self._usage = dict(token_usage or {})
        self._lock = threading.Lock()
        self.calls = 0
        super().__init__(self._invoke, **settings)

    def _invoke(self, prompt: str) -> CallOutcome[TOutput]:
        failure = self._choose_failure()
        if self._latency:
            time.sleep(self._latency)
        if failure is not None:
            raise failure
        output: Any = self._response(prompt) if callable(self._response) else self._response
        return CallOutcome(output, self._usage)

    def _choose_failure(self) -> Exception | None:
        with self._lock:
            index, self.calls = self.calls, self.calls + 1
            if index < len(self._schedule):
                return self._schedule[index]
            is_drawn = self._failure_rate and self._draw.random() < self._failure_rate
        return ConnectionError("simulated failure of the connection") if is_drawn else None
