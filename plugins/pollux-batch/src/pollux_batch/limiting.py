"""Limits on what may go to a provider now: one `Scope` for each provider, address, model and key.

A scope holds no lock of its own: the scheduler calls it under the one lock of all queues.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pollux_batch.pacing import Bucket, Pacer

if TYPE_CHECKING:
    from pollux_batch.data.settings import Limits, Retries
    from pollux_sync.plugin import RateLimits

#: The calls in flight with which an adaptive scope begins.
_FIRST_LIMIT = 8
#: A limit is judged by the rate of answers over this time: short until one has brought nothing, since much is to be
#: gained, and longer afterwards, since the rate of a moment says little.
_FIRST_JUDGE_S, _JUDGE_S = 0.05, 0.25
#: A higher one is kept if it brings so much more.
_LEAST_GAIN = 1.08
#: A lower one is kept if it brings at least this part: fewer calls in flight are easier on everybody.
_LEAST_KEPT = 0.97
#: Fewer answers than these are too few to judge by.
_LEAST_JUDGED = 8
#: Where more calls in flight brought nothing, it is tried again after this time, doubled up to the other.
_FIRST_RETRY_S, _MAX_RETRY_S = 0.5, 16.0
#: What a refusal leaves of the limit.
_BACK_OFF = 0.7
#: So many failures in a row that say nothing about their items, and the provider counts as down.
_FAILURES_TO_OPEN = 5
_FIRST_PROBE_S, _MAX_PROBE_S = 0.5, 2.0


class _Climb:
    """The search for how many calls should be in flight: up while that brings more answers, down when they are refused.

    More than the provider, or this machine, can carry out at a time would only make each of them slower. Among
    processes more of them are cheaper, so ``prefers_more`` goes up unless that does harm.
    """

    def __init__(self, ceiling: int, *, is_adaptive: bool, now: float, prefers_more: bool = False) -> None:
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
        self._judge_s = _FIRST_JUDGE_S
        self._is_careful = False
        self._least_gain, self._least_kept = (_LEAST_KEPT, _LEAST_GAIN) if prefers_more else (_LEAST_GAIN, _LEAST_KEPT)

    def record_answer(self, now: float) -> None:
        """Count an answer, and judge the limit when enough have come."""
        if not self._is_adaptive:
            return
        self._count += 1
        if self._count >= max(self.limit, _LEAST_JUDGED) and now - self._since >= self._judge_s:
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
        if rate >= self._rate * (self._least_gain if self.limit > proven else self._least_kept):
            self._rate, self._retry_s = rate, _FIRST_RETRY_S
            # What has helped may help again.
            self._goes_up = self.limit > proven
            self._try_another(now)
        else:
            self.limit = proven
            self._judge_s = _JUDGE_S
            self._goes_up = not self._goes_up
            self._retry_at, self._retry_s = now + self._retry_s, min(self._retry_s * 2, _MAX_RETRY_S)

    def _try_another(self, now: float) -> None:
        if now < self._retry_at:
            return
        if self._goes_up:
            grown = self.limit + max(1, self.limit // 4 if self._is_careful else self.limit)
            tried = min(self._ceiling, grown)
        else:
            tried = max(1, self.limit // 2)
            self._judge_s = _JUDGE_S
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
        """Keep the limit, and raise it in small steps from now on."""
        self._proven, self._is_careful = None, True
        self._retry_at = now + _FIRST_RETRY_S
        self._count, self._since = 0, now


class Scope:
    """The limits of one scope. After a refusal ``next_at`` is the time at which a call may be admitted, else 0."""

    def __init__(
        self, name: str, limits: Limits, retries: Retries, *, ceiling: int, prefers_more: bool = False
    ) -> None:
        now = time.monotonic()
        self.name = name
        self.next_at = 0.0
        self.in_flight = 0
        #: The works that wait in the middle, before a retry.
        self.n_waiting = 0
        self._retries = retries
        self._ceiling = min(ceiling, limits.max_concurrency or ceiling)
        self._is_adaptive = limits.adaptive
        self._climb = _Climb(self._ceiling, is_adaptive=limits.adaptive, now=now, prefers_more=prefers_more)
        requests = _build_bucket(limits.requests_per_minute, limits.burst_s, now)
        self._tokens = _build_bucket(limits.tokens_per_minute, limits.burst_s, now)
        #: The quotas that there are, and whether each counts tokens.
        self._buckets = [(bucket, bucket is self._tokens) for bucket in (requests, self._tokens) if bucket is not None]
        self._pacer = Pacer() if limits.adaptive else None
        self._paused_until = 0.0
        self._pauses = 0
        self._incident = 0
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
        wait_s = self._pacer.wait_s(now) if self._pacer is not None else 0.0
        for bucket, counts_tokens in self._buckets:
            wait_s = max(wait_s, bucket.wait_s(float(n_tokens) if counts_tokens else 1.0, now))
        if wait_s > 0:
            self.next_at = now + wait_s
            return False
        for bucket, counts_tokens in self._buckets:
            bucket.take(float(n_tokens) if counts_tokens else 1.0)
        if self._pacer is not None:
            self._pacer.record_send(now)
        self.in_flight += 1
        self.next_at = 0.0
        if self.in_flight >= self._climb.limit:
            self._climb.was_reached = True
        return True

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
        self._climb.record_answer(now)

    def record_throttle(self, retry_after_s: float | None, incident: int, now: float) -> None:
        """Pause the scope after a refusal for its rate. Calls that were sent before the last pause belong to that."""
        is_new = incident == self._incident
        # One that comes late says nothing of the calls since the pause.
        if self._pacer is not None and (is_new or now < self._paused_until):
            self._pacer.record_refusal()
        if is_new:
            self._incident += 1
            # The pace will keep calls back; fewer of them in flight would keep it from being reached.
            self._climb.stay(now)
            wait_s = retry_after_s
            # Nothing was answered since the last pause, so what was asked for then was too short.
            if wait_s is None or self._pauses:
                backoff_s = min(self._retries.throttle_wait_s * 2.0**self._pauses, self._retries.max_wait_s)
                wait_s = max(wait_s or 0.0, backoff_s)
            self._pauses += 1
            self._pause(wait_s, now)
        elif retry_after_s is not None:
            self._pause(retry_after_s, now)

    def _pause(self, wait_s: float, now: float) -> None:
        self._paused_until = max(self._paused_until, now + wait_s)

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

    def respect(self, reset_s: float, now: float) -> None:
        """Pause until a quota is whole again of which an answer says that nothing is left."""
        self._pause(min(reset_s, self._retries.max_wait_s), now)


def find_reset(quotas: RateLimits) -> float | None:
    """Return the seconds until every quota has something left, None if each has."""
    parts = (quotas.requests, quotas.tokens, quotas.input_tokens, quotas.output_tokens)
    return max((q.reset_s for q in parts if q is not None and q.remaining == 0 and q.reset_s), default=None)


def _build_bucket(per_minute: float | None, burst_s: float, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / 60.0, per_minute / 60.0 * burst_s, now)
