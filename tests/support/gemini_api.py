"""Answers and files of the Gemini API, for tests."""

import itertools
from contextlib import contextmanager
from typing import Literal

import attrs
from google import genai

from pollux_sync.testing.server import Answer
from streams import SSE, sse

KEY = "AIza-very-secret"

USAGE = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 18,
    "cachedContentTokenCount": 2,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}],
}


def text(content, **fields):
    return {"text": content} | fields


def thought(content, **fields):
    return {"text": content, "thought": True} | fields


def function_call(name, args=None, *, call_id=None, signature=None):
    call = {"name": name, "args": args or {}} | ({"id": call_id} if call_id else {})
    return {"functionCall": call} | ({"thoughtSignature": signature} if signature else {})


def candidate(*parts, **fields):
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0} | fields


def response(*parts, **fields):
    body = {"usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
    return {"candidates": [candidate(*parts)]} | body | fields


def answer(*parts, **fields):
    return Answer(json=response(*parts, **fields))


def piece(*parts, usage=None, **fields):
    """Return an event of a streamed answer; the fields are those of its candidate."""
    body = {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0} | fields]}
    return body | {"modelVersion": "gemini-2.5-flash", "responseId": "r1"} | ({"usageMetadata": usage} if usage else {})


def last_piece(*parts, **fields):
    """Return the last event of a streamed answer."""
    return piece(*parts, **({"usage": USAGE, "finishReason": "STOP"} | fields))


@attrs.frozen
class StreamedAnswer:
    """A streamed answer: the events, then its end, silence until the client leaves, or a closed connection."""

    events: tuple
    then: Literal["end", "silence", "close"] = "end"

    def play(self, wire):
        wire.send(wire.head(200, SSE | {"Transfer-Encoding": "chunked"}, {}))
        for event in self.events:
            data = sse(event)
            wire.send(b"%x\r\n%b\r\n" % (len(data), data))
        if self.then == "end":
            wire.send(b"0\r\n\r\n")
        elif self.then == "close":
            wire.close()
        else:
            wire.read_request(keep_body=False)


def build_streamed_answer(*events, **fields):
    return StreamedAnswer(events, **fields)


def error(code, message, status="SOME_STATUS", details=()):
    return Answer(
        status=code, json={"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    )


class Files:
    """A handler: the Files API, and the same answer to every question."""

    def __init__(self, *, states=("ACTIVE",)):
        self.stored = []
        self.deleted = []
        self.failing = None
        self._states = states
        self._looks = {}
        self._numbers = itertools.count(1)

    def __call__(self, request):
        if "/upload/" in request.path:
            return self.start(request)
        if request.path.startswith("/stored/"):
            return self.store(request)
        name = f"files/{request.path.rpartition('/')[2]}"
        if request.method == "DELETE":
            self.deleted.append(name)
            return Answer(json={})
        return Answer(json=self.file(name)) if request.method == "GET" else answer(text("seen"))

    def start(self, request):
        if self.failing and self.failing in request.body:
            return error(400, "unreadable")
        url = f"http://{request.headers['host']}/stored/{next(self._numbers)}"
        return Answer(json={}, headers={"x-goog-upload-url": url})

    def store(self, request):
        self.stored.append(request)
        is_last = "finalize" in request.headers["x-goog-upload-command"]
        file = self.file(f"files/{request.path.rpartition('/')[2]}")
        headers = {"x-goog-upload-status": "final" if is_last else "active"}
        return Answer(json={"file": file} if is_last else {}, headers=headers)

    def file(self, name):
        look = self._looks[name] = self._looks.get(name, -1) + 1
        state = self._states[min(look, len(self._states) - 1)]
        facts = {"name": name, "uri": f"https://files.example/{name}", "displayName": "x", "state": state}
        facts["expirationTime"] = "2030-01-01T00:00:00Z"
        return facts | ({"error": {"code": 3, "message": "broken film"}} if state == "FAILED" else {})


class GeminiFacts:
    """The facts about the Gemini API that the contract suite needs."""

    provider = "gemini"
    model = "gemini-2.5-flash"
    heavy = ("asyncio", "google", "httpx2", "pydantic")
    client_kinds = ("direct", "sdk")

    def answer(self, words):
        return answer(text(words))

    def refuse(self, status, message):
        return error(status, message)

    @contextmanager
    def reach(self, url, client_kind):
        options = {"base_url": url, "api_version": "v1beta", "retry_options": {"attempts": 3, "initial_delay": 0.01}}
        with genai.Client(vertexai=False, api_key=self.key, http_options=options) as client:
            yield {"client": client} if client_kind == "sdk" else {"api_key": self.key, "base_url": url}
