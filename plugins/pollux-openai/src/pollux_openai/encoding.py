"""From a Call to the body of ``POST /responses``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.replaying import kept_items, previous_response
from pollux_sync.data.provider import HttpRequest
from pollux_sync.data.request import AssetPart, TextPart, UriPart
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.tools import lowered_parameters, result_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pollux_sync.data.request import Call, Conversation, Part, Turn
    from pollux_sync.schemas import SchemaDialect

#: The body fields that `encode` writes: raw provider options may not set them.
MANAGED_FIELDS = frozenset(
    {"model", "input", "instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "text"}
    | {"tools", "tool_choice", "previous_response_id", "stream"}
)

#: What the service takes for counting.
_COUNTED = frozenset(
    {"model", "input", "instructions", "text", "tools", "tool_choice", "parallel_tool_calls", "reasoning"}
    | {"previous_response_id", "conversation", "truncation", "personality"}
)
_EMPTY_OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


def encode(call: Call, dialect: SchemaDialect) -> HttpRequest:
    """The call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    options = call.options
    effort = options.reasoning_effort
    body = {
        "model": call.model,
        "input": list(_input(call)),
        "instructions": options.system_instruction,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_output_tokens": options.max_tokens,
        "reasoning": {"effort": effort, "summary": "auto"} if effort else None,
        "text": _text_format(call.response_schema),
        "tools": [_tool(tool, dialect) for tool in options.tools] if options.tools else None,
        "tool_choice": _tool_choice(options.tool_choice),
        "previous_response_id": previous_response(call.conversation) if call.conversation else None,
    }
    return HttpRequest(path="/responses", body={name: value for name, value in body.items() if value is not None})


def counting(request: HttpRequest) -> HttpRequest:
    """The request that has the input tokens of this one counted."""
    body = {name: value for name, value in (request.body or {}).items() if name in _COUNTED}
    return HttpRequest(path="/responses/input_tokens", body=body)


def _input(call: Call) -> Iterator[dict[str, Any]]:
    for turn in _unseen(call.conversation) if call.conversation else ():
        yield from _items(turn, call.model)
    content = _content(call.parts, call.prompt)
    if content:
        yield {"role": "user", "content": content}


def _content(parts: Iterable[Part], said: str | None) -> list[dict[str, Any]]:
    return [_part(part) for part in parts] + ([{"type": "input_text", "text": said}] if said else [])


def _unseen(conversation: Conversation) -> tuple[Turn, ...]:
    """The turns that the service does not keep: with a previous response, those after its answer."""
    turns = conversation.turns
    if previous_response(conversation) is None:
        return turns
    last_answer = max((index for index, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    return turns[last_answer + 1 :]


def _items(turn: Turn, model: str) -> Iterable[dict[str, Any]]:
    """One turn as input items: an answer as it came where that is kept."""
    if turn.role == "tool":
        return [{"type": "function_call_output", "call_id": turn.tool_call_id or "", "output": result_text(turn)}]
    return kept_items(turn, model) or _written(turn)


def _written(turn: Turn) -> Iterator[dict[str, Any]]:
    """Tool calls before the text that came with them."""
    for call in turn.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
    if turn.parts:
        yield {"role": turn.role, "content": _content(turn.parts, turn.content)}
    elif turn.content:
        yield {"type": "message", "role": turn.role, "content": turn.content}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    is_image = part.source.mime_type.startswith("image/")
    if isinstance(part, AssetPart):
        return {"type": "input_image" if is_image else "input_file", "file_id": part.asset.id}
    if isinstance(part, UriPart):
        return (
            {"type": "input_image", "image_url": part.uri} if is_image else {"type": "input_file", "file_url": part.uri}
        )
    raise ConfigurationError(
        f"the Responses API cannot carry {part.source.identifier!r} as {type(part).__name__}",
        hint="pass it with Source.from_file",
    )


def _text_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    return {"format": {"type": "json_schema", "name": "answer", "schema": dict(schema), "strict": True}}


def _tool(tool: Mapping[str, Any], dialect: SchemaDialect) -> dict[str, Any]:
    lowered = lowered_parameters(tool, dialect)
    declared = {"type": "function", "name": tool["name"], "strict": lowered is not None}
    declared["parameters"] = lowered.schema if lowered else tool.get("parameters") or _EMPTY_OBJECT
    if tool.get("description") is not None:
        declared["description"] = tool["description"]
    return declared


def _tool_choice(choice: Any) -> Any:
    return {"type": "function", **choice} if isinstance(choice, dict) else choice
