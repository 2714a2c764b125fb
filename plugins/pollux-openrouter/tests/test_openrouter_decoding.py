import json

import pytest

from openrouter_api import answer, completion, tool_call
from pollux_openrouter.chatting import decode
from pollux_sync import Options, continue_tool, run
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Usage
from pollux_sync.data.request import Call
from pollux_sync.wire.faults import HttpError, ReplyError

SIGNED = [{"type": "reasoning.text", "text": "hm", "signature": "s1", "format": "anthropic-claude-v1", "index": 0}]
TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}


def reply_to(body, **options):
    call = Call(index=0, model="acme/one", prompt="hi", options=Options(**options))
    return decode(HttpResponse(status=200, body=body), call)


def test_reads_text_usage_cost_and_who_answered():
    reply = reply_to(completion())
    assert (reply.text, reply.response_id, reply.model) == ("hello", "gen-1", "acme/one-20260101")
    assert reply.usage == Usage(
        input_tokens=11,
        output_tokens=7,
        total_tokens=18,
        reasoning_tokens=3,
        cached_tokens=4,
        cache_write_tokens=1,
    )
    assert reply.artifacts == {"cost": 0.00093, "provider": "Acme Cloud"}


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
    reply = reply_to(completion(finish=finish, native=native))
    assert (reply.finish_reason, reply.raw_finish_reason) == expected


def test_keeps_annotations_and_images_as_artifacts():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    reply = reply_to(completion(annotations=[{"type": "url_citation"}], images=[image]))
    assert reply.artifacts["annotations"] == [{"type": "url_citation"}]
    assert reply.artifacts["images"] == [image]


@pytest.mark.parametrize("body", [{"usage": None, "provider": None}, {"usage": [], "provider": None}])
def test_has_no_artifacts_where_there_is_nothing_to_tell(body):
    assert reply_to(completion(body=body)).artifacts is None


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
    assert reply_to(completion(**message)).reasoning == reasoning


def test_brings_tool_arguments_back_as_declared():
    body = completion(None, finish="tool_calls", tool_calls=[tool_call("weather", '{"city": "Rome", "unit": null}')])
    reply = reply_to(body, tools=[TOOL])
    assert (json.loads(reply.tool_calls[0].arguments), reply.finish_reason) == ({"city": "Rome"}, "tool_calls")


def test_raises_for_an_error_inside_a_choice():
    body = completion(body={"choices": [{"error": {"code": 502, "message": "upstream died"}, "message": None}]})
    with pytest.raises(HttpError, match="upstream died"):
        reply_to(body)


def test_raises_when_there_is_no_answer():
    with pytest.raises(ReplyError):
        reply_to({"choices": []})


def test_tolerates_a_choice_without_a_message():
    assert reply_to(completion(body={"choices": [{"message": None, "finish_reason": "stop"}]})).text == ""


def test_replays_tools_and_reasoning_on_their_turn(server, config):
    call = tool_call("weather", '{"city": "Rome", "unit": null}')
    server.reply(
        answer(None, finish="tool_calls", tool_calls=[call], reasoning="hm", reasoning_details=SIGNED),
        answer("sunny in Rome"),
        answer("you are welcome"),
    )
    asked = run("weather?", config=config(), options=Options(tools=[TOOL], history=[]))
    results = [{"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    told = continue_tool(asked, results, config=config(), options=Options(tools=[TOOL]))
    run("thanks", config=config(), options=Options(continue_from=json.loads(json.dumps(told))))
    messages = server.requests[2].json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    turn = messages[1]
    assert (turn["content"], turn["reasoning"], turn["reasoning_details"]) == (None, "hm", SIGNED)
    assert turn["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert messages[2] == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}
    assert "reasoning" not in messages[3]
