import json

import attrs
import pytest

from messages_api import REDACTED, response, text, thinking, tool_use
from pollux_anthropic import STRICT
from pollux_anthropic.decoding import decode
from pollux_sync import Options
from pollux_sync.data.findings import Citation, HostedCall
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields

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


def decode_body(body, *, tools=None):
    call = Call(index=0, model="m", prompt="hi", options=Options(tools=tools))
    return decode(HttpResponse(status=200, body=body), call, STRICT)


COUNTED = Usage(
    input_tokens=17, output_tokens=7, total_tokens=24, reasoning_tokens=3, cached_tokens=4, cache_write_tokens=2
)
PLAIN = Reply(
    usage=COUNTED,
    finish_reason="stop",
    raw_finish_reason="end_turn",
    response_id="msg_1",
    model="claude-sonnet-4-6",
)
CALLED = {"finish_reason": "tool_calls", "raw_finish_reason": "tool_use"}
CUT_OFF = {"finish_reason": "length", "raw_finish_reason": "max_tokens"}
REFUSED = {"finish_reason": "refusal", "raw_finish_reason": "refusal"}
WHY = {"type": "refusal", "category": "bio", "explanation": "not this"}
NOTE = {"type": "char_location", "cited_text": "blue"}
THOUGHTS = [thinking("first"), REDACTED, thinking("then")]

#: What Claude may answer, and what of the reply differs from an empty one that ended by itself.
TRANSCRIPTS = {
    "normal": (response(text("hello")), {"text": "hello"}),
    "citations": (
        response(text("The sky is "), text("blue", citations=[NOTE]), text(".")),
        {
            "text": "The sky is blue.",
            "citations": (Citation(text="blue", start=11, end=15),),
            "artifacts": {"citations": [NOTE]},
        },
    ),
    "tool": (
        response(tool_use("ping", {"né": 1}) | {"caller": {"type": "direct"}}, stop_reason="tool_use"),
        CALLED | {"tool_calls": (ToolCall("toolu_1", "ping", '{"né": 1}'),)},
    ),
    "parallel tools": (
        response(text("both"), tool_use("a", {"n": 1}), tool_use("b", {}, "toolu_2"), stop_reason="tool_use"),
        CALLED | {"text": "both", "tool_calls": (ToolCall("toolu_1", "a", '{"n": 1}'), ToolCall("toolu_2", "b", "{}"))},
    ),
    "reasoning": (
        response(*THOUGHTS, text("x")),
        {"text": "x", "reasoning": "first\n\nthen", "provider_state": {"anthropic_thinking_blocks": THOUGHTS}},
    ),
    "refusal": (response(text("I can't"), stop_reason="refusal"), REFUSED | {"text": "I can't"}),
    "refusal with its reason": (
        response(stop_reason="refusal", stop_details=WHY),
        REFUSED | {"text": "not this", "artifacts": {"stop_details": WHY}},
    ),
    "truncated": (response(text("hel"), stop_reason="max_tokens"), CUT_OFF | {"text": "hel"}),
    "truncated before the first word": (
        response(thinking("hm"), stop_reason="max_tokens"),
        CUT_OFF | {"reasoning": "hm", "provider_state": {"anthropic_thinking_blocks": [thinking("hm")]}},
    ),
    "a call that was cut off": (
        response(tool_use("x", {}), stop_reason="max_tokens"),
        CUT_OFF | {"tool_calls": (ToolCall("toolu_1", "x", "{}"),)},
    ),
    "filtered": (response(stop_reason="refusal", stop_details=None), REFUSED),
    "empty": (response(), {}),
    "a tool of the service": (
        response(SEARCH, text("x")),
        {
            "text": "x",
            "provider_state": {"anthropic_content_blocks": [SEARCH, text("x")]},
            "artifacts": {"blocks": [SEARCH]},
            "hosted_calls": (HostedCall(kind="web_search", name="web_search", id="srvtoolu_1", input={"query": "x"}),),
        },
    ),
}


@pytest.mark.parametrize(("body", "fields"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_reads_an_answer(body, fields):
    assert decode_body(body) == attrs.evolve(PLAIN, **fields)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_with_fields_it_does_not_know(body):
    assert remove_unknown_fields(decode_body(add_unknown_fields(body, own=["input"]))) == decode_body(body)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_without_any_one_field(body):
    answers = [less for less in iter_field_removals(body) if less.get("content")]
    assert all(decode_body(less) for less in answers)


def test_parts_text_blocks_by_a_blank_line():
    assert decode_body(response(text("a"), text(""), SEARCH, text("b"))).text == "a\n\nb"


def test_keeps_thinking_blocks_without_text():
    reply = decode_body(response(thinking(""), text("x")))
    assert reply.reasoning is None
    assert reply.provider_state == {"anthropic_thinking_blocks": [thinking("")]}


def test_keeps_all_blocks_where_thoughts_stand_between_them():
    blocks = [thinking("a"), text("b"), thinking("c"), tool_use("x", {})]
    assert decode_body(response(*blocks, text(""))).provider_state == {"anthropic_content_blocks": blocks}


def test_gives_strict_arguments_back_as_the_tool_declared_them():
    arguments = {"city": "Rome", "days": [{"key": "mon", "value": 3}]}
    (call,) = decode_body(response(tool_use("weather", arguments)), tools=[TOOL]).tool_calls
    assert json.loads(call.arguments) == {"city": "Rome", "days": {"mon": 3}}


@pytest.mark.parametrize("tools", [[TOOL], [{"name": "weather"}], None])
def test_leaves_other_arguments_as_they_came(tools):
    (call,) = decode_body(response(tool_use("weather", {"days": 3})), tools=tools).tool_calls
    assert json.loads(call.arguments) == {"days": 3}


@pytest.mark.parametrize(
    ("block", "call_id", "arguments"),
    [
        ({"type": "tool_use", "name": "x"}, "call_0", "{}"),
        ({"type": "tool_use", "name": "x", "id": "t", "input": '{"a": 1}'}, "t", '{"a": 1}'),
    ],
)
def test_tolerates_incomplete_tool_calls(block, call_id, arguments):
    assert decode_body(response(block)).tool_calls == (ToolCall(call_id, "x", arguments),)


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "paused"),
        ("refusal", "refusal"),
        ("something_new", None),
        (None, None),
    ],
)
def test_tells_how_the_answer_ended(raw, finish):
    reply = decode_body(response(text("x"), stop_reason=raw))
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, raw)


@pytest.mark.parametrize(("code", "is_error"), [(0, False), (1, True), (None, False)])
def test_knows_code_that_failed_by_its_return_code(code, is_error):
    use = {"type": "server_tool_use", "id": "srv_1", "name": "bash_code_execution", "input": {}}
    run = {"type": "bash_code_execution_result", "stdout": "", "stderr": "", "return_code": code, "content": []}
    result = {"type": "bash_code_execution_tool_result", "tool_use_id": "srv_1", "content": run}
    (call,) = decode_body(response(use, result)).hosted_calls
    assert call.is_error is is_error


@pytest.mark.parametrize("usage", [None, [], {}, {"input_tokens": "many"}])
def test_takes_missing_usage_for_unknown(usage):
    assert decode_body(response(text("x"), usage=usage)).usage == Usage()


def test_tolerates_unknown_and_missing_fields():
    body = {"content": [{"type": "text", "text": "x", "new": 1}, None, "junk", {"type": "text"}, {}], "y": 2}
    assert decode_body(body).text == "x"


@pytest.mark.parametrize(("sent", "tier"), [("standard", "default"), ("priority", "priority"), ("batch", "batch")])
def test_names_the_tier_that_served(sent, tier):
    reply = decode_body(response(text("x"), usage={"service_tier": sent}))
    assert (reply.service_tier, reply.artifacts) == (tier, None)


def test_keeps_the_stop_sequence_the_container_and_the_searches():
    container = {"id": "container_1", "expires_at": "2026-11-26T00:00:00Z"}
    usage = {"server_tool_use": {"web_search_requests": 2}}
    body = response(text("x"), stop_sequence="END", container=container, usage=usage)
    assert decode_body(body).artifacts == {"stop_sequence": "END", "container": container} | usage


def test_counts_cached_tokens_as_input():
    counts = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}
    usage = decode_body(response(usage=counts)).usage
    assert (usage.input_tokens, usage.total_tokens, usage.cached_tokens, usage.cache_write_tokens) == (
        125,
        126,
        100,
        20,
    )


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="broke"):
        decode_body({"type": "error", "error": {"type": "api_error", "message": "it broke"}})


@pytest.mark.parametrize("body", [[], "x", None, {}, {"content": None}, {"content": "x"}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decode_body(body)
