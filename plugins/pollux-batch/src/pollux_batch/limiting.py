"""What may go to a provider now: one `Scope` for each provider, address, model and key.

A scope holds no lock of its own: the scheduler calls it under the one lock of all queues.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_batch.data.settings import Limits, Retries
    from pollux_sync.plugin import RateLimits

#: The calls in flight with which an adaptive scope begins.
_FIRST_LIMIT = 20.0
#: What a throttle leaves of the limit and of the rate.
_BACK_OFF = 0.7
_BACK_OFF_RATE = 0.95
#: By how much the rate of a scope that was throttled grows in a second: a refusal comes every 10 to 20 seconds then.
_RATE_GROWTH = 0.005
#: Answers of the last seconds tell the rate that a provider takes.
_WINDOW_S = 5.0
#: So many failures in a row that say nothing about their items, and the provider counts as down.
_FAILURES_TO_OPEN = 5
_FIRST_PROBE_S, _MAX_PROBE_S = 0.5, 5.0
#: A scope that has this part of a quota left spreads it over the time until the quota is whole again.
_LOW_QUOTA = 0.1
_LOW_QUOTA_CALLS = 3


class Bucket:
    """A quota that refills steadily: ``rate`` a second, up to ``burst`` at once. It may go below zero, as debt."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst, 1.0)
        self._level = self.burst
        self._at = now

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` can be taken, 0 if it can be now."""
        self._refill(now)
        # More than the bucket holds goes when it is full, and is paid for afterwards.
        missing = min(amount, self.burst) - self._level
        return missing / self.rate if missing > 0 else 0.0

    def take(self, amount: float) -> None:
        """Take an amount; a negative one gives back."""
        self._level = min(self.burst, self._level - amount)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now


class Scope:
    """The limits of one scope. After a refusal ``next_at`` is the time at which another call may be admitted, else 0."""

    def __init__(self, name: str, limits: Limits, retries: Retries, *, ceiling: int) -> None:
        now = time.monotonic()
        self.name = name
        self.next_at = 0.0
        self.in_flight = 0
        self._retries = retries
        self._ceiling = min(ceiling, limits.max_concurrency or ceiling)
        self._is_adaptive = limits.adaptive
        self._limit = min(_FIRST_LIMIT, self._ceiling) if limits.adaptive else float(self._ceiling)
        self._has_been_throttled = False
        self._clean = 0
        self._requests = _build_bucket(limits.requests_per_minute, limits.burst_s, now)
        self._tokens = _build_bucket(limits.tokens_per_minute, limits.burst_s, now)
        #: The rate that was found by being refused, in calls a second.
        self._pace: Bucket | None = None
        self._paced_at = now
        self._answers: deque[float] = deque(maxlen=10_000)
        self._paused_until = 0.0
        self._pauses = 0
        self._incident = 0
        # The breaker
        self._failures = 0
        self._down_since: float | None = None
        self._probe_at = 0.0
        self._probe_s = _FIRST_PROBE_S

    @property
    def limit(self) -> int:
        """The most calls that may be in flight now."""
        return int(self._limit)

    @property
    def incident(self) -> int:
        """The number of the latest throttle. A call that was sent before it belongs to it."""
        return self._incident

    def admit(self, n_tokens: int, now: float) -> bool:
        """Return whether a call of so many tokens may go now; if so it is in flight. Else ``next_at`` is set."""
        if self.in_flight >= int(self._limit):
            # Not before another one ends.
            self.next_at = math.inf
            return False
        wait_until = self._paused_until
        if self._down_since is not None:
            # One call at a time finds out whether the provider is back.
            wait_until = max(wait_until, math.inf if self.in_flight else self._probe_at)
        if wait_until > now:
            self.next_at = wait_until
            return False
        wait_s = self._wait_for_buckets(n_tokens, now)
        if wait_s > 0:
            self.next_at = now + wait_s
            return False
        for bucket, amount in ((self._requests, 1.0), (self._pace, 1.0), (self._tokens, float(n_tokens))):
            if bucket is not None:
                bucket.take(amount)
        self.in_flight += 1
        self.next_at = 0.0
        return True

    def _wait_for_buckets(self, n_tokens: int, now: float) -> float:
        if self._pace is not None:
            self._grow_pace(now)
        buckets = ((self._requests, 1.0), (self._pace, 1.0), (self._tokens, float(n_tokens)))
        return max((bucket.wait_s(amount, now) for bucket, amount in buckets if bucket is not None), default=0.0)

    def _grow_pace(self, now: float) -> None:
        pace = self._pace
        if pace is not None and now - self._paced_at > 1.0 and not self._pauses:
            pace.rate *= 1.0 + _RATE_GROWTH * (now - self._paced_at)
            self._paced_at = now

    def settle(self, estimated: int, actual: int | None) -> None:
        """Correct the tokens of a call that was answered; None keeps the estimate."""
        if self._tokens is not None and actual is not None:
            self._tokens.take(float(actual - estimated))

    def end(self) -> None:
        """Note that a call is in flight no more."""
        self.in_flight -= 1

    def record_answer(self, now: float) -> None:
        """Learn from an answer: the provider keeps up."""
        self._failures = 0
        self._pauses = 0
        if self._down_since is not None:
            self._down_since = None
            self._probe_s = _FIRST_PROBE_S
        self._answers.append(now)
        if not self._is_adaptive or self._limit >= self._ceiling:
            return
        self._clean += 1
        # Double after each round without a refusal, later go up by one.
        if self._clean >= int(self._limit):
            self._clean = 0
            grown = self._limit + 1 if self._has_been_throttled else self._limit * 2
            self._limit = min(float(self._ceiling), grown)

    def record_throttle(self, retry_after_s: float | None, incident: int, now: float) -> None:
        """Pause the scope after a refusal for its rate. Calls that were sent before the last pause belong to that."""
        if incident == self._incident:
            self._incident += 1
            self._slow_down(now)
            wait_s = retry_after_s
            if wait_s is None:
                wait_s = min(self._retries.throttle_wait_s * 2.0**self._pauses, self._retries.max_wait_s)
            self._pauses += 1
            self._paused_until = max(self._paused_until, now + wait_s)
        elif retry_after_s is not None:
            self._paused_until = max(self._paused_until, now + retry_after_s)

    def _slow_down(self, now: float) -> None:
        self._has_been_throttled = True
        self._clean = 0
        if not self._is_adaptive:
            return
        self._limit = max(1.0, self._limit * _BACK_OFF)
        recent = [at for at in self._answers if at > now - _WINDOW_S]
        if len(recent) >= 2:  # noqa: PLR2004 - a rate needs two answers
            span_s = max(now - recent[0], 0.1)
            rate = len(recent) / span_s * _BACK_OFF_RATE
            if self._pace is not None:
                rate = min(rate, self._pace.rate * _BACK_OFF_RATE)
            self._pace = Bucket(max(rate, 0.2), max(1.0, rate * 0.05), now)
            self._paced_at = now

    def record_overload(self, now: float) -> None:
        """Learn from a failure of the provider that says nothing about the item: too many in a row, and it is down."""
        self._failures += 1
        self._clean = 0
        if self._is_adaptive:
            self._limit = max(1.0, self._limit * _BACK_OFF)
        if self._down_since is not None:
            self._probe_s = min(self._probe_s * 2, _MAX_PROBE_S)
            self._probe_at = now + self._probe_s
        elif self._failures >= _FAILURES_TO_OPEN:
            self._down_since = now
            self._probe_at = now + self._probe_s

    def is_down(self, now: float) -> bool:
        """Return whether the provider is down, but not yet for so long that its items fail."""
        return self._down_since is not None and now - self._down_since < self._retries.outage_s

    def heed(self, quotas: RateLimits, now: float) -> None:
        """Spread what an answer says is left of a quota over the time until it is whole again."""
        for quota in (quotas.requests, quotas.tokens, quotas.input_tokens, quotas.output_tokens):
            if quota is None or quota.limit is None or quota.remaining is None or not quota.reset_s:
                continue
            if quota.remaining <= 0 or (
                quota is quotas.requests and quota.remaining < min(_LOW_QUOTA_CALLS, quota.limit * _LOW_QUOTA)
            ):
                self._paused_until = max(self._paused_until, now + min(quota.reset_s, self._retries.max_wait_s))


def _build_bucket(per_minute: float | None, burst_s: float, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / 60.0, per_minute / 60.0 * burst_s, now)
