"""Streams as OpenRouter sends them: comments while it waits, reasoning in pieces, the vendor's own reason last."""

import pytest

from openrouter_api import USAGE, OpenRouterFacts, completion, tool_call
from pollux_sync import APIError, Options, StreamStart, stream
from pollux_sync.testing.contract import StreamingContract, Transcript
from pollux_sync.testing.server import Events
from streams import sse

HEAD = {name: value for name, value in completion().items() if name not in {"choices", "usage"}}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
WAITING = b": OPENROUTER PROCESSING\n\n"


def chunk(finish=None, native=None, **delta):
    choice = {
        "index": 0,
        "delta": {"role": "assistant"} | delta,
        "finish_reason": finish,
        "native_finish_reason": native,
    }
    return HEAD | {"choices": [choice | {"logprobs": None}]}


def build_transcript(*pieces, finish="stop", native="end_turn"):
    last = HEAD | {"choices": [], "usage": USAGE}
    return WAITING + sse(*(chunk(**piece) for piece in pieces), chunk(finish, native, content=""), last, done=True)


def thought(text="", **fields):
    detail = {"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0} | fields
    return {"content": "", "reasoning": text or None, "reasoning_details": [detail]}


SIGNED = {"type": "reasoning.text", "text": "2 and 2", "format": "anthropic-claude-v1", "index": 0, "signature": "s1"}
SEALED = {"type": "reasoning.encrypted", "data": "xyz", "id": "rs_1", "format": "openai", "index": 0}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
MORE = {"index": 0, "function": {"arguments": '{"a": 1}'}}

TRANSCRIPTS = {
    "text": (completion("Hé, 世界!"), build_transcript({"content": "Hé, "}, {"content": "世界!"})),
    "nothing": (completion(""), build_transcript()),
    "signed reasoning": (
        completion("4", reasoning="2 and 2", reasoning_details=[SIGNED]),
        build_transcript(thought("2 and"), thought(" 2"), thought(signature="s1"), {"content": "4"}),
    ),
    "sealed reasoning": (
        completion("4", reasoning_details=[SEALED]),
        build_transcript({"content": "", "reasoning": None, "reasoning_details": [SEALED]}, {"content": "4"}),
    ),
    "cut at max_tokens": (
        completion("Once", finish="length", native="max_tokens"),
        build_transcript({"content": "Once"}, finish="length", native="max_tokens"),
    ),
    "filtered": (
        completion("Th", finish="content_filter", native="SAFETY"),
        build_transcript({"content": "Th"}, finish="content_filter", native="SAFETY"),
    ),
    "tool call": (
        completion(None, finish="tool_calls", native="tool_use", tool_calls=[tool_call("add", '{"a": 1}')]),
        build_transcript({"tool_calls": [CALL]}, {"tool_calls": [MORE]}, finish="tool_calls", native="tool_use"),
    ),
    "annotations": (
        completion("See.", annotations=[{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]),
        build_transcript(
            {"content": "See."},
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]},
        ),
    ),
}


class TestOpenRouterStreams(OpenRouterFacts, StreamingContract):
    joins_streams = True
    transcripts = {
        name: Transcript(body, stream, Options(tools=[ADD]) if "tool" in name else None)
        for name, (body, stream) in TRANSCRIPTS.items()
    }
    partial = WAITING + sse(chunk(content="half"))


def test_asks_for_a_stream_with_usage(server, config):
    server.reply(Events([build_transcript({"content": "x"})]))
    events = stream("hi", config=config())
    assert next(events) == StreamStart(model="acme/one-20260101", response_id="gen-1")
    assert events.result()["answers"] == ["x"]
    body = server.requests[0].json()
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_retries_an_error_before_the_first_event_and_raises_a_later_one(server, config):
    failed = {"error": {"code": 502, "message": "upstream died"}}
    late = chunk() | failed | {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}
    server.reply(Events([sse(failed)]), Events([sse(chunk(content="half"), late)]))
    with pytest.raises(APIError, match="upstream died") as caught:
        stream("hi", config=config()).result()
    assert (caught.value.partial_text, [attempt.status_code for attempt in caught.value.attempts]) == (
        "half",
        [502, 502],
    )
