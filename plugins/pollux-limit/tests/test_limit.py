"""Calls that wait, and calls that would wait too long."""

import threading

import pytest

from chat_api import completion
from pollux_limit import Limit
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Interrupted,
    Options,
    RateLimitError,
    Reply,
    RetryPolicy,
    Usage,
    collect_deferred,
    defer_many,
    hookimpl,
    run,
    run_many,
    stream,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.plugin import Attempt, Call, open_hooks
from pollux_sync.testing import Script, failing
from pollux_sync.testing.server import Answer

CALL = Call(index=0, model="m", prompt="Who?", options=Options())
REPLY = Reply(attempts=(Attempt(started_at=0.0, duration_s=0.1),))


def build_config(*plugins, **fields):
    retry = RetryPolicy(initial_delay_s=0, max_attempts=2)
    return Config(
        **({"provider": "openai", "model": "m", "use_mock": True, "retry": retry, "plugins": plugins} | fields)
    )


def answer_with_quota(**headers):
    return Answer(json=completion(), headers={name.replace("_", "-"): value for name, value in headers.items()})


def connect(server, limit, **fields):
    return Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[limit], **fields)


def ask_plainly(config):
    return run("Who?", config=config)


def ask_in_stream(config):
    return stream("Who?", config=config).result()


@pytest.mark.parametrize("ask", [ask_plainly, ask_in_stream])
def test_call_beyond_the_limit_is_refused_if_it_would_wait_too_long(ask):
    script = Script(otherwise="fine")
    config = build_config(script, Limit(2, max_wait_s=1))
    ask(config)
    ask(config)
    with pytest.raises(
        RateLimitError, match=r"not sent: the limit would have it wait (59|60)\.\d s, more than the 1 s"
    ):
        ask(config)
    assert len(script.requests) == 2


def test_call_may_wait_for_the_timeout_of_its_configuration():
    config = build_config(Script(otherwise="fine"), Limit(1), timeout_s=7)
    run("Who?", config=config)
    with pytest.raises(RateLimitError, match="more than the 7 s"):
        run("Who?", config=config)


def test_tokens_of_answers_count():
    reply = Reply(text="fine", usage=Usage(total_tokens=900), finish_reason="stop")
    config = build_config(Script(otherwise=reply), Limit(tokens_per_minute=1000, max_wait_s=1))
    run("Who?", config=config, options=Options(max_tokens=10))
    with pytest.raises(RateLimitError):
        run("Who? " * 300, config=config, options=Options(max_tokens=10))


def test_estimate_is_corrected_by_the_answer():
    reply = Reply(text="fine", usage=Usage(input_tokens=1, output_tokens=1), finish_reason="stop")
    config = build_config(Script(otherwise=reply), Limit(tokens_per_minute=1000, max_wait_s=0))
    for _ in range(10):
        run("Who? " * 300, config=config)


def test_retries_count_as_requests():
    config = build_config(Script(failing(503), "one", otherwise="more"), Limit(2, max_wait_s=0))
    run("Who?", config=config)
    with pytest.raises(RateLimitError):
        run("Who?", config=config)


@pytest.mark.parametrize("ask", [ask_plainly, ask_in_stream])
def test_retries_wait_as_calls_do(ask):
    script = Script(otherwise=failing(503))
    limit = Limit(3, max_wait_s=1)
    config = build_config(script, limit, retry=RetryPolicy(initial_delay_s=0, max_attempts=9))
    with pytest.raises(RateLimitError, match="not sent") as caught:
        ask(config)
    assert len(script.requests) == 3
    assert [attempt.kind for attempt in caught.value.attempts] == ["capacity"] * 3 + ["rate_limit"]


def test_retries_of_all_threads_never_exceed_the_limit():
    script = Script(otherwise=failing(503))
    config = build_config(script, Limit(10, max_wait_s=0), request_concurrency=8)
    result = run_many(["Who?"] * 20, config=config, options=Options(on_error="keep"))
    assert len(script.requests) == 10
    assert result["status"] == "error"


def test_repairs_wait_as_calls_do():
    script = Script({"b": 1}, otherwise={"a": 1})
    options = Options(response_schema={"type": "object", "required": ["a"]}, schema_repairs=1, on_error="keep")
    result = run("Who?", config=build_config(script, Limit(1, max_wait_s=0)), options=options)
    # Without its repair the answer that was paid for stays.
    assert result["answers"] == ['{"b": 1}']
    assert len(script.requests) == 1


def test_place_of_a_retry_that_was_not_sent_is_free_again():
    config = build_config(Script(failing(503), otherwise="fine"), Limit(tokens_per_minute=1000, max_wait_s=0))
    with pytest.raises(RateLimitError):
        run("Who? " * 250, config=config)
    assert run("Who?", config=config)["answers"] == ["fine"]


def test_answer_of_middleware_inside_does_not_count():
    class Cached:
        @hookimpl
        def pollux_call(self):
            return Reply(text="kept", finish_reason="stop")

    config = build_config(Cached(), Limit(1, max_wait_s=0))
    assert [run("Who?", config=config)["answers"] for _ in range(3)] == [["kept"]] * 3


def test_models_have_limits_of_their_own():
    limit = Limit(1, max_wait_s=0)
    for model in ("m", "n"):
        run("Who?", config=build_config(limit, model=model))
    with pytest.raises(RateLimitError):
        run("Who?", config=build_config(limit, model="n"))


def test_threads_share_the_limit():
    script = Script(otherwise="fine")
    config = build_config(script, Limit(5, max_wait_s=0), request_concurrency=8)
    result = run_many(["Who?"] * 20, config=config, options=Options(on_error="keep"))
    assert sum(answer == "fine" for answer in result["answers"]) == 5 == len(script.requests)


def test_calls_wait_until_a_quota_of_the_provider_is_whole(server):
    server.reply(
        answer_with_quota(
            x_ratelimit_limit_tokens="10", x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="150ms"
        )
    )
    config = connect(server, Limit())
    run("Who?", config=config)
    result = run("Who?", config=config)
    assert 0.01 < result["diagnostics"]["notes"][0]["limit"]["waited_s"] <= 0.5
    assert "notes" not in run("Who?", config=config)["diagnostics"]


def test_quota_with_something_left_holds_nothing_back(server):
    server.reply(answer_with_quota(x_ratelimit_remaining_requests="1", x_ratelimit_reset_requests="60s"))
    config = connect(server, Limit(max_wait_s=0))
    run("Who?", config=config)
    run("Who?", config=config)


def test_refusal_for_the_rate_holds_the_others_back(server):
    server.reply(Answer(status=429, headers={"Retry-After": "30"}, json={"error": {"message": "slow down"}}))
    config = connect(server, Limit(max_wait_s=1))
    with pytest.raises(RateLimitError, match="429"):
        run("Who?", config=config)
    with pytest.raises(RateLimitError, match="not sent"):
        run("Who?", config=config)
    assert len(server.requests) == 1


@pytest.fixture
def hooks():
    return open_hooks(build_config())


def test_stop_ends_the_wait(hooks):
    limit, stop = Limit(1), threading.Event()
    limit.pollux_call(CALL, lambda _: REPLY, hooks, stop)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(APIError, match="interrupted before it was sent"):
        limit.pollux_call(CALL, lambda _: REPLY, hooks, stop)


def test_call_that_was_interrupted_leaves_its_place_to_others(hooks):
    limit, stop = Limit(1, max_wait_s=61), threading.Event()
    stop.set()
    limit.pollux_call(CALL, lambda _: REPLY, hooks, threading.Event())
    for _ in range(3):
        with pytest.raises(APIError, match="interrupted"):
            limit.pollux_call(CALL, lambda _: REPLY, hooks, stop)


def test_interrupt_ends_calls_that_wait():
    script = Script("fine", otherwise="never")

    class Interrupting:
        @hookimpl
        def pollux_call(self, call, proceed):
            if call.prompt == "stop":
                raise KeyboardInterrupt
            return proceed(call)

    config = build_config(script, Limit(1), Interrupting(), request_concurrency=2)
    with pytest.raises(Interrupted):
        run_many(["one", "two", "stop"], config=config)
    assert len(script.requests) == 1


def test_jobs_are_not_limited():
    config = build_config(Limit(1, max_wait_s=0))
    handle = defer_many(["Who?"] * 3, config=config)
    assert collect_deferred(handle, config=config)["status"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute must be above 0"),
        ({"tokens_per_minute": "many"}, "tokens_per_minute must be a number"),
        ({"max_wait_s": -1}, "max_wait_s must be at least 0"),
    ],
)
def test_bad_setting_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Limit(**arguments)


def test_environment_has_the_limits(monkeypatch):
    monkeypatch.setenv("POLLUX_LIMIT_REQUESTS_PER_MINUTE", "1")
    config = build_config(Limit(max_wait_s=0))
    run("Who?", config=config)
    with pytest.raises(RateLimitError):
        run("Who?", config=config)


def test_is_enabled_by_its_name():
    assert isinstance(load(MIDDLEWARE, "limit").plugin, Limit)
