import math

import pytest

from pollux_batch import ProcessorConfig, RateLimitConfig, StartupRampConfig
from pollux_batch.admitting import Capacity, Gate, Quota


def build(**facts):
    return Quota("quota", ProcessorConfig(**facts))


def admit(scope, now):
    return scope.admit(0, now)


@pytest.fixture
def now():
    import time

    return time.monotonic()


def test_no_more_calls_are_in_flight_than_there_are_workers(now):
    quota = build(max_workers=2)
    assert [admit(quota, now) for _ in range(3)] == [True, True, False]
    quota.end()
    assert admit(quota, now)


def test_pauses_as_long_as_it_is_asked_to_and_no_longer_than_the_most(now):
    quota = build(rate_limit=RateLimitConfig(max_cooldown_seconds=300))
    assert quota.cool_down(5.0, 0, now) == 5.0
    assert not admit(quota, now + 4.9)
    assert quota.next_at == quota.cools_until == now + 5.0
    assert admit(quota, now + 5.1)
    assert quota.cool_down(1_000.0, 1, now) == 300


def test_pauses_longer_with_each_refusal_in_a_row(now):
    quota = build(rate_limit=RateLimitConfig(cooldown_seconds=10, backoff_multiplier=2, max_cooldown_seconds=30))
    assert [quota.cool_down(None, n, now) for n in range(3)] == [10, 20, 30]
    quota.record_answer(now)
    assert quota.cool_down(None, 3, now) == 10


def test_a_refusal_of_a_call_that_was_sent_before_the_pause_belongs_to_it(now):
    quota = build(rate_limit=RateLimitConfig(cooldown_seconds=10))
    assert quota.cool_down(None, 0, now) == 10
    assert quota.cool_down(None, 0, now) is None
    assert quota.cools_until == now + 10
    assert quota.cool_down(20.0, 0, now) is None
    assert quota.cools_until == now + 20


def test_goes_on_slowly_after_a_pause(now):
    slow = RateLimitConfig(slow_start_items=2, slow_start_initial_delay=2, slow_start_final_delay=1)
    quota = build(max_workers=2, rate_limit=slow)
    quota.cool_down(0.0, 0, now)
    assert admit(quota, now)
    # Two workers, each with a distance of two seconds.
    assert not admit(quota, now + 0.9)
    assert quota.next_at == now + 1.0
    assert admit(quota, now + 1.0)
    quota.end()
    assert not admit(quota, now + 1.7)
    assert admit(quota, now + 1.75)
    quota.end()
    assert admit(quota, now + 1.75)


def test_calls_in_flight_grow_from_the_start():
    ramp = StartupRampConfig(initial_concurrency=2, concurrency_step=3, ramp_interval_seconds=10)
    quota = build(max_workers=20, startup_ramp=ramp)
    now = quota._started_at
    assert [admit(quota, now) for _ in range(3)] == [True, True, False]
    assert quota.next_at == now + 10
    assert [admit(quota, now + 10) for _ in range(4)] == [True, True, True, False]


def test_keeps_to_requests_a_minute(now):
    quota = build(max_workers=50, max_requests_per_minute=60, quota_burst_seconds=2)
    assert sum(admit(quota, now) for _ in range(20)) == 2


def test_a_gate_keeps_to_its_capacity(now):
    quota = build(max_workers=9)
    narrow, wide = Gate(quota, Capacity(1)), Gate(quota, Capacity(9))
    assert (admit(narrow, now), admit(narrow, now), admit(wide, now)) == (True, False, True)
    assert (narrow.next_at, narrow.has_room, wide.has_room) == (math.inf, False, True)
    narrow.end()
    assert (narrow.has_room, quota.in_flight) == (True, 1)
    assert admit(narrow, now)


def test_a_gate_pauses_with_its_quota(now):
    quota = build()
    gate = Gate(quota, Capacity(9))
    quota.cool_down(5.0, 0, now)
    assert not admit(gate, now)
    assert gate.next_at == now + 5.0
    assert quota.in_flight == gate.capacity.in_flight == 0
