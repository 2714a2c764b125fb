"""What the log says at INFO, and what it never says."""

import logging
import re

import pytest

from pollux_sync import Config, Options, Reply, RetryPolicy, Usage, defer_many, run, run_many, stream, wait_deferred
from pollux_sync.testing import Script, failing

SECRET = "the lighthouse keeper's diary"
KEEP = Options(on_error="keep")


@pytest.fixture
def lines(caplog):
    """Asks, and returns the lines of the log at INFO."""

    def ask(work):
        with caplog.at_level(logging.INFO, "pollux_sync"):
            work()
        return [record.getMessage() for record in caplog.records]

    return ask


def build_config(*answers):
    retry = RetryPolicy(initial_delay_s=0, jitter=False)
    return Config(
        provider="openai", model="m", use_mock=True, plugins=[Script(*answers)], retry=retry, request_concurrency=1
    )


def test_each_call_is_told_with_its_tokens(lines):
    config = build_config(Reply(text=SECRET, usage=Usage(input_tokens=12, output_tokens=3)))
    (line,) = lines(lambda: run(SECRET, config=config))
    assert re.fullmatch(r"call 0 to openai/m: answered after \d\.\d\d s, 12 \+ 3 tokens", line)


def test_retries_and_failures_are_told_without_the_words_of_the_provider(lines):
    config = build_config(failing(503, SECRET), "a", failing(400, SECRET))
    retry, answered, failed = lines(lambda: run_many([SECRET, SECRET], config=config, options=KEEP))
    assert retry == "openai: capacity (503); trying again in 0.00 s"
    assert answered.startswith("call 0 to openai/m: answered after ")
    assert answered.endswith(", 2 attempts")
    assert failed.startswith("call 1 to openai/m: failed after ")
    assert failed.endswith("invalid_request (400), attempts: 1")
    assert SECRET not in retry + answered + failed


def test_stream_is_told_too(lines):
    (line,) = lines(lambda: stream("hi", config=build_config("hello")).result())
    assert line.startswith("call 0 to openai/m: answered")


def test_job_is_told_from_its_submission_to_its_end(lines):
    config = Config(provider="openai", model="m", use_mock=True)
    told = lines(lambda: wait_deferred(defer_many([SECRET, "b"], config=config), config=config, poll=0.01))
    assert "was submitted, requests: 2" in told[0]
    assert told[-1].endswith("is completed: 2 of 2 requests have ended, 0 of them without an answer")
    assert SECRET not in " ".join(told)


def test_nothing_is_told_below_info(caplog):
    with caplog.at_level(logging.WARNING, "pollux_sync"):
        run("hi", config=build_config("hello"))
    assert caplog.records == []
