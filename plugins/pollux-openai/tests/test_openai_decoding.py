import json

import pytest

from pollux_openai import STRICT
from pollux_openai.decoding import decode
from pollux_sync import Options
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError
from responses_api import USAGE, function_call, message, refusal, response, thought

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


def decoded(body, *, tools=None):
    call = Call(index=0, model="m", prompt="hi", options=Options(tools=tools))
    return decode(HttpResponse(status=200, body=body), call, STRICT)


def test_reads_text_and_what_is_around_it():
    reply = decoded(response(message("hello")))
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == ("hello", "stop", "completed")
    assert (reply.response_id, reply.model) == ("resp_1", "gpt-5-mini-2025-08-07")
    assert reply.usage == Usage(
        input_tokens=11,
        output_tokens=7,
        total_tokens=18,
        reasoning_tokens=3,
        cached_tokens=4,
        cache_write_tokens=1,
    )


def test_joins_the_texts_of_several_messages():
    assert decoded(response(message("a"), message("b"))).text == "ab"


def test_reads_reasoning_summaries():
    assert decoded(response(thought("first", "then"), message("x"))).reasoning == "first\n\nthen"


def test_reads_reasoning_text_where_there_is_no_summary():
    item = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert decoded(response(item, message("x"))).reasoning == "hm"


@pytest.mark.parametrize("item", [thought(), {"type": "reasoning"}, {"type": "reasoning", "summary": None}])
def test_has_no_reasoning_where_none_is_shown(item):
    assert decoded(response(item, message("x"))).reasoning is None


def test_reads_tool_calls():
    reply = decoded(response(function_call("ping", "{}")))
    assert reply.tool_calls == (ToolCall("call_1", "ping", "{}"),)
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


def test_gives_strict_arguments_back_as_the_tool_declared_them():
    arguments = json.dumps({"city": "Rome", "days": [{"key": "mon", "value": 3}]})
    (call,) = decoded(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome", "days": {"mon": 3}}


def test_drops_the_null_of_an_optional_argument():
    arguments = json.dumps({"city": "Rome", "days": None})
    (call,) = decoded(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome"}


@pytest.mark.parametrize("arguments", ["not json", '{"days": 3}', "[]"])
def test_leaves_arguments_that_do_not_fit_as_they_came(arguments):
    (call,) = decoded(response(function_call("weather", arguments)), tools=[TOOL]).tool_calls
    assert call.arguments == arguments


def test_leaves_arguments_of_a_tool_that_is_not_strict():
    arguments = '{"city": "Rome", "days": null}'
    (call,) = decoded(response(function_call("weather", arguments)), tools=[TOOL | {"strict": False}]).tool_calls
    assert call.arguments == arguments


@pytest.mark.parametrize(
    ("item", "call_id", "arguments"),
    [
        ({"type": "function_call", "name": "x", "id": "fc"}, "fc", "{}"),
        ({"type": "function_call", "name": "x", "arguments": {"a": 1}}, "call_0", '{"a": 1}'),
    ],
)
def test_tolerates_incomplete_tool_calls(item, call_id, arguments):
    assert decoded(response(item)).tool_calls == (ToolCall(call_id, "x", arguments),)


@pytest.mark.parametrize(
    ("fields", "finish", "raw"),
    [
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "length",
            "max_output_tokens",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            "content_filter",
        ),
        ({"status": "failed"}, "error", "failed"),
        ({"status": "in_progress"}, None, "in_progress"),
        ({"status": None}, None, None),
    ],
)
def test_tells_how_the_answer_ended(fields, finish, raw):
    reply = decoded(response(message("x"), **fields))
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, raw)


def test_a_cut_off_tool_call_is_seen_as_cut_off():
    body = response(function_call("x", "{"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert decoded(body).finish_reason == "length"


def test_reads_a_refusal():
    reply = decoded(response(refusal("I can't")))
    assert (reply.text, reply.finish_reason) == ("I can't", "refusal")


def test_keeps_annotations_and_foreign_items():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    note = {"type": "url_citation", "url": "https://a.example"}
    reply = decoded(response(search, message("x", annotations=[note])))
    assert reply.artifacts == {"annotations": [note], "items": [search]}


@pytest.mark.parametrize("usage", [None, [], {}, {"input_tokens": "many"}])
def test_takes_missing_usage_for_unknown(usage):
    assert decoded(response(message("x"), usage=usage)).usage == Usage()


def test_tolerates_unknown_and_missing_fields():
    body = {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "x", "new": 1}, None]}, "junk"],
        "y": 2,
    }
    assert decoded(body).text == "x"


def test_tolerates_an_empty_answer():
    reply = decoded(response())
    assert (reply.text, reply.tool_calls, reply.usage.total_tokens) == ("", (), USAGE["total_tokens"])


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="broke"):
        decoded(response(error={"code": "server_error", "message": "it broke"}, status="failed"))


@pytest.mark.parametrize("body", [[], "x", None, {}, {"output": None}, {"output": "x"}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decoded(body)
