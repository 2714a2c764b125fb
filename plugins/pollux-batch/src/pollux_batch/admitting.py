"""Limits on what strategies may send now: a `Quota` for calls limited together, a `Capacity` for those in flight.

The calls of a strategy pass a `Gate` of both. As with `Scope` there is no lock: the scheduler calls under its own.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pollux_batch.data.settings import Limits, Retries
from pollux_batch.limiting import Scope

if TYPE_CHECKING:
    from pollux_batch.data.configs import ProcessorConfig


class Quota(Scope):
    """A scope that pauses and goes on as a `ProcessorConfig` says."""

    def __init__(self, name: str, config: ProcessorConfig) -> None:
        limits = Limits(
            requests_per_minute=config.max_requests_per_minute,
            tokens_per_minute=config.max_tokens_per_minute,
            burst_s=config.quota_burst_seconds,
            adaptive=False,
        )
        super().__init__(name, limits, Retries(), ceiling=config.workers)
        self._workers = config.workers
        self._config = config.rate_limit
        self._ramp = config.startup_ramp
        self._started_at = time.monotonic()
        self._refusals = 0
        self._n_slow = 0
        self._not_before = 0.0
        self._cools_until = 0.0

    @property
    def cools_until(self) -> float:
        """The time at which the last pause ends."""
        return self._cools_until

    def admit(self, n_tokens: int, now: float) -> bool:
        """Return whether a call may go now; if so it is in flight. Else ``next_at`` is set."""
        wait_until = max(self._not_before, self._find_ramp_end(now))
        if wait_until > now:
            self.next_at = wait_until
            return False
        if not super().admit(n_tokens, now):
            return False
        if self._n_slow:
            self._not_before = now + self._slow_delay_s()
            self._n_slow -= 1
        return True

    def _find_ramp_end(self, now: float) -> float:
        """Return when the ramp admits one call more than is in flight."""
        ramp = self._ramp
        if ramp is None:
            return 0.0
        steps = math.ceil((self.in_flight + 1 - ramp.initial_concurrency) / ramp.concurrency_step)
        return self._started_at + max(0, steps) * ramp.ramp_interval_seconds

    def _slow_delay_s(self) -> float:
        config = self._config
        done = 1 - self._n_slow / config.slow_start_items
        delay_s = config.slow_start_initial_delay * (1 - done) + config.slow_start_final_delay * done
        # Every worker waits so long; together they begin as many calls more.
        return delay_s / self._workers

    def cool_down(self, asked_s: float | None, incident: int, now: float) -> float | None:
        """Pause after a refusal of a call that was sent at ``incident``; return the seconds if a new pause begins."""
        config = self._config
        is_new = incident == self.incident
        if is_new:
            self._refusals += 1
            self._n_slow = config.slow_start_items
            if asked_s is None:
                asked_s = config.cooldown_seconds * config.backoff_multiplier ** min(self._refusals - 1, 100)
        if asked_s is None:
            return None
        wait_s = min(asked_s, config.max_cooldown_seconds)
        self.record_throttle(wait_s, incident, now)
        self._cools_until = max(self._cools_until, now + wait_s)
        return wait_s if is_new else None

    def record_answer(self, now: float) -> None:
        """Learn from an answer: the provider keeps up."""
        super().record_answer(now)
        self._refusals = 0


class Capacity:
    """The calls in flight that share connections. ``limit`` is the most of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0


class Gate:
    """Admits calls that fit both their quota and their capacity."""

    def __init__(self, quota: Quota, capacity: Capacity) -> None:
        self.quota = quota
        self.capacity = capacity
        #: The works that wait in the middle, before another try.
        self.n_waiting = 0
        self._next_at = 0.0

    @property
    def next_at(self) -> float:
        """The time at which a call may be admitted after a refusal, else 0."""
        return self._next_at

    @property
    def has_room(self) -> bool:
        """True if fewer calls are in flight than may be."""
        return self.capacity.in_flight < self.capacity.limit and self.quota.has_room

    def admit(self, n_tokens: int, now: float) -> bool:
        """Return whether a call may go now; if so it is in flight. Else ``next_at`` is set."""
        if self.capacity.in_flight >= self.capacity.limit:
            self._next_at = math.inf
            return False
        is_admitted = self.quota.admit(n_tokens, now)
        self._next_at = self.quota.next_at
        if is_admitted:
            self.capacity.in_flight += 1
        return is_admitted

    def end(self) -> None:
        """Note that a call is in flight no more."""
        self.capacity.in_flight -= 1
        self.quota.end()

    def record_answer(self, now: float) -> None:
        """Learn from an answer."""
        self.quota.record_answer(now)
