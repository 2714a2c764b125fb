"""Decoding of the answers of local servers."""

import attrs
import pytest

from chat_api import completion, tool_call
from pollux_local import LocalProvider
from pollux_sync import HttpResponse, Options
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields


def decode_body(body):
    call = Call(index=0, model="m", prompt="hi", options=Options())
    return LocalProvider().pollux_decode(HttpResponse(status=200, body=body), call)


PLAIN = Reply(
    usage=Usage(input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=4),
    finish_reason="stop",
    raw_finish_reason="stop",
    response_id="chatcmpl-1",
    model="tiny.gguf",
)
CALLED = {"finish_reason": "tool_calls", "raw_finish_reason": "tool_calls"}
CUT_OFF = {"finish_reason": "length", "raw_finish_reason": "length"}

#: What a server may answer, and what of the reply differs from an empty one that ended by itself.
TRANSCRIPTS = {
    "normal": (completion("hello"), {"text": "hello"}),
    "tool": (
        completion(None, finish="tool_calls", tool_calls=[tool_call("ping", "{}")]),
        CALLED | {"tool_calls": (ToolCall("call_1", "ping", "{}"),)},
    ),
    "parallel tools": (
        completion("both", finish="tool_calls", tool_calls=[tool_call("a", '{"n": 1}'), tool_call("b", "{}", "c2")]),
        CALLED | {"text": "both", "tool_calls": (ToolCall("call_1", "a", '{"n": 1}'), ToolCall("c2", "b", "{}"))},
    ),
    "a tool called by a server that says stop": (
        completion("", tool_calls=[tool_call("ping", "{}")]),
        {"tool_calls": (ToolCall("call_1", "ping", "{}"),), "finish_reason": "tool_calls"},
    ),
    "reasoning": (
        completion("x", reasoning_content="because"),
        {"text": "x", "reasoning": "because", "provider_state": {"reasoning_content": "because"}},
    ),
    "refusal": (completion(None, refusal="I can't"), {"text": "I can't", "finish_reason": "refusal"}),
    "truncated": (completion("hel", finish="length"), CUT_OFF | {"text": "hel"}),
    "truncated before the first word": (
        completion("", finish="length", reasoning_content="hm"),
        CUT_OFF | {"reasoning": "hm", "provider_state": {"reasoning_content": "hm"}},
    ),
    "a call that was cut off": (
        completion(None, finish="length", tool_calls=[tool_call("x", "{")]),
        CUT_OFF | {"tool_calls": (ToolCall("call_1", "x", "{"),)},
    ),
    "filtered": (
        completion(None, finish="content_filter"),
        {"finish_reason": "content_filter", "raw_finish_reason": "content_filter"},
    ),
    "empty": (completion(""), {}),
}


@pytest.mark.parametrize(("body", "fields"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_reads_an_answer(body, fields):
    assert decode_body(body) == attrs.evolve(PLAIN, **fields)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_with_fields_it_does_not_know(body):
    assert remove_unknown_fields(decode_body(add_unknown_fields(body))) == decode_body(body)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_without_any_one_field(body):
    answers = [less for less in iter_field_removals(body) if any(less.get("choices") or ())]
    assert all(decode_body(less) for less in answers)


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="slot failed"):
        decode_body({"error": {"code": 500, "message": "slot failed"}})


@pytest.mark.parametrize("body", [[], "x", None, {}, {"choices": []}, {"choices": None}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decode_body(body)
