"""Answers of OpenRouter, for tests."""

from pollux_sync.testing.server import Answer

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "cost": 0.00093,
    "cost_details": {"upstream_inference_cost": 0.00093},
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def completion(content="hello", *, finish="stop", native="end_turn", body=None, **message):
    choice = {
        "index": 0,
        "finish_reason": finish,
        "native_finish_reason": native,
        "logprobs": None,
        "message": {"role": "assistant", "content": content, "refusal": None, "reasoning": None} | message,
    }
    fields = {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 1780694823,
        "model": "acme/one-20260101",
        "provider": "Acme Cloud",
        "system_fingerprint": None,
        "choices": [choice],
        "usage": USAGE,
    }
    return fields | (body or {})


def answer(content="hello", **fields):
    return Answer(json=completion(content, **fields))


def failure(status, message, *, code=None, **metadata):
    error = {"message": message, "code": code or status} | ({"metadata": metadata} if metadata else {})
    return Answer(status=status, json={"error": error, "user_id": "user_1"})


def tool_call(name, arguments, call_id="call_1"):
    return {"id": call_id, "index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}


class OpenRouterFacts:
    """The facts about OpenRouter that the contract suite needs."""

    provider = "openrouter"
    model = "acme/one"
    base_path = "/api/v1"

    def answer(self, text):
        return answer(text)

    def refuse(self, status, message):
        return failure(status, message)
