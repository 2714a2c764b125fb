"""Limits on what may go to a provider now: one `Scope` for each provider, address, model and key.

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
_FIRST_LIMIT = 8
#: A limit is judged by the rate of answers over this time, and a higher one is kept if it brings so much more.
_JUDGE_S = 0.1
_LEAST_GAIN = 1.08
#: A lower one is kept if it brings at least this part: fewer calls in flight are easier on everybody.
_LEAST_KEPT = 0.97
#: Fewer answers than these are too few to judge by.
_LEAST_JUDGED = 8
#: Where more calls in flight brought nothing, it is tried again after this time, doubled up to the other.
_FIRST_RETRY_S, _MAX_RETRY_S = 0.5, 16.0
#: What a refusal leaves of the limit.
_BACK_OFF = 0.7
_BACK_OFF_RATE = 0.95
#: What was taken since the last refusal, over so long a time at least, is approached again with a little more.
_LEAST_MEASURED_S = 2.0
_ABOVE_SUSTAINED = 1.05
#: The part of the rate before the first refusal that is tried next.
_SUSTAINED = 0.7
#: The time until the rate before a refusal is reached again: short after the first, when it is hardly known.
_FIRST_RECOVERY_S, _RECOVERY_S = 1.5, 10.0
#: Answers of the last seconds tell the rate that a provider takes.
_WINDOW_S = 10.0
#: So many failures in a row that say nothing about their items, and the provider counts as down.
_FAILURES_TO_OPEN = 5
_FIRST_PROBE_S, _MAX_PROBE_S = 0.5, 2.0


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


class _Climb:
    """The search for how many calls should be in flight: up while that brings more answers, down when they are refused.

    More than the provider, or this machine, can carry out at a time would only make each of them slower.
    """

    def __init__(self, ceiling: int, *, is_adaptive: bool, now: float) -> None:
        self.limit = min(_FIRST_LIMIT, ceiling) if is_adaptive else ceiling
        #: Whether more calls could have been made since the last judgement.
        self.was_reached = False
        self._ceiling = ceiling
        self._is_adaptive = is_adaptive
        self._since = now
        self._count = 0
        self._rate = 0.0
        #: The limit before the one that is on trial, None while none is.
        self._proven: int | None = None
        self._retry_at = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._goes_up = True
        self._is_careful = False

    def record_answer(self, now: float) -> None:
        """Count an answer, and judge the limit when enough have come."""
        if not self._is_adaptive:
            return
        self._count += 1
        if self._count >= max(self.limit, _LEAST_JUDGED) and now - self._since >= _JUDGE_S:
            # Where something else holds the calls back, their rate says nothing about the limit.
            if self.was_reached:
                self._judge(self._count / (now - self._since), now)
            self._count, self._since, self.was_reached = 0, now, False

    def _judge(self, rate: float, now: float) -> None:
        if self._proven is None:
            self._rate = rate
            self._try_another(now)
            return
        proven, self._proven = self._proven, None
        # A lower limit has only to be as good.
        if rate >= self._rate * (_LEAST_GAIN if self.limit > proven else _LEAST_KEPT):
            self._rate, self._retry_s = rate, _FIRST_RETRY_S
            # What has helped may help again.
            self._goes_up = self.limit > proven
            self._try_another(now)
        else:
            self.limit = proven
            self._goes_up = not self._goes_up
            self._retry_at, self._retry_s = now + self._retry_s, min(self._retry_s * 2, _MAX_RETRY_S)

    def _try_another(self, now: float) -> None:
        if now < self._retry_at:
            return
        if self._goes_up:
            grown = self.limit + max(1, self.limit // (8 if self._is_careful else 2))
            tried = min(self._ceiling, grown)
        else:
            tried = max(1, self.limit // 2)
        self._goes_up = self._goes_up if tried != self.limit else not self._goes_up
        if tried != self.limit:
            self._proven, self.limit = self.limit, tried

    def back_off(self, now: float) -> None:
        """Go down, since calls are refused."""
        self.limit = max(1, int(self.limit * _BACK_OFF))
        self.stay(now)

    def recover(self, limit: int) -> None:
        """Go back to a part of the limit that held before an outage."""
        self.limit = max(self.limit, limit // 2)

    def stay(self, now: float) -> None:
        """Go on with the limit as it is, and up in small steps."""
        self._proven, self._is_careful = None, True
        self._retry_at = now + _FIRST_RETRY_S
        self._count, self._since = 0, now


class _Pace:
    """The rate at which a provider was seen to refuse, approached again and then carefully exceeded.

    The curve is that of TCP CUBIC: steep far below the rate, flat near it, and steep again far above, for a provider
    that takes more than it did.
    """

    #: What a refusal leaves of the rate.
    _LEFT = 0.9

    def __init__(self, rate: float, recovery_s: float, now: float) -> None:
        self._proven = rate
        self._recovery_s = recovery_s
        self._since = now
        self.bucket = Bucket(rate * self._LEFT, max(1.0, rate * 0.1), now)

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call may go."""
        x = (now - self._since) / self._recovery_s - 1.0
        self.bucket.rate = self._proven * (1.0 + (1.0 - self._LEFT) * x * x * x)
        return self.bucket.wait_s(1.0, now)

    @property
    def rate(self) -> float:
        """The calls a second now."""
        return self.bucket.rate


class Scope:
    """The limits of one scope. After a refusal ``next_at`` is the time at which a call may be admitted, else 0."""

    def __init__(self, name: str, limits: Limits, retries: Retries, *, ceiling: int) -> None:
        now = time.monotonic()
        self.name = name
        self.next_at = 0.0
        self.in_flight = 0
        #: The works that wait in the middle, before a retry.
        self.n_waiting = 0
        self._retries = retries
        self._ceiling = min(ceiling, limits.max_concurrency or ceiling)
        self._is_adaptive = limits.adaptive
        self._climb = _Climb(self._ceiling, is_adaptive=limits.adaptive, now=now)
        self._requests = _build_bucket(limits.requests_per_minute, limits.burst_s, now)
        self._tokens = _build_bucket(limits.tokens_per_minute, limits.burst_s, now)
        #: None until the scope was refused for its rate.
        self._pace: _Pace | None = None
        self._answers: deque[float] = deque(maxlen=10_000)
        self._pause_times: deque[tuple[float, float]] = deque(maxlen=100)
        self._paused_until = 0.0
        self._pauses = 0
        self._incident = 0
        self._incident_at = now
        # The breaker
        self._failures = 0
        self._limit_before = 1
        self._down_since: float | None = None
        self._probe_at = 0.0
        self._probe_s = _FIRST_PROBE_S

    @property
    def limit(self) -> int:
        """The most calls that may be in flight now."""
        return self._climb.limit

    @property
    def has_room(self) -> bool:
        """True if fewer calls are in flight than may be."""
        return self.in_flight < self._climb.limit

    @property
    def incident(self) -> int:
        """The number of the latest throttle. A call that was sent before it belongs to it."""
        return self._incident

    def admit(self, n_tokens: int, now: float) -> bool:
        """Return whether a call of so many tokens may go now; if so it is in flight. Else ``next_at`` is set."""
        if self.in_flight >= self._climb.limit:
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
        for bucket, amount in self._list_buckets(n_tokens):
            bucket.take(amount)
        self.in_flight += 1
        self.next_at = 0.0
        if self.in_flight >= self._climb.limit:
            self._climb.was_reached = True
        return True

    def _wait_for_buckets(self, n_tokens: int, now: float) -> float:
        wait_s = self._pace.wait_s(now) if self._pace is not None else 0.0
        return max([wait_s, *(bucket.wait_s(amount, now) for bucket, amount in self._list_buckets(n_tokens))])

    def _list_buckets(self, n_tokens: int) -> list[tuple[Bucket, float]]:
        pace = self._pace.bucket if self._pace is not None else None
        buckets = ((self._requests, 1.0), (pace, 1.0), (self._tokens, float(n_tokens)))
        return [(bucket, amount) for bucket, amount in buckets if bucket is not None]

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
            self._climb.recover(self._limit_before)
        self._answers.append(now)
        self._climb.record_answer(now)

    def record_throttle(self, retry_after_s: float | None, incident: int, now: float) -> None:
        """Pause the scope after a refusal for its rate. Calls that were sent before the last pause belong to that."""
        if incident == self._incident:
            self._incident += 1
            self._slow_down(now)
            wait_s = retry_after_s
            if wait_s is None:
                wait_s = min(self._retries.throttle_wait_s * 2.0**self._pauses, self._retries.max_wait_s)
            self._pauses += 1
            self._pause(wait_s, now)
        elif retry_after_s is not None:
            self._pause(retry_after_s, now)

    def _pause(self, wait_s: float, now: float) -> None:
        begin = max(now, self._paused_until)
        self._paused_until = max(self._paused_until, now + wait_s)
        if self._paused_until > begin:
            self._pause_times.append((begin, self._paused_until))

    def _slow_down(self, now: float) -> None:
        if not self._is_adaptive:
            return
        incident_at, self._incident_at = self._incident_at, now
        if self._pace is not None:
            self._pace = _Pace(self._choose_rate(self._pace.rate, incident_at, now), _RECOVERY_S, now)
            # The pace keeps calls back; fewer of them in flight would keep it from being reached.
            self._climb.stay(now)
            return
        self._climb.back_off(now)
        rate = self._measure_rate(0.0, now)
        if rate is not None:
            # The first refusal often ends a burst, whose rate no provider sustains.
            self._pace = _Pace(rate * _SUSTAINED, _FIRST_RECOVERY_S, now)

    def _choose_rate(self, refused: float, incident_at: float, now: float) -> float:
        """Return the rate to approach after one that was refused: what was taken since the last refusal, if enough."""
        # A pause may have filled the provider's bucket or not: half of it counts.
        taken = self._measure_rate(incident_at, now, pauses=0.5)
        if taken is None or now - incident_at < _LEAST_MEASURED_S:
            return refused * _BACK_OFF_RATE
        # Not far down at once: an outage may have been the reason that little was taken.
        return min(refused * _BACK_OFF_RATE, max(taken * _ABOVE_SUSTAINED, refused * _SUSTAINED))

    def _measure_rate(self, since: float, now: float, *, pauses: float = 0.0) -> float | None:
        """Return the calls a second that the provider has taken lately, None if there were too few.

        ``pauses`` is the part of each pause that counts.
        """
        start = max(since, now - _WINDOW_S)
        recent = [at for at in self._answers if at > start]
        if len(recent) < 2:  # noqa: PLR2004 - a rate needs two answers
            return None
        if not pauses:
            start = max(start, recent[0])
        paused_s = sum(max(0.0, min(end, now) - max(begin, start)) for begin, end in self._pause_times)
        return len(recent) / max(now - start - paused_s * (1.0 - pauses), 0.2)

    def record_overload(self, now: float) -> None:
        """Learn from a failure of the provider that says nothing about the item: too many in a row, and it is down."""
        if not self._failures:
            self._limit_before = self._climb.limit
        self._failures += 1
        if self._is_adaptive:
            self._climb.back_off(now)
        if self._down_since is not None:
            # What was in flight when it went down fails too, and is no probe.
            if now >= self._probe_at:
                self._probe_s = min(self._probe_s * 2, _MAX_PROBE_S)
                self._probe_at = now + self._probe_s
        elif self._failures >= _FAILURES_TO_OPEN:
            self._down_since = now
            self._probe_at = now + self._probe_s

    def is_down(self, now: float) -> bool:
        """Return whether the provider is down, but not yet for so long that its items fail."""
        return self._down_since is not None and now - self._down_since < self._retries.outage_s

    def respect(self, quotas: RateLimits, now: float) -> None:
        """Pause where an answer says that nothing is left of a quota, until it is whole again."""
        for quota in (quotas.requests, quotas.tokens, quotas.input_tokens, quotas.output_tokens):
            if quota is not None and quota.remaining == 0 and quota.reset_s:
                self._pause(min(quota.reset_s, self._retries.max_wait_s), now)


def _build_bucket(per_minute: float | None, burst_s: float, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / 60.0, per_minute / 60.0 * burst_s, now)
