import email.utils
import threading
import time

import pytest

from acme_server import FileServer, build_answer
from pollux_sync import (
    APIError,
    ContextOverflowError,
    ProviderBugError,
    RateLimitError,
    RetryPolicy,
    hookimpl,
    run,
    run_many,
)
from pollux_sync.data.events import AttemptFailed, RetryScheduled
from pollux_sync.engine.retrying import decide_wait
from pollux_sync.errors import Attempt, Fault
from pollux_sync.testing.server import Answer, Drip, ResetBeforeBody, Truncated

BUSY = Answer(status=503, json={"error": "busy"}, headers={"X-Request-Id": "req_1"})


def policy(**fields):
    return RetryPolicy(**({"initial_delay_s": 0, "jitter": False} | fields))


def test_max_attempts_2_makes_exactly_2_requests(server, config):
    server.reply(BUSY, BUSY, BUSY)
    with pytest.raises(APIError) as caught:
        run("hi", config=config(retry=policy(max_attempts=2)))
    assert len(server.requests) == 2
    assert [attempt.status_code for attempt in caught.value.attempts] == [503, 503]


def test_max_attempts_1_tries_once(server, config):
    server.reply(BUSY)
    with pytest.raises(APIError):
        run("hi", config=config(retry=policy(max_attempts=1)))
    assert len(server.requests) == 1


def test_a_second_attempt_that_succeeds_is_the_answer(server, config):
    server.reply(BUSY, build_answer("yes"))
    assert run("hi", config=config())["answers"] == ["yes"]


def test_ledger_lists_every_attempt(server, config):
    server.reply(BUSY, Answer(json={"answer": "yes"}, headers={"X-Request-Id": "req_2"}))
    before = time.time()
    result = run("hi", config=config(retry=policy(initial_delay_s=0.02)))
    first, second = result["diagnostics"]["attempts"][0]
    assert result["metrics"]["n_attempts"] == 2
    assert (first["status_code"], first["kind"], first["request_id"]) == (503, "capacity", "req_1")
    assert "busy" in first["reason"]
    assert (second["status_code"], second["kind"], second["reason"]) == (200, None, None)
    assert (first["wait_s"], second["wait_s"], second["request_id"]) == (0.0, 0.02, "req_2")
    assert before <= first["started_at"] <= second["started_at"] <= time.time()
    assert first["duration_s"] > 0


@pytest.mark.parametrize("step", [ResetBeforeBody(), Truncated(b'{"answer": 1}', 4), Answer(body=b"")])
def test_tries_again_after_trouble_on_the_line(server, config, step):
    server.reply(step, build_answer("yes"))
    assert run("hi", config=config())["answers"] == ["yes"]


def test_tries_again_after_a_time_out(server, config):
    server.reply(Drip(body=b" " * 999, interval_s=0.02), build_answer("yes"))
    assert run("hi", config=config(timeout_s=1.0))["answers"] == ["yes"]


def test_does_not_repeat_a_refusal_even_with_retry_after(server, config):
    server.reply(Answer(status=400, json={"error": "no"}, headers={"Retry-After": "0"}))
    with pytest.raises(APIError):
        run("hi", config=config(retry=policy(max_attempts=5)))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "0.03"}, {"retry-after-ms": "30"}, {"Retry-After": email.utils.formatdate(1, usegmt=True)}],
    ids=["seconds", "milliseconds", "date"],
)
def test_waits_for_the_servers_retry_after(server, config, headers):
    server.reply(Answer(status=429, json={"error": "slow"}, headers=headers), build_answer())
    result = run("hi", config=config())
    asked = 0.0 if "GMT" in str(headers) else 0.03
    assert result["diagnostics"]["attempts"][0][1]["wait_s"] == pytest.approx(asked)


def test_fails_at_once_when_the_wish_does_not_fit(server, config):
    server.reply(Answer(status=429, json={"error": "slow"}, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitError, match="3600 s, more than max_elapsed_s=15") as caught:
        run("hi", config=config(retry=policy(max_attempts=3)))
    assert len(server.requests) == 1
    assert caught.value.retry_after_s == 3600


class Overflowing:
    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        raise ContextOverflowError("too long", hint="cut it", retryable=True, n_tokens=9000, n_ctx=8192)


def test_does_not_retry_a_context_overflow(config):
    with pytest.raises(ContextOverflowError) as caught:
        run("hi", config=config(plugins=[Overflowing()], retry=policy(max_attempts=3)))
    error = caught.value
    assert (error.n_tokens, error.n_ctx, error.hint) == (9000, 8192, "cut it")
    assert (error.retryable, len(error.attempts)) == (False, 1)


def decide(policy, *, tries, elapsed_s, retry_after_s=None, retryable=True):
    ledger = [Attempt(started_at=0.0, duration_s=0.0)] * tries
    fault = Fault(kind="capacity", message="busy", retryable=retryable, retry_after_s=retry_after_s)
    return decide_wait(policy, fault, ledger, elapsed_s)


@pytest.mark.parametrize(
    ("tries", "elapsed_s", "retry_after_s", "wait_s"),
    [
        (1, 0.0, None, 1.0),
        (2, 2.0, None, 2.0),
        (1, 0.0, 7.0, 7.0),
        (1, 600.0, None, 1.0),  # a long first attempt may be retried once
        (2, 9.5, None, 0.5),  # our own delay is cut to what is left
    ],
)
def test_decides_on_the_wait(tries, elapsed_s, retry_after_s, wait_s):
    chosen = policy(max_attempts=5, initial_delay_s=1.0, max_elapsed_s=10.0)
    assert decide(chosen, tries=tries, elapsed_s=elapsed_s, retry_after_s=retry_after_s) == wait_s


@pytest.mark.parametrize(
    ("tries", "elapsed_s", "retry_after_s"),
    [(2, 10.0, None), (2, 5.0, 6.0), (1, 0.0, 11.0)],
)
def test_says_why_it_does_not_wait(tries, elapsed_s, retry_after_s):
    chosen = policy(max_attempts=5, initial_delay_s=1.0, max_elapsed_s=10.0)
    assert "max_elapsed_s=10" in decide(chosen, tries=tries, elapsed_s=elapsed_s, retry_after_s=retry_after_s)


def test_has_no_deadline_without_max_elapsed_s():
    assert decide(policy(max_attempts=5, max_elapsed_s=None), tries=3, elapsed_s=1e6, retry_after_s=9.0) == 9.0


def test_does_not_wait_after_a_final_fault():
    assert decide(policy(max_attempts=5), tries=1, elapsed_s=0.0, retryable=False) is None


def test_tells_observers_of_failures_and_waits(server, config):
    seen = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.append(event)

    server.reply(BUSY, build_answer())
    run("hi", config=config(plugins=[Watch()]))
    assert [type(e).__name__ for e in seen] == [
        "PlanBuilt",
        "CallStarted",
        "AttemptFailed",
        "RetryScheduled",
        "CallFinished",
    ]
    (failed,) = [e for e in seen if isinstance(e, AttemptFailed)]
    (wait,) = [e for e in seen if isinstance(e, RetryScheduled)]
    assert (failed.attempt.status_code, wait.delay_s) == (503, 0.0)


def test_raises_an_api_error_of_a_plugin_unchanged(server, config):
    class Gate:
        tries = 0

        @hookimpl(tryfirst=True)
        def pollux_send(self, request):
            Gate.tries += 1
            raise APIError("gate closed for sk-secret", retryable=True, status_code=503, hint="wait")

    with pytest.raises(APIError, match="gate closed") as caught:
        run("hi", config=config(plugins=[Gate()]))
    error = caught.value
    assert Gate.tries == 2
    assert (error.provider, error.phase, error.hint, error.status_code) == ("acme", "generate", "wait", 503)
    assert "sk-secret" not in str(error)


def test_names_the_plugin_whose_decoder_fails(server, config):
    server.reply(Answer(json={"unexpected": True}))
    with pytest.raises(ProviderBugError, match="pollux_decode of plugin acme") as caught:
        run("hi", config=config())
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.partial_result["errors"][0]["type"] == "ProviderBugError"


def test_a_retry_wait_of_one_prompt_holds_up_no_other(server, config):
    files = FileServer()
    slow = threading.Event()

    def handler(request):
        if request.json()["prompt"] == "a" and not slow.is_set():
            slow.set()
            return Answer(status=429, json={"error": "slow"}, headers={"Retry-After": "1.5"})
        return files(request)

    server.handler = handler
    result = run_many(["a", "b", "c"], config=config(request_concurrency=2))
    order = [request.json()["prompt"] for request in server.requests]
    assert result["answers"] == ["A", "B", "C"]
    assert order[-1] == "a"


@pytest.mark.parametrize(
    "delays", [{"initial_delay_s": 0, "max_delay_s": 0}, {"initial_delay_s": 0.001, "max_delay_s": 0}], ids=str
)
def test_whole_numbers_are_delays_too(server, config, delays):
    server.reply(BUSY, BUSY, build_answer("yes"))
    assert run("hi", config=config(retry=RetryPolicy(max_attempts=3, jitter=False, **delays)))["answers"] == ["yes"]


def test_a_wish_beyond_all_clocks_is_refused():
    assert "wait 1e+11 s" in decide(
        policy(max_attempts=5, max_elapsed_s=None), tries=1, elapsed_s=0.0, retry_after_s=1e11
    )


def test_a_defect_keeps_its_ledger_and_comes_first(server, config):
    def handler(request):
        return (
            Answer(json={"unexpected": 1})
            if request.json()["prompt"] == "a"
            else Answer(status=400, json={"error": "no"})
        )

    server.handler = handler
    with pytest.raises(ProviderBugError) as caught:
        run_many(["a", "b"], config=config())
    assert (caught.value.call_idx, len(caught.value.attempts)) == (0, 1)
    assert [len(attempts) for attempts in caught.value.partial_result["diagnostics"]["attempts"]] == [1, 1]
    assert caught.value.__notes__ == ["call 0; 2 of 2 failed: see partial_result"]
