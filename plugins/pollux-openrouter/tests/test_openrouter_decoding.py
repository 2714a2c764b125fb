import json

import attrs
import pytest

from openrouter_api import completion, tool_call
from pollux_openrouter.chatting import decode
from pollux_sync import Options
from pollux_sync.data.findings import AnswerFile, Citation
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields

SIGNED = [{"type": "reasoning.text", "text": "hm", "signature": "s1", "format": "anthropic-claude-v1", "index": 0}]
TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}


def decode_reply(body, **options):
    call = Call(index=0, model="acme/one", prompt="hi", options=Options(**options))
    return decode(HttpResponse(status=200, body=body), call)


COUNTED = Usage(
    input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=4, cache_write_tokens=1
)
FACTS = {"cost": 0.00093, "provider": "Acme Cloud"}
PLAIN = Reply(
    usage=COUNTED,
    finish_reason="stop",
    raw_finish_reason="end_turn",
    response_id="gen-1",
    model="acme/one-20260101",
    artifacts=FACTS,
)
ENDED_BY_CALL = {"finish": "tool_calls", "native": "tool_use"}
CALLED = {"finish_reason": "tool_calls", "raw_finish_reason": "tool_use"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
NOTE = {"type": "url_citation", "url_citation": {"url": "https://a.example"}}

#: What OpenRouter may answer, and what of the reply differs from an empty one that ended by itself.
TRANSCRIPTS = {
    "normal": (completion("hello"), {"text": "hello"}),
    "tool": (
        completion(None, tool_calls=[tool_call("ping", "{}")], **ENDED_BY_CALL),
        CALLED | {"tool_calls": (ToolCall("call_1", "ping", "{}"),)},
    ),
    "parallel tools": (
        completion("both", tool_calls=[tool_call("a", '{"n": 1}'), tool_call("b", "{}", "call_2")], **ENDED_BY_CALL),
        CALLED | {"text": "both", "tool_calls": (ToolCall("call_1", "a", '{"n": 1}'), ToolCall("call_2", "b", "{}"))},
    ),
    "reasoning": (
        completion("x", reasoning="because", reasoning_details=SIGNED),
        {
            "text": "x",
            "reasoning": "because",
            "provider_state": {"reasoning": "because", "reasoning_details": SIGNED},
        },
    ),
    "refusal": (completion(None, refusal="I can't"), {"text": "I can't", "finish_reason": "refusal"}),
    "truncated": (
        completion("hel", finish="length", native="MAX_TOKENS"),
        {"text": "hel", "finish_reason": "length", "raw_finish_reason": "MAX_TOKENS"},
    ),
    "a call that was cut off": (
        completion(None, finish="length", native="length", tool_calls=[tool_call("x", "{")]),
        {"tool_calls": (ToolCall("call_1", "x", "{"),), "finish_reason": "length", "raw_finish_reason": "length"},
    ),
    "filtered": (
        completion("", finish="content_filter", native="SAFETY"),
        {"finish_reason": "content_filter", "raw_finish_reason": "SAFETY"},
    ),
    "empty": (completion(""), {}),
    "extras": (
        completion("x", annotations=[NOTE], images=[IMAGE]),
        {
            "text": "x",
            "artifacts": FACTS | {"annotations": [NOTE], "images": [IMAGE]},
            "citations": (Citation(url="https://a.example"),),
            "files": (AnswerFile(mime_type="image/png", data="aGk="),),
        },
    ),
}


@pytest.mark.parametrize(("body", "fields"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_reads_an_answer(body, fields):
    assert decode_reply(body) == attrs.evolve(PLAIN, **fields)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_with_fields_it_does_not_know(body):
    assert remove_unknown_fields(decode_reply(add_unknown_fields(body))) == decode_reply(body)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_without_any_one_field(body):
    answers = [less for less in iter_field_removals(body) if any(less.get("choices") or ())]
    assert all(decode_reply(less) for less in answers)


@pytest.mark.parametrize(
    ("finish", "native", "expected"),
    [
        ("stop", "end_turn", ("stop", "end_turn")),
        ("length", "MAX_TOKENS", ("length", "MAX_TOKENS")),
        ("content_filter", None, ("content_filter", "content_filter")),
        ("error", "error", ("error", "error")),
        (None, None, (None, None)),
    ],
)
def test_keeps_the_vendors_own_finish_reason(finish, native, expected):
    reply = decode_reply(completion(finish=finish, native=native))
    assert (reply.finish_reason, reply.raw_finish_reason) == expected


@pytest.mark.parametrize("body", [{"usage": None, "provider": None}, {"usage": [], "provider": None}])
def test_missing_artifacts_are_none(body):
    assert decode_reply(completion(body=body)).artifacts is None


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning": "because", "reasoning_details": SIGNED}, "because"),
        ({"reasoning_details": SIGNED}, "hm"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "in short"}]}, "in short"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}, "junk"]}, None),
        ({"reasoning_details": "junk"}, None),
        ({}, None),
    ],
)
def test_reads_reasoning(message, reasoning):
    assert decode_reply(completion(**message)).reasoning == reasoning


def test_brings_tool_arguments_back_as_declared():
    body = completion(None, finish="tool_calls", tool_calls=[tool_call("weather", '{"city": "Rome", "unit": null}')])
    reply = decode_reply(body, tools=[TOOL])
    assert (json.loads(reply.tool_calls[0].arguments), reply.finish_reason) == ({"city": "Rome"}, "tool_calls")


def test_raises_for_an_error_inside_a_choice():
    body = completion(body={"choices": [{"error": {"code": 502, "message": "upstream died"}, "message": None}]})
    with pytest.raises(HttpError, match="upstream died"):
        decode_reply(body)


def test_raises_when_there_is_no_answer():
    with pytest.raises(ReplyError):
        decode_reply({"choices": []})


def test_tolerates_a_choice_without_a_message():
    assert decode_reply(completion(body={"choices": [{"message": None, "finish_reason": "stop"}]})).text == ""
