import json

import pytest

from long_streams import N_PIECES, PIECE, read_in_time
from messages_api import (
    block,
    build_end_events,
    build_start_event,
    text,
    text_block,
    thinking,
    thinking_block,
    tool_block,
    tool_use,
)
from messages_streams import CITED, CUT_OFF, NOTE, TRANSCRIPTS, build_text_delta
from pollux_anthropic import STRICT
from pollux_anthropic.streaming import decode_stream
from pollux_sync import Options
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall
from pollux_sync.data.request import Call
from pollux_sync.data.streaming import (
    EventStream,
    ReasoningDelta,
    ServerEvent,
    StreamStart,
    TextDelta,
    ToolCallDelta,
)
from pollux_sync.wire.faults import HttpError, ReplyError, classify_error
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields

CASES = pytest.mark.parametrize(("said", "answer"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)


def decode_events(parts):
    """Return the items that the decoder yields for these events. It must not read past the last one."""

    def coming():
        yield from (ServerEvent(part.get("type") or "", part) for part in parts)
        if {"type": "message_stop"} in parts:
            raise AssertionError("reads on after the end")

    call = Call(index=0, model="m", prompt="hi", options=Options())
    return decode_stream(EventStream(HttpResponse(status=200), coming()), call, STRICT)


def deltas(parts):
    return [item for item in decode_events(parts) if not isinstance(item, Reply | StreamStart)]


def reply(parts):
    *_, last = decode_events(parts)
    assert isinstance(last, Reply)
    return last


@CASES
def test_deltas_add_up_to_the_reply(said, answer):
    told, whole = deltas(said), reply(said)
    assert "".join(item.text for item in told if isinstance(item, TextDelta)) == whole.text
    assert "".join(item.text for item in told if isinstance(item, ReasoningDelta)) == (whole.reasoning or "")
    assert [item.id for item in told if isinstance(item, ToolCallDelta) and item.id] == [
        call.id for call in whole.tool_calls
    ]


@CASES
def test_reads_a_stream_with_fields_and_events_it_does_not_know(said, answer):
    grown = add_unknown_fields(said[:-1], own=["input"])
    news = [{"type": "news", "index": 0}, *grown, {"type": "content_block_news"}, {}, {"type": "message_stop"}]
    assert remove_unknown_fields(reply(news)) == reply(said)


@CASES
def test_reads_a_stream_without_any_one_field(said, answer):
    for less in iter_field_removals(said):
        if less[-1] == {"type": "message_stop"} and all(less):
            assert isinstance(list(decode_events(less))[-1], Reply)


@CASES
def test_returns_a_reply_once_the_stop_reason_is_known(said, answer):
    last = next(n for n, event in enumerate(said) if event["type"] == "message_delta")
    for count in range(len(said) + 1):
        assert any(isinstance(item, Reply) for item in decode_events(said[:count])) == (count > last)


def test_begins_as_soon_as_the_service_does():
    assert next(decode_events([build_start_event()])) == StreamStart(model="claude-sonnet-4-6", response_id="msg_1")


def test_yields_thoughts_text_and_calls_as_they_arrive():
    parts = [
        build_start_event(),
        *thinking_block(0, "a", "b"),
        *thinking_block(1, "c"),
        *text_block(2, "d", "e"),
        *tool_block(3, "x", '{"n"', ": 1}"),
        *tool_block(4, "y", "{}", call_id="toolu_2"),
        *build_end_events("tool_use"),
    ]
    assert deltas(parts) == [
        ReasoningDelta("a"),
        ReasoningDelta("b"),
        ReasoningDelta("\n\nc"),
        TextDelta("d"),
        TextDelta("e"),
        ToolCallDelta(0, id="toolu_1", name="x"),
        ToolCallDelta(0, '{"n"'),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, id="toolu_2", name="y"),
        ToolCallDelta(1, "{}"),
    ]


NEIGHBOURS = [build_start_event(), *text_block(0, "a", "b"), *text_block(1, "c", "d")]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([*text_block(2, "e"), *build_end_events()], ["a", "b", "\n\ncd\n\ne"]),
        ([*text_block(2, "e")], ["a", "b", "\n\ncd", "\n\ne"]),
        (
            [*block(2, text(""), build_text_delta("e"), CITED, build_text_delta("f")), *build_end_events()],
            ["a", "b", "cd", "e", "f"],
        ),
        ([*block(2, text("", citations=[NOTE]), build_text_delta("e")), *build_end_events()], ["a", "b", "cd", "e"]),
        ([*thinking_block(2, "hm"), *text_block(3, "e", "f"), *build_end_events()], ["a", "b", "\n\ncd", "\n\ne", "f"]),
    ],
    ids=["uncited", "cut off", "cited", "cited from the start", "thoughts between"],
)
def test_holds_back_text_that_a_citation_may_join(more, told):
    assert [item.text for item in deltas(NEIGHBOURS + more) if isinstance(item, TextDelta)] == told


def test_yields_held_back_text_before_it_fails():
    told = []
    with pytest.raises(HttpError):
        told.extend(decode_events([*NEIGHBOURS, {"type": "error", "error": {"type": "api_error"}}]))
    *_, held, billed = told
    assert held == TextDelta("\n\ncd")
    assert (billed.type, billed.usage.input_tokens) == ("usage", 17)


def test_reads_the_initial_content_of_a_block():
    parts = [
        *block(0, thinking("hm")),
        *block(1, text("hel"), build_text_delta("lo")),
        *block(2, tool_use("x", {"né": 1})),
    ]
    parts = [build_start_event(), *parts, *build_end_events()]
    assert deltas(parts) == [
        ReasoningDelta("hm"),
        TextDelta("hel"),
        TextDelta("lo"),
        ToolCallDelta(0, '{"né": 1}', id="toolu_1", name="x"),
    ]
    assert (reply(parts).text, reply(parts).tool_calls) == ("hello", (ToolCall("toolu_1", "x", '{"né": 1}'),))


def test_reads_deltas_without_a_block_start():
    pieces = [build_text_delta("a"), build_text_delta("b"), {"type": "input_json_delta", "partial_json": "{}"}]
    parts = [{"type": "content_block_delta", "delta": piece} for piece in pieces]
    assert reply([*parts, *build_end_events()]).text == "ab"


def test_orders_blocks_by_their_index():
    parts = [build_start_event(), *tool_block(1, "b"), *tool_block(0, "a", call_id="toolu_0"), *build_end_events()]
    assert [call.name for call in reply(parts).tool_calls] == ["a", "b"]


@pytest.mark.parametrize("written", [CUT_OFF, "{'a': 1}", "[" * 100_000], ids=["cut off", "not JSON", "too deep"])
def test_leaves_arguments_that_are_no_json_as_they_came(written):
    (call,) = reply([build_start_event(), *tool_block(0, "x", written), *build_end_events()]).tool_calls
    assert call.arguments == written


def test_takes_blank_arguments_for_none():
    (call,) = reply([build_start_event(), *tool_block(0, "x", " "), *build_end_events()]).tool_calls
    assert call.arguments == "{}"


def test_keeps_pieces_of_a_kind_it_does_not_know():
    start = {"type": "compaction", "content": None}
    parts = [
        build_start_event(),
        *block(0, start, {"type": "compaction_delta", "content": "short"}),
        *build_end_events(),
    ]
    assert reply(parts).artifacts == {"blocks": [{"type": "compaction", "content": "short"}]}


def test_leaves_the_events_as_they_came():
    parts = [
        build_start_event(),
        *block(0, thinking(""), {"type": "signature_delta", "signature": "new"}),
        *build_end_events(),
    ]
    before = json.dumps(parts)
    reply(parts)
    assert json.dumps(parts) == before


@pytest.mark.parametrize(("kind", "status"), [("overloaded_error", 529), ("api_error", 500), ("rate_limit_error", 429)])
def test_raises_an_error_as_the_service_names_it(kind, status):
    with pytest.raises(HttpError, match="busy") as caught:
        list(decode_events([build_start_event(), {"type": "error", "error": {"type": kind, "message": "busy"}}]))
    assert classify_error(caught.value).status_code == status


def test_raises_an_error_that_only_its_event_names():
    call = Call(index=0, model="m", prompt="hi", options=Options())
    stream = EventStream(HttpResponse(status=200), [ServerEvent("error", {"message": "busy"})])
    with pytest.raises(HttpError, match="busy"):
        list(decode_stream(stream, call, STRICT))


@pytest.mark.parametrize("data", [[], "x", None])
def test_raises_when_an_event_is_no_object(data):
    call = Call(index=0, model="m", prompt="hi", options=Options())
    with pytest.raises(ReplyError, match="not an object"):
        list(decode_stream(EventStream(HttpResponse(status=200), [ServerEvent("x", data)]), call, STRICT))


@pytest.mark.parametrize(
    ("start", "delta"),
    [
        (text(""), {"type": "text_delta", "text": PIECE}),
        ({"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": PIECE}),
        (tool_use("add", {}), {"type": "input_json_delta", "partial_json": PIECE}),
        (text(""), CITED),
    ],
    ids=["text", "thinking", "input", "citations"],
)
@pytest.mark.parametrize("has_index", [True, False])
def test_joins_pieces_in_linear_time(start, delta, has_index):
    piece = {"type": "content_block_delta", "delta": delta} | ({"index": 0} if has_index else {})
    events = [
        build_start_event(),
        {"type": "content_block_start", "index": 0, "content_block": start},
        *[piece] * N_PIECES,
        *build_end_events(),
    ]
    call = Call(index=0, model="m", prompt="hi", options=Options())
    read_in_time(lambda stream: decode_stream(stream, call, STRICT), events)
