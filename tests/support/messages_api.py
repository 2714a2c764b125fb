"""Answers of the Messages API, for tests."""

from contextlib import contextmanager

import attrs
from anthropic import Anthropic

from pollux_sync.testing.server import Answer
from streams import SSE, sse

USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 4,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 3},
}


def text(words, **fields):
    return {"type": "text", "text": words} | fields


def thinking(words, signature="sig"):
    return {"type": "thinking", "thinking": words, "signature": signature}


REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}


def tool_use(name, arguments, call_id="toolu_1"):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def response(*content, **fields):
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return body | fields


def answer(*content, headers=None, **fields):
    return Answer(json=response(*content, **fields), headers={"request-id": "req_1"} | (headers or {}))


def build_start_event(**fields):
    """Return the first event of a streamed message."""
    counted = {"input_tokens": 11, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 1}
    message = response(stop_reason=None, usage=counted) | fields
    return {"type": "message_start", "message": message}


def block(index, start, *deltas):
    """Return the events of one content block."""
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *pieces,
        {"type": "content_block_stop", "index": index},
    ]


def text_block(index, *pieces):
    return block(index, text(""), *({"type": "text_delta", "text": piece} for piece in pieces))


def thinking_block(index, *pieces, signature="sig"):
    thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    return block(index, thinking("", ""), *thoughts, {"type": "signature_delta", "signature": signature})


def tool_block(index, name, *pieces, call_id="toolu_1", kind="tool_use"):
    written = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, tool_use(name, {}, call_id) | {"type": kind}, *written)


def build_end_events(stop_reason="end_turn", **fields):
    """Return the last two events of a streamed message."""
    counted = {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}
    delta = {"stop_reason": stop_reason, "stop_sequence": None} | fields
    return [{"type": "message_delta", "delta": delta, "usage": counted}, {"type": "message_stop"}]


PING = {"type": "ping"}


def events(*parts):
    """Return the bytes of a stream. A part is one event or a list of events."""
    flat = [event for part in parts for event in (part if isinstance(part, list) else [part])]
    return sse(*((event["type"], event) for event in flat))


def stream_answer(*parts):
    """Return the events as a complete answer; the connection stays open."""
    return Answer(body=events(*parts), headers=SSE | {"request-id": "req_1"})


@attrs.frozen
class UnendedAnswer:
    """A streamed answer without an end: these events, then silence on an open connection."""

    parts: tuple

    def play(self, wire):
        body = events(*self.parts)
        # One byte more than is sent: the client keeps waiting for it.
        wire.send(wire.head(200, SSE, {"Content-Length": str(len(body) + 1)}) + body)


class Files:
    """A handler: the Files API, and the same answer to every question."""

    def __init__(self, *said):
        self.said = said or (text("seen"),)
        self.stored = []
        self.deleted = []
        self.failing = None
        self.refused = None

    def __call__(self, request):
        path = request.path.partition("?")[0]
        if path == "/v1/files":
            return self.store(request)
        if request.method == "DELETE":
            self.deleted.append(path.removeprefix("/v1/files/"))
            return Answer(json={"id": self.deleted[-1], "type": "file_deleted"})
        if self.refused and request.json()["messages"][0]["content"][-1]["text"] == self.refused:
            return Answer(status=400, json={"type": "error", "error": {"message": "bad prompt"}})
        return answer(*self.said)

    def store(self, request):
        if self.failing and self.failing in request.body:
            return Answer(status=400, json={"type": "error", "error": {"message": "unreadable"}})
        self.stored.append(request)
        name = f"file-{len(self.stored)}"
        facts = {"created_at": "2026-11-20T10:00:00Z", "filename": "x", "mime_type": "x", "size_bytes": 3}
        return Answer(json={"id": name, "type": "file", "expires_at": "2026-11-21T10:00:00Z"} | facts)


class AnthropicFacts:
    """The facts about Anthropic's API that the contract suite needs."""

    provider = "anthropic"
    model = "claude-sonnet-4-6"
    heavy = ("anthropic", "asyncio", "httpx2", "pydantic")
    client_kinds = ("direct", "sdk")

    def answer(self, words):
        return answer(text(words))

    def refuse(self, status, message):
        return Answer(status=status, json={"type": "error", "error": {"type": "some_error", "message": message}})

    @contextmanager
    def reach(self, url, client_kind):
        with Anthropic(api_key=self.key, base_url=url) as client:
            yield {"client": client} if client_kind == "sdk" else {"api_key": self.key, "base_url": url}
