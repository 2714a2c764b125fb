import itertools
import threading
import time
from statistics import median

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import BatchItem, Limits, Retries, stream_batch
from pollux_batch.limiting import Bucket, Scope, _Climb, find_reset
from pollux_sync import Options
from pollux_sync.plugin import Quota, RateLimits
from pollux_sync.testing.server import Answer, CloseWithoutAnswer, Hang, ResetBeforeBody

ALL_AT_ONCE = Limits(adaptive=False)
AT_ONCE = Retries(initial_wait_s=0)
SHORT = Options(max_tokens=10)
PAUSED = Answer(status=429, headers={"Retry-After": "600"}, json={})


@pytest.fixture
def open_scope():
    """Open a scope whose clock a test makes up, beginning with the time that it was opened at."""

    def open_scope(limits=ALL_AT_ONCE, retries=None, *, ceiling=1_000):
        return Scope("local/m", limits, retries or Retries(), ceiling=ceiling), time.monotonic() + 1

    return open_scope


def count_admitted(scope, now, n_tokens=0):
    return sum(1 for _ in itertools.takewhile(lambda _: scope.admit(n_tokens, now), range(1_000)))


def finish_all(scope, now):
    while scope.in_flight:
        scope.end()
        scope.record_answer(now)


# What a bucket and a scope admit


def test_lets_go_no_more_than_the_burst_in_the_first_second(open_scope):
    # 300 a minute are five a second, and two seconds of them may go at once.
    scope, now = open_scope(Limits(requests_per_minute=300, burst_s=2.0, adaptive=False))
    times = [now + tenth / 10 for tenth in range(700)]
    admitted = [count_admitted(scope, at) for at in times]
    assert admitted[0] == 10
    assert sum(admitted[:11]) <= 15
    assert 10 + 5 * 60 - 1 <= sum(admitted[:601]) <= 10 + 5 * 60


def test_says_when_a_call_may_go(open_scope):
    scope, now = open_scope(Limits(requests_per_minute=60, burst_s=1.0, adaptive=False))
    assert count_admitted(scope, now) == 1
    assert scope.next_at == pytest.approx(now + 1.0)
    assert not scope.admit(0, now + 0.9)
    assert scope.admit(0, now + 1.1)


def test_counts_the_tokens_that_an_answer_took(open_scope):
    scope, now = open_scope(Limits(tokens_per_minute=6_000, burst_s=2.0, adaptive=False))
    assert count_admitted(scope, now, 100) == 2
    # The estimate was too low: the debt is paid off first.
    scope.settle(100, 300)
    assert not scope.admit(100, now + 1.5)
    assert scope.admit(100, now + 3.1)


def test_gives_back_the_tokens_that_an_answer_did_not_take(open_scope):
    scope, now = open_scope(Limits(tokens_per_minute=6_000, burst_s=2.0, adaptive=False))
    assert count_admitted(scope, now, 200) == 1
    scope.settle(200, 20)
    assert scope.admit(150, now)


def test_lets_a_call_go_that_is_larger_than_the_quota():
    bucket = Bucket(rate=1.0, burst=10.0, now=0.0)
    assert bucket.wait_s(50.0, 0.0) == 0
    bucket.take(50.0)
    assert bucket.wait_s(1.0, 0.0) == pytest.approx(41.0)


def test_pauses_as_long_as_the_provider_asks(open_scope):
    scope, now = open_scope()
    assert scope.admit(0, now)
    scope.end()
    scope.record_throttle(1.0, scope.incident, now)
    assert not scope.admit(0, now + 0.9)
    assert scope.next_at == pytest.approx(now + 1.0)
    assert scope.admit(0, now + 1.0)


def test_counts_refusals_of_calls_that_went_together_once(open_scope):
    scope, now = open_scope(retries=Retries(throttle_wait_s=1.0))
    incident = scope.incident
    for _ in range(20):
        scope.record_throttle(None, incident, now)
    assert scope.admit(0, now + 1.0)


def test_pauses_twice_as_long_while_refusals_go_on(open_scope):
    scope, now = open_scope(retries=Retries(throttle_wait_s=1.0, max_wait_s=3.0))
    pauses = []
    for _ in range(4):
        scope.record_throttle(None, scope.incident, now)
        assert not scope.admit(0, now)
        pauses.append(scope.next_at - now)
        now = scope.next_at
    assert pauses == pytest.approx([1.0, 2.0, 3.0, 3.0])


def test_pauses_longer_than_asked_where_that_was_too_short(open_scope):
    scope, now = open_scope(Limits(), Retries(throttle_wait_s=1))
    for wait_s in (0.5, 2.0, 4.0):
        assert scope.admit(0, now)
        scope.record_throttle(0.5, scope.incident, now)
        scope.end()
        assert not scope.admit(0, now + wait_s - 0.1)
        now += wait_s + 0.1
    assert scope.admit(0, now)


def test_sends_one_call_at_a_time_to_a_provider_that_is_down(open_scope):
    scope, now = open_scope()
    assert count_admitted(scope, now) == 1_000
    for _ in range(1_000):
        scope.end()
        scope.record_overload(now)
    # What was in flight when it went down says nothing new about it.
    assert [count_admitted(scope, now + 0.4), count_admitted(scope, now + 0.6)] == [0, 1]
    scope.end()
    scope.record_overload(now + 0.6)
    assert [count_admitted(scope, now + 1.5), count_admitted(scope, now + 1.7)] == [0, 1]
    finish_all(scope, now + 1.7)
    assert count_admitted(scope, now + 1.7) > 1


def test_waits_no_longer_than_told_for_a_provider_that_is_down(open_scope):
    scope, now = open_scope(retries=Retries(outage_s=10.0))
    for _ in range(5):
        scope.record_overload(now)
    assert (scope.is_down(now + 9), scope.is_down(now + 11)) == (True, False)


def test_begins_with_a_few_calls_and_goes_up_while_that_helps(open_scope):
    scope, now = open_scope(Limits())
    limits = []
    for _ in range(40):
        n_admitted = count_admitted(scope, now)
        limits.append(n_admitted)
        now += 0.1
        finish_all(scope, now)
    assert limits[0] == 8
    assert max(limits) > 100


def test_goes_down_while_its_provider_fails(open_scope):
    scope, now = open_scope(Limits(), ceiling=4)
    count_admitted(scope, now)
    scope.record_overload(now)
    assert scope.limit < 4


def test_goes_on_a_little_slower_than_it_was_refused_at(open_scope):
    scope, now = open_scope(Limits(), ceiling=50)
    # Fifty answers in half a second, then a refusal.
    for _ in range(50):
        now += 0.01
        assert scope.admit(0, now)
        scope.end()
        scope.record_answer(now)
    scope.record_throttle(0.0, scope.incident, now)
    admitted = 0
    for _ in range(1_000):
        now += 0.01
        if scope.admit(0, now):
            admitted += 1
            scope.end()
            scope.record_answer(now)
    assert 600 < admitted < 1_000


def test_slows_down_further_when_it_is_refused_again(open_scope):
    scope, now = open_scope(Limits(), ceiling=50)
    rates = []
    for _ in range(3):
        admitted = 0
        for _ in range(400):
            now += 0.005
            if scope.admit(0, now):
                admitted += 1
                scope.end()
                scope.record_answer(now)
        rates.append(admitted)
        scope.record_throttle(0.0, scope.incident, now)
    assert rates[0] > rates[1] > rates[2] > rates[0] / 2


def test_keeps_to_the_most_calls_in_flight(open_scope):
    scope, now = open_scope(Limits(max_concurrency=7, adaptive=False))
    assert count_admitted(scope, now) == 7


# What a job does with it


def test_answers_all_under_a_limit_of_tokens(ask):
    limits = Limits(tokens_per_minute=6_000_000, requests_per_minute=600_000)
    assert ask([f"p{number}" for number in range(20)], limits=limits).succeeded == 20


def test_answers_an_item_that_was_refused_for_its_rate(ask, server):
    server.reply(Answer(status=429, headers={"Retry-After": "1"}, json={}))
    result = ask(["a"])
    assert (result.outputs(), result.results[0].attempts) == (["re: a"], 2)
    refused, answered = server.requests
    assert answered.at - refused.at >= 1.0


def test_goes_on_with_a_healthy_provider_while_another_pauses(ask, config, server, server_b):
    # All ten workers have a call of the first one when it refuses them together.
    together = threading.Barrier(10)

    def refuse(request):
        together.wait()
        return PAUSED

    server.handler = refuse
    paused, healthy = config(), config(base_url=f"{server_b.url}/v1")
    items = [BatchItem(f"p{number}", config=paused if number < 30 else healthy) for number in range(130)]
    results = stream_batch(items, config=paused, workers=10, limits=ALL_AT_ONCE)
    assert {next(results).submission_index for _ in range(100)} == {*range(30, 130)}
    assert len(server.requests) == 10
    results.close()


def test_finds_the_items_of_a_healthy_provider_behind_those_of_a_paused_one(config, server, server_b):
    server.handler = lambda request: PAUSED
    paused, healthy = config(), config(base_url=f"{server_b.url}/v1")
    items = (BatchItem(f"p{number}", config=paused if number < 1_000 else healthy) for number in range(1_100))
    results = stream_batch(items, config=paused, workers=4)
    assert {next(results).submission_index for _ in range(100)} == {*range(1_000, 1_100)}
    results.close()


def test_refuses_an_item_that_no_minute_has_tokens_for(ask, server):
    limits = Limits(tokens_per_minute=1_000)
    result = ask(["a", "long " * 1_000, "long " * 1_000, "b"], options=SHORT, limits=limits)
    assert result.outputs() == ["re: a", None, None, "re: b"]
    assert {failure.error_category for failure in result.failures} == {"configuration_error"}
    assert "allows no more in a minute" in result.failures[0].error
    assert "raise tokens_per_minute" in result.failures[0].exception.hint
    assert sorted(server.prompts) == ["a", "b"]


class Counted:
    """Items that count how many of them were read."""

    def __init__(self, count):
        self.n_read, self._count = 0, count

    def __iter__(self):
        for number in range(self._count):
            self.n_read += 1
            yield f"p{number}"


def test_reads_its_input_no_faster_than_its_results_are_read(config):
    items = Counted(100_000)
    results = stream_batch(items, config=config(), workers=4, max_pending=50)
    for n_taken in range(1, 1_001):
        next(results)
        assert items.n_read - n_taken <= 50 + 2 * 200
    results.close()


def test_reads_its_input_no_faster_while_its_provider_pauses(config, server):
    server.handler = lambda request: echo(request) if read_prompt(request) in {"p0", "p300"} else PAUSED
    items = Counted(100_000)
    limits = Limits(max_concurrency=2, adaptive=False)
    results = stream_batch(items, config=config(), workers=8, max_pending=1_000, limits=limits)
    next(results)
    time.sleep(0.3)  # in which it would read them all
    assert items.n_read <= 1_200
    results.close()


@pytest.mark.parametrize("refusal", [Answer(status=503, json={}), ResetBeforeBody()], ids=["503", "reset"])
def test_waits_for_a_provider_that_is_down_for_a_while(ask, server, refusal):
    # Thirty at once: one by one they would take two minutes of probes.
    together, numbers = threading.Barrier(30), itertools.count()

    def refuse_thirty(request):
        if next(numbers) >= 30:
            return echo(request)
        together.wait()
        return refusal

    server.handler = refuse_thirty
    result = ask([f"p{number}" for number in range(60)], workers=30, limits=ALL_AT_ONCE, retries=AT_ONCE)
    assert (result.succeeded, result.failed, len(server.requests)) == (60, 0, 90)


def test_asks_again_after_an_error_of_the_server(ask, server):
    server.reply(Answer(status=500, json={}), answer("at last"))
    assert ask(["a"], retries=AT_ONCE).outputs() == ["at last"]


def test_asks_again_after_a_connection_was_cut(ask, server):
    server.reply(CloseWithoutAnswer(), answer("at last"))
    assert ask(["a"], retries=AT_ONCE).outputs() == ["at last"]


def test_gives_an_item_up_after_its_attempts(ask, server):
    server.handler = lambda request: Answer(status=500, json={}) if read_prompt(request) == "b" else echo(request)
    result = ask(["a", "b", "c"], workers=1, retries=Retries(max_attempts=2, initial_wait_s=0))
    (failure,) = result.failures
    assert (failure.item_id, failure.attempts, len(server.requests)) == ("item_1", 2, 4)


def test_gives_an_item_up_after_its_throttles(ask, server):
    server.handler = lambda request: Answer(status=429, headers={"Retry-After": "0"}, json={})
    result = ask(["a"], retries=Retries(max_throttles=2, throttle_wait_s=0))
    assert (result.failed, result.results[0].error_category, len(server.requests)) == (1, "rate_limit", 3)


def test_has_no_more_calls_in_flight_than_workers(config, server):
    server.handler = lambda request: Hang(echo(request))
    results = stream_batch([f"p{number}" for number in range(20)], config=config(), workers=3, limits=ALL_AT_ONCE)
    reader = threading.Thread(target=lambda: [*results])
    reader.start()
    server.wait_for_requests(3)
    assert server.open_connections == len(server.requests) == 3
    server.release()
    reader.join()
    assert len(server.requests) == 20


def test_pauses_where_an_answer_says_that_nothing_is_left(open_scope):
    scope, now = open_scope(Limits())
    assert find_reset(RateLimits(requests=Quota(limit=100, remaining=5, reset_s=30.0))) is None
    assert scope.admit(0, now)
    used_up, half = Quota(limit=100, remaining=0, reset_s=30.0), Quota(limit=9, remaining=0, reset_s=15.0)
    scope.respect(find_reset(RateLimits(tokens=used_up, requests=half)), now)
    assert (scope.admit(0, now + 29), scope.admit(0, now + 31)) == (False, True)


def find_limit(*, prefers_more, seconds_an_answer):
    """Return the limit that a climb settles at, where an answer takes so many seconds at a limit."""
    climb, now, limits = _Climb(64, is_adaptive=True, now=0.0, prefers_more=prefers_more), 0.0, []
    for _ in range(5_000):
        now += seconds_an_answer(climb.limit)
        climb.was_reached = True
        climb.record_answer(now)
        limits.append(climb.limit)
    return median(limits[1_000:])


def test_keeps_more_calls_in_flight_that_bring_nothing_only_among_processes():
    assert find_limit(prefers_more=False, seconds_an_answer=lambda _: 0.01) <= 8
    assert find_limit(prefers_more=True, seconds_an_answer=lambda _: 0.01) >= 32


def test_goes_down_among_processes_where_that_brings_more():
    assert find_limit(prefers_more=True, seconds_an_answer=lambda limit: 0.01 * max(1.0, limit / 16)) <= 24
