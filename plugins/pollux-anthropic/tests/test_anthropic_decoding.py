import json

import pytest

from messages_api import REDACTED, response, text, thinking, tool_use
from pollux_anthropic import STRICT
from pollux_anthropic.decoding import decode
from pollux_sync import Options
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError

TOOL = {
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["city"],
    },
}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}


def decoded(body, *, tools=None):
    call = Call(index=0, model="m", prompt="hi", options=Options(tools=tools))
    return decode(HttpResponse(status=200, body=body), call, STRICT)


def test_reads_text_and_what_is_around_it():
    reply = decoded(response(text("hello")))
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == ("hello", "stop", "end_turn")
    assert (reply.response_id, reply.model) == ("msg_1", "claude-sonnet-4-6")
    assert (reply.reasoning, reply.provider_state, reply.artifacts) == (None, None, None)
    assert reply.usage == Usage(
        input_tokens=11,
        output_tokens=7,
        total_tokens=18,
        reasoning_tokens=3,
        cached_tokens=4,
        cache_write_tokens=2,
    )


def test_parts_text_blocks_by_a_blank_line():
    assert decoded(response(text("a"), text(""), SEARCH, text("b"))).text == "a\n\nb"


def test_joins_what_citations_cut():
    note = {"type": "char_location", "cited_text": "blue"}
    reply = decoded(response(text("The sky is "), text("blue", citations=[note]), text(".")))
    assert reply.text == "The sky is blue."
    assert reply.artifacts == {"citations": [note]}


def test_reads_thoughts_and_keeps_them_for_the_next_turn():
    blocks = [thinking("first"), REDACTED, thinking("then")]
    reply = decoded(response(*blocks, text("x")))
    assert reply.reasoning == "first\n\nthen"
    assert reply.provider_state == {"anthropic_thinking_blocks": blocks}


def test_keeps_thoughts_that_are_not_shown():
    reply = decoded(response(thinking(""), text("x")))
    assert reply.reasoning is None
    assert reply.provider_state == {"anthropic_thinking_blocks": [thinking("")]}


def test_keeps_all_blocks_where_thoughts_stand_between_them():
    blocks = [thinking("a"), text("b"), thinking("c"), tool_use("x", {})]
    assert decoded(response(*blocks, text(""))).provider_state == {"anthropic_content_blocks": blocks}


def test_keeps_blocks_of_the_services_own_tools():
    reply = decoded(response(SEARCH, text("x")))
    assert reply.provider_state == {"anthropic_content_blocks": [SEARCH, text("x")]}
    assert reply.artifacts == {"blocks": [SEARCH]}


def test_reads_tool_calls():
    reply = decoded(response(tool_use("ping", {"né": 1}), stop_reason="tool_use"))
    assert reply.tool_calls == (ToolCall("toolu_1", "ping", '{"né": 1}'),)
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


def test_gives_strict_arguments_back_as_the_tool_declared_them():
    arguments = {"city": "Rome", "days": [{"key": "mon", "value": 3}]}
    (call,) = decoded(response(tool_use("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome", "days": {"mon": 3}}


@pytest.mark.parametrize("tools", [[TOOL], [{"name": "weather"}], None])
def test_leaves_other_arguments_as_they_came(tools):
    (call,) = decoded(response(tool_use("weather", {"days": 3})), tools=tools).tool_calls
    assert json.loads(call.arguments) == {"days": 3}


@pytest.mark.parametrize(
    ("block", "call_id", "arguments"),
    [
        ({"type": "tool_use", "name": "x"}, "call_0", "{}"),
        ({"type": "tool_use", "name": "x", "id": "t", "input": '{"a": 1}'}, "t", '{"a": 1}'),
    ],
)
def test_tolerates_incomplete_tool_calls(block, call_id, arguments):
    assert decoded(response(block)).tool_calls == (ToolCall(call_id, "x", arguments),)


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "refusal"),
        ("something_new", None),
        (None, None),
    ],
)
def test_tells_how_the_answer_ended(raw, finish):
    reply = decoded(response(text("x"), stop_reason=raw))
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, raw)


def test_a_cut_off_tool_call_is_seen_as_cut_off():
    assert decoded(response(tool_use("x", {}), stop_reason="max_tokens")).finish_reason == "length"


def test_says_why_the_model_refused():
    details = {"type": "refusal", "explanation": "not this"}
    reply = decoded(response(stop_reason="refusal", stop_details=details))
    assert (reply.text, reply.artifacts) == ("not this", {"stop_details": details})


@pytest.mark.parametrize("usage", [None, [], {}, {"input_tokens": "many"}])
def test_takes_missing_usage_for_unknown(usage):
    assert decoded(response(text("x"), usage=usage)).usage == Usage()


def test_tolerates_unknown_and_missing_fields():
    body = {"content": [{"type": "text", "text": "x", "new": 1}, None, "junk", {"type": "text"}, {}], "y": 2}
    assert decoded(body).text == "x"


def test_tolerates_an_empty_answer():
    reply = decoded(response())
    assert (reply.text, reply.tool_calls, reply.usage.total_tokens) == ("", (), 18)


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="broke"):
        decoded({"type": "error", "error": {"type": "api_error", "message": "it broke"}})


@pytest.mark.parametrize("body", [[], "x", None, {}, {"content": None}, {"content": "x"}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decoded(body)
