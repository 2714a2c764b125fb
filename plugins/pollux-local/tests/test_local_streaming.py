"""Streams of Chat Completions servers: equal to what they answer at once, whatever the network does."""

import itertools
import threading

import pytest

from chat_api import answer
from chat_streams import build_call_start, build_stream, call_piece, chunk
from demo_model import find_demo_model
from llama_server import serve
from pollux_sync import (
    APIError,
    Config,
    Options,
    StreamFinish,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    run,
    stream,
)
from pollux_sync.testing.server import Answer, Events
from streams import allow_slow_ends, break_off, remove_times, sse

ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SUB = ADD | {"name": "sub"}
LONG_S = 60.0


def test_asks_for_a_stream_with_usage(server, config):
    server.reply(Events([build_stream({"content": "x"})]), Events([build_stream({"content": "x"})]))
    stream("hi", config=config()).result()
    own = {"local": {"stream_options": {"chunk_bytes": 9}}}
    stream("hi", config=config(), options=Options(provider_options=own)).result()
    plain, added = [request.json() for request in server.requests]
    assert (plain["stream"], plain["stream_options"]) == (True, {"include_usage": True})
    assert added["stream_options"] == {"include_usage": True, "chunk_bytes": 9}


def test_yields_deltas_of_calls_and_complete_calls(server, config):
    pieces = [build_call_start("add", "c1"), call_piece('{"a"'), call_piece(": 1}")]
    server.reply(Events([build_stream(*pieces, finish="tool_calls")]))
    events = list(stream("hi", config=config(), options=Options(tools=[ADD])))
    assert [event for event in events if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "", id="c1", name="add"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ": 1}"),
    ]
    (whole,) = [event.call for event in events if event.type == "tool_call"]
    assert whole == ToolCall("c1", "add", '{"a": 1}')


def test_accepts_complete_calls_without_an_index(server, config):
    function = {"name": "add", "arguments": "{}"}
    calls = {"tool_calls": [{"id": "c1", "function": function}, {"id": "c2", "function": function}, "junk"]}
    server.reply(Events([build_stream(calls, finish="tool_calls")]))
    result = stream("hi", config=config(), options=Options(tools=[ADD])).result()
    assert [call["id"] for call in result["tool_calls"][0]] == ["c1", "c2"]


def test_tells_calls_apart_that_have_one_index(server, config):
    pieces = [build_call_start("add", "c1", '{"a": 1}'), build_call_start("sub", "c2", '{"b": 2}')]
    server.reply(Events([build_stream(*pieces, finish="tool_calls")]))
    result = stream("hi", config=config(), options=Options(tools=[ADD, SUB])).result()
    calls = [(call["name"], call["arguments_parsed"]) for call in result["tool_calls"][0]]
    assert calls == [("add", {"a": 1}), ("sub", {"b": 2})]


def test_takes_names_that_are_repeated_and_arguments_that_are_objects(server, config):
    again = build_call_start("add", "c1", "")
    again["tool_calls"][0]["function"]["arguments"] = {"a": 1}
    server.reply(Events([build_stream(build_call_start("add", "c1"), again, finish="tool_calls")]))
    ((call,),) = stream("hi", config=config(), options=Options(tools=[ADD])).result()["tool_calls"]
    assert (call["name"], call["arguments_parsed"]) == ("add", {"a": 1})


def test_a_null_keeps_stream_options_out(server, config):
    server.reply(Events([build_stream({"content": "x"})]))
    own = {"local": {"stream_options": None}}
    stream("hi", config=config(), options=Options(provider_options=own)).result()
    assert "stream_options" not in server.requests[0].json()


@pytest.mark.parametrize("ending", ["close", "reset", "end"])
def test_an_answer_is_complete_before_the_end_of_its_body(server, config, ending):
    server.reply(Events([sse(chunk(content="x"), chunk("stop"))], ending=ending))
    assert stream("hi", config=config()).result()["answers"] == ["x"]


def test_an_answer_without_a_finish_reason_is_complete_after_done(server, config):
    server.reply(Events([sse(chunk(content="x"), done=True)]))
    result = stream("hi", config=config()).result()
    assert (result["answers"], result["metrics"]["finish_reasons"]) == (["x"], [None])


@pytest.mark.parametrize("data", [{"message": "out of memory", "code": 500}, "out of memory"])
def test_tells_an_error_by_the_name_of_its_event(server, config, data):
    server.reply(Events([sse(chunk(content="half"), ("error", data))]))
    with pytest.raises(APIError, match="out of memory") as caught:
        stream("hi", config=config()).result()
    assert caught.value.partial_text == "half"


def test_closing_from_another_thread_ends_the_reading(server, config):
    server.reply(Events([sse(chunk(content="x"))], ending="hang"))
    events = stream("hi", config=config())
    next(events)
    threading.Timer(0.05, events.close).start()
    with pytest.raises(APIError, match="the stream was left"):
        list(events)
    server.wait_for_open_connections(0)


def test_ignores_unknown_events(server, config):
    strange = [
        chunk() | {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        chunk() | {"choices": "junk"},
        chunk() | {"choices": [{"index": 0, "delta": "junk", "news": 1}]},
        chunk(content=["news"], tool_calls="junk", news={"a": 1}),
    ]
    server.reply(Events([sse(*strange) + build_stream({"content": "x"})]))
    assert stream("hi", config=config()).result()["answers"] == ["x"]


def test_takes_the_end_of_the_body_for_the_end(server, config):
    server.reply(Events([sse(chunk(content="x"), chunk("stop"))]))
    assert stream("hi", config=config()).result()["answers"] == ["x"]


def test_takes_a_plain_answer_from_a_server_that_does_not_stream(server, config):
    server.reply(answer("hello"), answer("hello"))
    events = list(stream("hi", config=config()))
    assert [event.type for event in events] == ["start", "text_delta", "usage", "finish", "done"]
    assert remove_times(events[-1].result) == remove_times(run("hi", config=config()))


@pytest.mark.parametrize(
    "first",
    [
        Answer(status=503, json={"error": {"message": "loading"}}),
        Events([sse({"error": {"code": 503, "message": "loading"}})]),
        Events([], ending="close"),
        Events([], ending="reset"),
        Events([]),
        Events([b"data: no json\n\n"]),
    ],
)
def test_retries_a_failure_before_the_first_event(server, config, first):
    server.reply(first, Events([build_stream({"content": "x"})]))
    result = stream("hi", config=config()).result()
    assert result["answers"] == ["x"]
    assert result["metrics"]["n_attempts"] == 2


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (Events([sse(chunk(content="half"))]), "malformed"),
        (Events([sse(chunk(content="half"))], ending="close"), "connection"),
        (Events([sse(chunk(content="half"))], ending="reset"), "connection"),
        (Events([sse(chunk(content="half"), {"error": {"message": "no", "code": 500}})]), "capacity"),
        (
            Events([sse(chunk(content="half"), chunk() | {"choices": [{"index": 0, "error": {"code": 502}}]})]),
            "capacity",
        ),
        (Events([sse(chunk(content="half"), 7)]), "malformed"),
    ],
)
def test_raises_a_later_failure_with_the_partial_text(server, config, end, kind):
    server.reply(end)
    events = stream("hi", config=config())
    with pytest.raises(APIError) as caught:
        list(events)
    error = caught.value
    assert (error.kind, error.partial_text, error.call_idx) == (kind, "half", 0)
    assert error.partial_result["answers"] == ["half"]
    assert [attempt.kind for attempt in error.attempts] == [kind]
    assert len(server.requests) == 1


def test_gives_up_on_a_server_that_falls_silent(server, config):
    silent = Events([sse(chunk(content="half"))], ending="hang")
    error = break_off(server, silent, lambda limit_s: list(stream("hi", config=config(timeout_s=limit_s)))).error
    assert (error.kind, error.partial_text) == ("timeout", "half")


def test_leaving_early_closes_the_connection_at_once(server, config):
    server.reply(Events([sse(chunk(content="x"))], ending="hang"))
    with stream("hi", config=config()) as events:
        assert [type(next(events)), type(next(events))] == [StreamStart, TextDelta]
    server.wait_for_open_connections(0)


def test_a_hundred_that_are_left_leave_no_connection_and_no_thread(server, config):
    server.handler = lambda _: Events([sse(chunk(content="x"))], ending="hang")
    threads = threading.active_count()
    for _ in range(100):
        with stream("hi", config=config()) as events:
            next(events)
    server.wait_for_open_connections(0)
    assert len({request.connection for request in server.requests}) == 100
    assert threading.active_count() == threads


def test_start_names_model_and_answer(server, config):
    server.reply(Events([build_stream({"content": "x"})]))
    assert next(stream("hi", config=config())) == StreamStart(model="tiny.gguf", response_id="chatcmpl-1")


def test_a_stream_on_a_kept_connection_equals_its_answer(server, config, monkeypatch):
    allow_slow_ends(monkeypatch)
    server.reply(*[Events([build_stream({"content": "x"})])] * 3)
    for _ in range(3):
        stream("hi", config=config()).result()
    assert {request.connection for request in server.requests} == {1}


def test_streamed_answer_of_a_real_server_equals_the_blocking_answer():
    url, key = serve(find_demo_model())
    config = Config(provider="local", model="smollm2", api_key=key, base_url=url)
    options = Options(temperature=0, max_tokens=40)
    blocking = run("Name three colours.", config=config, options=options)
    events = list(stream("Name three colours.", config=config, options=options))
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(deltas) == blocking["answers"][0]
    assert len(deltas) > 3
    assert events[-1].result["usage"]["output_tokens"] == blocking["usage"]["output_tokens"]
    assert [event.finish_reason for event in events if isinstance(event, StreamFinish)] == [
        blocking["metrics"]["finish_reasons"][0]
    ]


@pytest.mark.parametrize("piece", [b": alive\n\n", sse(chunk(content="x"))], ids=["comments", "events"])
def test_a_stream_without_end_is_broken_off_with_its_text(server, config, piece):
    endless = Events(itertools.chain([sse(chunk(content="x"))], itertools.repeat(piece)), interval_s=0.01)
    ended = break_off(server, endless, lambda limit_s: stream("hi", config=config(stream_timeout_s=limit_s)).result())
    assert f"did not end within stream_timeout_s={ended.limit_s:g}" in ended.error.message
    assert ended.error.kind == "timeout"
    assert ended.error.partial_text.startswith("x")
    assert ended.error.partial_result["answers"] == [ended.error.partial_text]


def test_a_stream_that_never_begins_is_not_asked_for_again_after_its_time(server, config):
    server.reply(Events(itertools.repeat(b": alive\n\n"), interval_s=0.01))
    with pytest.raises(APIError, match="stream_timeout_s") as caught:
        stream("hi", config=config(stream_timeout_s=0.5)).result()
    assert "raise stream_timeout_s" in caught.value.hint
    assert len(server.wait_for_requests(1)) == 1
