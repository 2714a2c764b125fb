"""Answers of llama.cpp and similar servers, for tests."""

from pollux_sync.testing.server import Answer

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def tool_call(name, arguments, call_id="call_1"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def completion(content="hello", *, finish="stop", body=None, **message):
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
    fields = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1780694823,
        "model": "tiny.gguf",
        "system_fingerprint": "b9101-abc",
        "choices": [choice],
        "usage": USAGE,
        "timings": {"prompt_n": 11, "predicted_n": 7},
    }
    return fields | (body or {})


def answer(content="hello", **fields):
    return Answer(json=completion(content, **fields))


class LocalFacts:
    """The facts about a Chat Completions server that the contract suite needs."""

    provider = "local"
    base_path = "/v1"

    def answer(self, text):
        return answer(text)
