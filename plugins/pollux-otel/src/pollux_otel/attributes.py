"""Calls, replies and failures -> attributes of spans, by the names of the semantic conventions (gen_ai.*, 1.44)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from pollux_sync.plugin import APIError, TextPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pollux_sync.plugin import Attempt, Call, Hooks, Part, Reply, ToolCall, Turn

Attributes: TypeAlias = "dict[str, str | bool | int | float | Sequence[str]]"

#: Providers whose well-known value of ``gen_ai.provider.name`` is not our name.
_PROVIDER_NAMES = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}


def describe_call(call: Call, hooks: Hooks) -> Attributes:
    """Return what is known of a call before it is sent, without its content."""
    options = call.options
    stop = [options.stop] if isinstance(options.stop, str) else options.stop
    place = urlsplit(hooks.destination or "")
    wants_json = call.response_schema is not None or options.wants_json_object
    return _drop_missing(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDER_NAMES.get(hooks.info.name, hooks.info.name),
            "gen_ai.request.model": call.model,
            "gen_ai.request.max_tokens": options.max_tokens,
            "gen_ai.request.temperature": options.temperature,
            "gen_ai.request.top_p": options.top_p,
            "gen_ai.request.seed": options.seed,
            "gen_ai.request.stop_sequences": stop,
            "gen_ai.output.type": "json" if wants_json else "text",
            "server.address": place.hostname,
            "server.port": place.port,
        }
    )


def describe_reply(reply: Reply) -> Attributes:
    """Return what is known of a call that was answered, without the answer."""
    usage = reply.usage
    return _drop_missing(
        {
            "gen_ai.response.id": reply.response_id,
            "gen_ai.response.model": reply.model,
            "gen_ai.response.finish_reasons": reply.finish_reason and [reply.finish_reason],
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "pollux.cost_usd": None if reply.cost_usd is None else float(reply.cost_usd),
        }
    )


def describe_attempt(number: int, attempt: Attempt) -> Attributes:
    """Return what is known of one physical attempt; ``number`` counts the earlier ones."""
    return _drop_missing(
        {
            "http.request.resend_count": number or None,
            "http.response.status_code": attempt.status_code,
            "error.type": attempt.kind,
            "pollux.request_id": attempt.request_id,
        }
    )


def describe_tool(call: ToolCall) -> Attributes:
    """Return what is known of a tool before it runs, without its arguments."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.call.id": call.id,
        "gen_ai.tool.type": "function",
    }


def name_error(error: BaseException) -> str:
    """Return the kind of a failure: there are few, and none has content."""
    return error.kind if isinstance(error, APIError) else type(error).__name__


def dump_question(call: Call) -> Attributes:
    """Return the content of a call: its instruction, and its turns with the prompt as the last."""
    turns = [] if call.conversation is None else list(map(_dump_turn, call.conversation.turns))
    if call.prompt is not None or call.parts:
        turns.append({"role": "user", "parts": [*_dump_parts(call.parts), *_dump_text(call.prompt)]})
    instruction = [*_dump_text(call.options.system_instruction)]
    return {
        "gen_ai.input.messages": _dump_json(turns),
        **({"gen_ai.system_instructions": _dump_json(instruction)} if instruction else {}),
    }


def dump_answer(reply: Reply) -> Attributes:
    """Return the content of an answer."""
    reasoning = [{"type": "reasoning", "content": reply.reasoning}] if reply.reasoning else []
    parts = [*reasoning, *_dump_text(reply.text), *map(_dump_tool_call, reply.tool_calls)]
    message = {"role": "assistant", "parts": parts, "finish_reason": reply.finish_reason or "error"}
    return {"gen_ai.output.messages": _dump_json([message])}


def _dump_turn(turn: Turn) -> dict[str, Any]:
    if turn.role == "tool":
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": turn.tool_call_id, "response": turn.content}],
        }
    parts = [*_dump_parts(turn.parts), *_dump_text(turn.content), *map(_dump_tool_call, turn.tool_calls)]
    return {"role": turn.role, "parts": parts}


def _dump_parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    # Of a file there is only the type: its name and its bytes were not asked for.
    return [
        {"type": "text", "content": part.text}
        if isinstance(part, TextPart)
        else {"type": "file", "mime_type": part.source.mime_type}
        for part in parts
    ]


def _dump_text(text: str | None) -> list[dict[str, Any]]:
    return [{"type": "text", "content": text}] if text else []


def _dump_tool_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _drop_missing(values: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}
