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


class Files:
    """The Files API and an answer for every question."""

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
