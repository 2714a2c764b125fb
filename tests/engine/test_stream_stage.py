"""One streamed call, as a package with a record of its own makes it."""

import json

import pytest

from chat_streams import chunk
from pollux_sync import Config, Options, RetryPolicy
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.streaming import StreamFinish, TextDelta
from pollux_sync.stages import ActiveStreams, build_request, decode_reply, open_hooks, plan_calls, stream_call
from pollux_sync.testing import BrokenOff, Script
from pollux_sync.testing.server import Answer, Events, ScriptedServer
from streams import sse


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def open_call(server):
    """Return a function that plans one call and returns it with its hooks."""
    opened = []

    def open_call(**fields):
        retry = RetryPolicy(initial_delay_s=0, jitter=False)
        config = Config(**({"provider": "local", "model": "m", "base_url": server.url, "retry": retry} | fields))
        hooks = open_hooks(config)
        opened.append(hooks)
        (call,) = plan_calls(build_request("hi", (), config, Options()), hooks).calls
        return call, hooks

    yield open_call
    for hooks in opened:
        hooks.close()


def read(events):
    """Return the events of a call, and its outcome."""
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value


STREAM = sse(chunk(content="Hel"), chunk(content="lo"), chunk("stop"), done=True)


def test_keeps_the_answer_before_the_last_events(open_call, server):
    server.reply(Events([STREAM]))
    call, hooks = open_call()
    kept, seen = [], []
    events = stream_call(call, hooks, ActiveStreams(), keep=kept.append)
    for event in events:
        seen.append(event)
        if isinstance(event, TextDelta):
            assert kept == []
        if isinstance(event, StreamFinish):
            assert len(kept) == 1
    assert [event.text for event in seen if isinstance(event, TextDelta)] == ["Hel", "lo"]
    assert decode_reply(kept[0], call, hooks).text == "Hello"
    assert json.loads(json.dumps(kept[0].body))["choices"][0]["message"]["content"] == "Hello"


def test_keeps_the_answer_of_a_server_that_does_not_stream(open_call, server):
    body = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    server.reply(Answer(json=body))
    call, hooks = open_call()
    kept = []
    _, outcome = read(stream_call(call, hooks, ActiveStreams(), keep=kept.append))
    assert isinstance(outcome, Reply)
    assert [response.body for response in kept] == [body]


def test_keeps_no_answer_that_broke_off(open_call, server):
    server.reply(Events([sse(chunk(content="Hel"))], ending="close"))
    call, hooks = open_call()
    kept = []
    _, outcome = read(stream_call(call, hooks, ActiveStreams(), keep=kept.append))
    assert isinstance(outcome, Failure)
    assert (outcome.error.partial_text, kept) == ("Hel", [])


def test_keeps_nothing_where_the_decoder_joins_nothing(open_call):
    call, hooks = open_call(use_mock=True, plugins=(Script("Hello"),))
    kept = []
    _, outcome = read(stream_call(call, hooks, ActiveStreams(), keep=kept.append))
    assert (outcome.text, kept) == ("Hello", [])


def test_what_fails_while_an_answer_is_kept_is_not_the_providers(open_call, server):
    server.reply(Events([STREAM]))
    call, hooks = open_call()

    def fail(_):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        read(stream_call(call, hooks, ActiveStreams(), keep=fail))


def test_is_broken_off_from_outside(open_call):
    call, hooks = open_call(use_mock=True, plugins=(Script(BrokenOff("Hel")),))
    active = ActiveStreams()
    active.end()
    _, outcome = read(stream_call(call, hooks, active))
    assert "left before the answer" in outcome.error.message
