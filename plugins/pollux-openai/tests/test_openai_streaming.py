"""Streams of the Responses API: equal to what it answers at once, whatever comes with them."""

import pytest

from long_streams import N_PIECES, PIECE, read_in_time
from pollux_openai import OpenAIProvider
from pollux_sync import Config, Options, ReasoningDelta, Reply, StreamStart, TextDelta, ToolCall, ToolCallDelta, stream
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.request import Call
from pollux_sync.data.streaming import EventStream, ServerEvent
from pollux_sync.testing.server import Events
from response_streams import (
    ADD,
    BOTH,
    RAW_THOUGHT,
    SUB,
    TRANSCRIPTS,
    build_done_events,
    build_stream,
    call_events,
    event,
    summaries,
    texts,
)
from responses_api import KEY, function_call, message, refusal, response, thought
from streams import sse

OPTIONS = Options(tools=[{"name": name, "parameters": {"type": "object", "properties": {}}} for name in ("add", "sub")])


@pytest.fixture
def stream_events(server):
    """Return a function that streams pieces from the server and returns the events."""

    def ask(*pieces):
        server.reply(Events(pieces))
        config = Config(provider="openai", model="m", api_key=KEY, base_url=f"{server.url}/v1")
        return list(stream("hi", config=config, options=OPTIONS))

    return ask


def select_events(events, kind):
    return [event for event in events if isinstance(event, kind)]


def join_texts(events, kind=TextDelta):
    return "".join(event.text for event in select_events(events, kind))


def read_answer(events):
    return events[-1].result["answers"][0]


def test_tells_parts_of_the_reasoning_apart_by_a_blank_line(stream_events):
    events = stream_events(TRANSCRIPTS["reasoning"][1])
    assert [event.text for event in select_events(events, ReasoningDelta)] == ["fir", "st", "\n\nthen", "\n\nla", "st"]


def test_passes_over_reasoning_where_there_is_a_summary(stream_events):
    body = response(RAW_THOUGHT | thought("short"), message("x"))
    events = stream_events(
        build_stream(body, *summaries("short"), *texts("hm", kind="reasoning_text"), *texts("x", index=1))
    )
    assert join_texts(events, ReasoningDelta) == "short"


def test_passes_over_a_refusal_after_text(stream_events):
    body = response(message("x"), refusal("no"))
    events = stream_events(build_stream(body, *texts("x"), *texts("no", kind="refusal", index=1)))
    assert join_texts(events) == read_answer(events) == "x"


def test_yields_deltas_of_calls_and_complete_calls(stream_events):
    events = stream_events(TRANSCRIPTS["parallel tool calls after text"][1])
    assert select_events(events, ToolCallDelta) == [
        ToolCallDelta(0, id="call_1", name="add"),
        ToolCallDelta(0, '{"a": 1}'),
        ToolCallDelta(1, id="call_2", name="sub"),
        ToolCallDelta(1, '{"b"'),
        ToolCallDelta(1, ": 2}"),
    ]
    calls = [event.call for event in events if event.type == "tool_call"]
    assert calls == [ToolCall("call_1", "add", '{"a": 1}'), ToolCall("call_2", "sub", '{"b": 2}')]


@pytest.mark.parametrize("lost", ["item_id", "output_index"])
def test_finds_the_call_that_arguments_belong_to(stream_events, lost):
    pieces = [*call_events(ADD, '{"a": 1}'), *call_events(SUB, '{"b": 2}', index=1)]
    less = [{name: value for name, value in piece.items() if name != lost} for piece in pieces]
    events = stream_events(build_stream(response(ADD, SUB), *less))
    assert [(delta.index, delta.arguments) for delta in select_events(events, ToolCallDelta) if delta.arguments] == [
        (0, '{"a": 1}'),
        (1, '{"b": 2}'),
    ]


def test_reads_items_from_events_if_the_final_response_lacks_them(stream_events):
    body = response(BOTH, ADD)
    last_first = build_done_events(BOTH, ADD)[::-1]
    events = stream_events(
        build_stream(body | {"output": []}, *texts("Both."), *call_events(ADD, '{"a": 1}', index=1), *last_first)
    )
    assert read_answer(events) == "Both."
    assert events[-1].result["tool_calls"][0][0]["name"] == "add"
    assert events[-1].result["metrics"]["finish_reasons"] == ["tool_calls"]


def test_takes_items_that_are_not_counted_in_the_order_of_their_coming(stream_events):
    items = [event("output_item.done", item=item) for item in (message("a "), message("b"), "junk")]
    events = stream_events(build_stream(response(), *items))
    assert join_texts(events) == read_answer(events) == "a b"


def test_yields_deltas_that_only_the_final_response_has(stream_events):
    body = response(thought("because"), BOTH, ADD, SUB)
    events = stream_events(build_stream(body, *texts("Bo", index=1), *call_events(ADD, '{"a', index=2)))
    assert (join_texts(events), join_texts(events, ReasoningDelta)) == ("Both.", "because")
    assert select_events(events, ToolCallDelta) == [
        ToolCallDelta(0, id="call_1", name="add"),
        ToolCallDelta(0, '{"a'),
        ToolCallDelta(0, '": 1}'),
        ToolCallDelta(1, '{"b": 2}', id="call_2", name="sub"),
    ]


def test_reads_a_stream_that_has_only_the_final_response(stream_events):
    events = stream_events(sse(event("completed", response=response(message("x")))))
    assert events[:2] == [StreamStart(model="gpt-5-mini-2025-08-07", response_id="resp_1"), TextDelta("x")]


def test_starts_once(stream_events):
    begun = [event(kind, response={"id": "resp_1", "model": "m"}) for kind in ("created", "queued", "in_progress")]
    events = stream_events(sse(*begun, *texts("x")) + build_stream(response(message("x"))))
    assert select_events(events, StreamStart) == [StreamStart(model="m", response_id="resp_1")]


def test_ignores_unknown_events(stream_events):
    strange = [
        {"type": "keepalive", "sequence_number": 1},
        ["junk"],
        {"delta": "no type"},
        event("output_text.delta"),
        event("output_text.delta", delta=7),
        event("reasoning_summary_text.delta", delta=None, summary_index=[0]),
        event("function_call_arguments.delta", delta="{", item_id="nobody", output_index={}),
        event("output_item.added", item="junk"),
        event("output_item.added", item={"type": "function_call", "name": None}),
        event("news.delta", delta="x", error={"not": "one"}),
        event("audio.delta", response="junk"),
    ]
    body = response(message("x"), ADD)
    events = stream_events(sse(*strange) + build_stream(body, *texts("x"), *call_events(ADD, "", '{"a": 1}', index=1)))
    assert join_texts(events) == read_answer(events) == "x"
    assert [delta.arguments for delta in select_events(events, ToolCallDelta)] == ["", '{"a": 1}']


def test_reads_a_type_that_only_the_event_names(stream_events):
    events = [(data.pop("type"), data) for data in [*texts("x"), event("completed", response=response(message("x")))]]
    assert join_texts(stream_events(sse(*events))) == "x"


def test_ends_with_the_final_event():
    final, more = event("completed", response=response(message("x"))), event("output_text.delta", delta="y")
    events = EventStream(HttpResponse(status=200), [ServerEvent("", final), ServerEvent("", more)])
    call = Call(index=0, model="m", prompt="hi", options=Options())
    *_, last = OpenAIProvider().pollux_decode_stream(events, call)
    assert isinstance(last, Reply)
    assert last.text == "x"


LONG_CALL = function_call("add", PIECE * N_PIECES)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (response(message(PIECE * N_PIECES)), texts(*[PIECE] * N_PIECES)),
        (response(thought(PIECE * N_PIECES)), summaries(*[PIECE] * N_PIECES)),
        (response(LONG_CALL), call_events(LONG_CALL, *[PIECE] * N_PIECES)),
    ],
    ids=["text", "summary", "arguments"],
)
def test_joins_pieces_in_linear_time(body, events):
    call = Call(index=0, model="m", prompt="hi", options=OPTIONS)
    provider = OpenAIProvider()
    end = event(body["status"], response=body)
    assert read_in_time(lambda stream: provider.pollux_decode_stream(stream=stream, call=call), [*events, end])
