"""Answers as the Messages API gives them, written for tests."""

from pollux_sync.testing.server import Answer

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
