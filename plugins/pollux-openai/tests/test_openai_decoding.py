import json

import attrs
import pytest

from pollux_openai import STRICT
from pollux_openai.decoding import decode
from pollux_sync import Options
from pollux_sync.data.findings import Citation, HostedCall
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError
from responses_api import function_call, message, refusal, response, thought
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields

TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["city"],
    },
}


def decode_body(body, *, tools=None):
    call = Call(index=0, model="m", prompt="hi", options=Options(tools=tools))
    return decode(HttpResponse(status=200, body=body), call, STRICT)


COUNTED = Usage(
    input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=4, cache_write_tokens=1
)
PLAIN = Reply(
    usage=COUNTED,
    finish_reason="stop",
    raw_finish_reason="completed",
    response_id="resp_1",
    model="gpt-5-mini-2025-08-07",
)
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
NOTE = {"type": "url_citation", "url": "https://a.example"}
CUT_OFF = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
CALLED = {"finish_reason": "tool_calls"}
REASONED = [thought("first", "then"), message("x")]

#: What OpenAI may answer, and what of the reply differs from an empty one that ended by itself.
TRANSCRIPTS = {
    "normal": (response(message("hello")), {"text": "hello"}),
    "several messages": (response(message("a"), message("b")), {"text": "ab"}),
    "tool": (response(function_call("ping", "{}")), CALLED | {"tool_calls": (ToolCall("call_1", "ping", "{}"),)}),
    "parallel tools": (
        response(message("both"), function_call("a", '{"n": 1}'), function_call("b", "{}", "call_2")),
        CALLED | {"text": "both", "tool_calls": (ToolCall("call_1", "a", '{"n": 1}'), ToolCall("call_2", "b", "{}"))},
    ),
    "reasoning": (
        response(*REASONED),
        {
            "text": "x",
            "reasoning": "first\n\nthen",
            "provider_state": {"openai_output": REASONED, "openai_model": "m"},
        },
    ),
    "not stored": (response(message("x"), store=False), {"text": "x", "provider_state": {"openai_stored": False}}),
    "refusal": (response(refusal("I can't")), {"text": "I can't", "finish_reason": "refusal"}),
    "truncated": (
        response(message("hel"), **CUT_OFF),
        {"text": "hel", "finish_reason": "length", "raw_finish_reason": "max_output_tokens"},
    ),
    "truncated before the first word": (
        response(thought(), **CUT_OFF),
        {"finish_reason": "length", "raw_finish_reason": "max_output_tokens"},
    ),
    "a call that was cut off": (
        response(function_call("x", "{"), **CUT_OFF),
        {
            "tool_calls": (ToolCall("call_1", "x", "{"),),
            "finish_reason": "length",
            "raw_finish_reason": "max_output_tokens",
        },
    ),
    "filtered": (
        response(message("he"), **FILTERED),
        {"text": "he", "finish_reason": "content_filter", "raw_finish_reason": "content_filter"},
    ),
    "empty": (response(), {}),
    "extras": (
        response(SEARCH, message("x", annotations=[NOTE])),
        {
            "text": "x",
            "usage": attrs.evolve(COUNTED, web_search_requests=1),
            "citations": (Citation(url=NOTE["url"]),),
            "hosted_calls": (HostedCall(kind="web_search", name="web_search", id=SEARCH.get("id")),),
            "artifacts": {"annotations": [NOTE], "items": [SEARCH]},
        },
    ),
}


@pytest.mark.parametrize(("body", "fields"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_reads_an_answer(body, fields):
    assert decode_body(body) == attrs.evolve(PLAIN, **fields)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_with_fields_it_does_not_know(body):
    assert remove_unknown_fields(decode_body(add_unknown_fields(body))) == decode_body(body)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_without_any_one_field(body):
    answers = [less for less in iter_field_removals(body) if less.get("output")]
    assert all(decode_body(less) for less in answers)


def test_reads_reasoning_text_where_there_is_no_summary():
    item = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert decode_body(response(item, message("x"))).reasoning == "hm"


@pytest.mark.parametrize("item", [thought(), {"type": "reasoning"}, {"type": "reasoning", "summary": None}])
def test_missing_reasoning_is_none(item):
    assert decode_body(response(item, message("x"))).reasoning is None


def test_gives_strict_arguments_back_as_the_tool_declared_them():
    arguments = json.dumps({"city": "Rome", "days": [{"key": "mon", "value": 3}]})
    (call,) = decode_body(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome", "days": {"mon": 3}}


def test_drops_the_null_of_an_optional_argument():
    arguments = json.dumps({"city": "Rome", "days": None})
    (call,) = decode_body(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome"}


@pytest.mark.parametrize("arguments", ["not json", '{"days": 3}', "[]"])
def test_leaves_arguments_that_do_not_fit_as_they_came(arguments):
    (call,) = decode_body(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert call.arguments == arguments


def test_leaves_arguments_of_a_tool_that_is_not_strict():
    arguments = '{"city": "Rome", "days": null}'
    (call,) = decode_body(response(function_call("weather", arguments)), tools=[TOOL | {"strict": False}]).tool_calls
    assert call.arguments == arguments


@pytest.mark.parametrize(
    ("item", "call_id", "arguments"),
    [
        ({"type": "function_call", "name": "x", "id": "fc"}, "fc", "{}"),
        ({"type": "function_call", "name": "x", "arguments": {"a": 1}}, "call_0", '{"a": 1}'),
    ],
)
def test_tolerates_incomplete_tool_calls(item, call_id, arguments):
    assert decode_body(response(item)).tool_calls == (ToolCall(call_id, "x", arguments),)


@pytest.mark.parametrize(
    ("fields", "finish", "raw"),
    [
        ({"status": "failed"}, "error", "failed"),
        ({"status": "in_progress"}, None, "in_progress"),
        ({"status": None}, None, None),
    ],
)
def test_tells_how_the_answer_ended(fields, finish, raw):
    reply = decode_body(response(message("x"), **fields))
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, raw)


@pytest.mark.parametrize("usage", [None, [], {}, {"input_tokens": "many"}])
def test_takes_missing_usage_for_unknown(usage):
    assert decode_body(response(message("x"), usage=usage)).usage == Usage()


def test_tolerates_unknown_and_missing_fields():
    body = {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "x", "new": 1}, None]}, "junk"],
        "y": 2,
    }
    assert decode_body(body).text == "x"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_raises_for_an_answer_that_is_not_ready(status):
    with pytest.raises(ReplyError, match=status) as caught:
        decode_body(response(status=status))
    assert "background" in caught.value.hint


def test_keeps_log_probabilities():
    part = {"type": "output_text", "text": "4", "logprobs": [{"token": "4", "logprob": -0.5}]}
    assert decode_body(response(message("") | {"content": [part]})).artifacts == {"logprobs": part["logprobs"]}


@pytest.mark.parametrize(("sent", "tier"), [("default", "default"), ("flex", "flex"), ("scale", "scale"), (7, None)])
def test_names_the_tier_that_served(sent, tier):
    reply = decode_body(response(message("x"), service_tier=sent))
    assert (reply.service_tier, reply.artifacts) == (tier, None)


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="broke"):
        decode_body(response(error={"code": "server_error", "message": "it broke"}, status="failed"))


@pytest.mark.parametrize("body", [[], "x", None, {}, {"output": None}, {"output": "x"}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decode_body(body)
