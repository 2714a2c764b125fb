"""Answers of the Responses API, for tests."""

from contextlib import contextmanager

from openai import OpenAI

from pollux_sync.testing.server import Answer

KEY = "sk-very-secret"

USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 18,
}


def message(text, *, annotations=(), **fields):
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]} | fields


def refusal(text):
    return message("") | {"content": [{"type": "refusal", "refusal": text}]}


def thought(*summaries):
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": text} for text in summaries],
    }


def function_call(name, arguments, call_id="call_1"):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def response(*output, **fields):
    body = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5-mini-2025-08-07",
        "error": None,
        "incomplete_details": None,
        "output": list(output),
        "store": True,
        "usage": USAGE,
    }
    return body | fields


def answer(*output, headers=None, **fields):
    return Answer(json=response(*output, **fields), headers={"x-request-id": "req_1"} | (headers or {}))


class Files:
    """A handler: the Files API, and the same answer to every question."""

    def __init__(self, *said):
        self.said = said or (message("seen"),)
        self.stored = []
        self.deleted = []
        self.failing = None

    def __call__(self, request):
        if request.path == "/v1/files":
            return self.store(request)
        if request.method == "DELETE":
            self.deleted.append(request.path.removeprefix("/v1/files/"))
            return Answer(json={"id": self.deleted[-1], "object": "file", "deleted": True})
        return answer(*self.said)

    def store(self, request):
        if self.failing and self.failing in request.body:
            return Answer(status=400, json={"error": {"message": "unreadable"}})
        self.stored.append(request)
        name = f"file-{len(self.stored)}"
        # The file is the last part of the form.
        content = request.body.partition(b"filename=")[2].partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        # A server that keeps no bodies does not know the size.
        size = {"bytes": len(content)} if request.body else {}
        facts = {"created_at": 1, "filename": "x", "purpose": "user_data", "status": "processed"} | size
        return Answer(json={"id": name, "object": "file", "expires_at": 86401} | facts)


class OpenAIFacts:
    """The facts about OpenAI's API that the contract suite needs."""

    provider = "openai"
    base_path = "/v1"
    heavy = ("asyncio", "httpx2", "openai", "pydantic")
    client_kinds = ("direct", "sdk")

    def answer(self, text):
        return answer(message(text))

    @contextmanager
    def reach(self, url, client_kind):
        with OpenAI(api_key=self.key, base_url=url) as client:
            yield {"client": client} if client_kind == "sdk" else {"api_key": self.key, "base_url": url}
