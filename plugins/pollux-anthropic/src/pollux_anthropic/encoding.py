"""From a Call to the body of ``POST /v1/messages``. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_anthropic.thinking import choose_max_tokens, encode_effort, encode_thinking, find_thinking_problem
from pollux_sync.data.provider import HttpRequest, Problem
from pollux_sync.data.request import AssetPart, TextPart, UriPart
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.tools import find_strict_problem, lower_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Call, Part, Turn
    from pollux_sync.schemas import SchemaDialect

Block = dict[str, Any]

#: The version of the API that this module writes and `decoding` reads.
VERSION_HEADER = "anthropic-version"
VERSION = "2023-06-01"
BETA_HEADER = "anthropic-beta"
FILES_BETA = "files-api-2025-04-14"
INTERLEAVED_BETA = "interleaved-thinking-2025-05-14"

#: The body fields that `encode` writes: raw provider options may not set them.
MANAGED_FIELDS = frozenset(
    {"model", "messages", "max_tokens", "system", "temperature", "top_p", "tools", "tool_choice"}
    | {"thinking", "output_config", "cache_control", "stream"}
)

#: Keys of a turn's provider state: its thoughts; or all its blocks, where their order says more than the turn does.
THOUGHTS = "anthropic_thinking_blocks"
BLOCKS = "anthropic_content_blocks"

THOUGHT_TYPES = frozenset({"thinking", "redacted_thinking"})
#: What the service takes for counting.
_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
)
_SYSTEM_ROLES = frozenset({"system", "developer"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_EMPTY_OBJECT: dict[str, Any] = {"type": "object"}


def encode(call: Call, dialect: SchemaDialect) -> HttpRequest:
    """The call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    options = call.options
    body: dict[str, Any] = {
        "model": call.model,
        "max_tokens": choose_max_tokens(call),
        "messages": list(_messages(call)),
    }
    settings = {
        "system": _system(call),
        "temperature": options.temperature,
        "top_p": options.top_p,
        "tools": [_tool(tool, dialect) for tool in options.tools] if options.tools else None,
        "tool_choice": _tool_choice(options.tool_choice),
        "thinking": encode_thinking(call),
        "output_config": _output_config(call) or None,
        "cache_control": {"type": "ephemeral"} if options.implicit_caching else None,
    }
    body.update((name, value) for name, value in settings.items() if value is not None)
    return HttpRequest(path="/v1/messages", body=body, headers=_headers(call, body))


def build_count_request(request: HttpRequest) -> HttpRequest:
    """The request that has the input tokens of this one counted."""
    body = {name: value for name, value in (request.body or {}).items() if name in _COUNTED}
    return attrs.evolve(request, path="/v1/messages/count_tokens", body=body)


def find_problem(call: Call, dialect: SchemaDialect) -> Problem | None:
    """What the service would refuse, found before anything is sent."""
    temperature = call.options.temperature
    if temperature is not None and temperature > 1:
        return Problem(f"temperature must be at most 1, got {temperature:g}", "Anthropic's scale ends at 1")
    return find_thinking_problem(call) or find_strict_problem(call.options.tools or (), dialect)


def _headers(call: Call, body: Mapping[str, Any]) -> dict[str, str]:
    betas = [FILES_BETA] if any(isinstance(part, AssetPart) for part in call.all_parts) else []
    if body.get("tools") and body.get("thinking", {}).get("type") == "enabled":
        betas.append(INTERLEAVED_BETA)
    return {VERSION_HEADER: VERSION} | ({BETA_HEADER: ",".join(betas)} if betas else {})


def _system(call: Call) -> str | None:
    turns = call.conversation.turns if call.conversation else ()
    told = [turn.content for turn in turns if turn.role in _SYSTEM_ROLES]
    return "\n\n".join(text for text in (call.options.system_instruction, *told) if text) or None


def _messages(call: Call) -> Iterator[dict[str, Any]]:
    """Turns, then the question; neighbours of one role become one message."""
    role, content = "", list[Block]()
    for speaker, blocks in _spoken(call):
        if speaker != role:
            if content:
                yield {"role": role, "content": content}
            role, content = speaker, []
        content += blocks
    if content:
        yield {"role": role, "content": content}


def _spoken(call: Call) -> Iterator[tuple[str, list[Block]]]:
    """Who says what, in order; without what is empty."""
    for turn in call.conversation.turns if call.conversation else ():
        blocks = [] if turn.role in _SYSTEM_ROLES else list(_turn_blocks(turn))
        if blocks:
            yield "assistant" if turn.role == "assistant" else "user", blocks
    asked = _shown_blocks(call.parts, call.prompt)
    if asked:
        yield "user", asked


def _shown_blocks(parts: Iterable[Part], said: str | None) -> list[Block]:
    return [block for part in parts for block in _part_blocks(part)] + _text_blocks(said)


def _turn_blocks(turn: Turn) -> Iterable[Block]:
    if turn.role == "tool":
        result = {"type": "tool_result", "tool_use_id": turn.tool_call_id or "", "content": turn.content}
        return [result | ({"is_error": True} if turn.is_error else {})]
    if turn.role == "assistant":
        return _answer_blocks(turn)
    return _shown_blocks(turn.parts, turn.content)


def _answer_blocks(turn: Turn) -> list[Block]:
    """An earlier answer: as it came where that is known, else thoughts, text and tool calls, in this order."""
    stored = _stored(turn, BLOCKS)
    if stored and _says(stored) == (_letters(turn.content), [call.id for call in turn.tool_calls]):
        return stored
    thoughts = [block for block in stored or _stored(turn, THOUGHTS) if block.get("type") in THOUGHT_TYPES]
    said = _text_blocks(turn.content) + [_tool_use(call) for call in turn.tool_calls]
    return thoughts + said if said else []


def _stored(turn: Turn, key: str) -> list[Block]:
    blocks = (turn.provider_state or {}).get(key)
    return [_whole(block) for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def _whole(block: Block) -> Block:
    """The block; a tool's input that was cut off came as a text, and must be an object."""
    written = block.get("input")
    return block | {"input": _arguments(written)} if isinstance(written, str) else block


def _says(blocks: list[Block]) -> tuple[str, list[Any]]:
    texts = (block.get("text") for block in blocks if block.get("type") == "text")
    said = _letters("".join(text for text in texts if isinstance(text, str)))
    return said, [block.get("id") for block in blocks if block.get("type") == "tool_use"]


def _letters(text: str) -> str:
    """The text without its spaces: blocks that became one text were joined by some."""
    return "".join(text.split())


def _tool_use(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call.arguments)}


def _arguments(text: str) -> dict[str, Any]:
    """The arguments as the object that the API wants; nothing can be said about those that are none."""
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _text_blocks(text: str | None) -> list[Block]:
    """The service refuses blank blocks."""
    return [{"type": "text", "text": text}] if text and text.strip() else []


def _part_blocks(part: Part) -> list[Block]:
    if isinstance(part, TextPart):
        return _text_blocks(part.text)
    kind = "image" if part.source.mime_type.startswith("image/") else "document"
    if isinstance(part, AssetPart):
        return [{"type": kind, "source": {"type": "file", "file_id": part.asset.id}}]
    if isinstance(part, UriPart):
        return [{"type": kind, "source": {"type": "url", "url": part.uri}}]
    raise ConfigurationError(
        f"the Messages API cannot carry {part.source.identifier!r} as {type(part).__name__}",
        hint="pass it with Source.from_file",
    )


def _output_config(call: Call) -> dict[str, Any]:
    effort = encode_effort(call)
    config: dict[str, Any] = {"effort": effort} if effort else {}
    if call.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": dict(call.response_schema)}
    return config


def _tool(tool: Mapping[str, Any], dialect: SchemaDialect) -> dict[str, Any]:
    lowered = lower_parameters(tool, dialect, by_default=False)
    declared: dict[str, Any] = {"name": tool["name"]}
    if tool.get("description") is not None:
        declared["description"] = tool["description"]
    declared["input_schema"] = lowered.schema if lowered else _EMPTY_OBJECT | (tool.get("parameters") or {})
    return declared | ({"strict": True} if lowered else {})


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {"type": "tool", **choice} if isinstance(choice, dict) else {"type": _CHOICES[choice]}
