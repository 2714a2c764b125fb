"""Call -> HttpRequest: the body of ``POST /responses``. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_openai.caching import mark_shared_prefix
from pollux_openai.hosting import FORMS, list_inclusions
from pollux_openai.replaying import find_previous_response, read_replay_items
from pollux_sync.plugin import (
    AssetPart,
    ConfigurationError,
    HttpRequest,
    InlinePart,
    Problem,
    TextPart,
    UriPart,
    encode_hosted_tool,
    lower_parameters,
    read_parameters,
    result_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pollux_sync.plugin import Call, Options, Part, SchemaDialect, Turn

#: The body fields that raw provider options may never set; the core sets "stream".
MANAGED_FIELDS = frozenset({"model", "input", "stream"})

#: What writes the fields of the body that are not named as their option is.
MANAGED_BY = {
    "input": "the prompt, sources and history",
    "instructions": "Options(system_instruction=...)",
    "max_output_tokens": "Options(max_tokens=...)",
    "reasoning": "Options(reasoning_effort=...) and Options(reasoning_summary=...)",
    "text.format": "Options(response_schema=...)",
    "previous_response_id": "Options(continue_from=...)",
}

#: The body fields that the endpoint for counting accepts. Others, such as the caller's raw fields, are left out.
_COUNTED = frozenset(
    {"model", "input", "instructions", "text", "tools", "tool_choice", "parallel_tool_calls", "reasoning"}
    | {"previous_response_id", "conversation", "truncation", "personality"}
)


def encode(call: Call, dialect: SchemaDialect) -> HttpRequest:
    """Encode a call. Raises ConfigurationError for a part that the API cannot carry."""
    options = call.options
    body = {
        "model": call.model,
        "input": list(_encode_input(call)),
        "instructions": options.system_instruction,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_output_tokens": options.max_tokens,
        "reasoning": _encode_reasoning(options),
        "text": _encode_format(call),
        "tools": _encode_tools(options, dialect),
        "tool_choice": _encode_tool_choice(options.tool_choice),
        "parallel_tool_calls": options.parallel_tool_calls,
        "service_tier": options.service_tier,
        "previous_response_id": find_previous_response(call),
        "include": list_inclusions(options.hosted_tools),
    }
    # None means the provider's default, which is what a missing field gets.
    body = {name: value for name, value in body.items() if value is not None}
    if call.shared_prefix is not None:
        mark_shared_prefix(body, call)
    return HttpRequest(path="/responses", body=body)


def find_background_problem(call: Call) -> Problem | None:
    """Return the problem of a call whose raw fields ask for an answer in the background, or None.

    Such a call ends with an id, at once, and the answer is made, and billed, when nobody asks for it any more.
    """
    if not call.options.read_raw_fields("openai").get("background"):
        return None
    return Problem("background answers are not there when their call ends", "leave background out, or call defer_many")


def build_count_request(request: HttpRequest) -> HttpRequest:
    """Return the request that counts the input tokens of ``request``."""
    body = {name: value for name, value in (request.body or {}).items() if name in _COUNTED}
    return attrs.evolve(request, path="/responses/input_tokens", body=body)


def _encode_input(call: Call) -> Iterator[dict[str, Any]]:
    for turn in _list_new_turns(call):
        yield from _encode_turn(turn, call.model)
    content = _encode_content(call.parts, call.prompt)
    if content:
        yield {"role": "user", "content": content}


def _encode_content(parts: Iterable[Part], text: str | None) -> list[dict[str, Any]]:
    return [_encode_part(part) for part in parts] + ([{"type": "input_text", "text": text}] if text else [])


def _list_new_turns(call: Call) -> tuple[Turn, ...]:
    """Return the turns that the service does not have: with a previous response, those after its answer."""
    turns = call.conversation.turns if call.conversation else ()
    if find_previous_response(call) is None:
        return turns
    last_answer = max((index for index, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    return turns[last_answer + 1 :]


def _encode_turn(turn: Turn, model: str) -> Iterable[dict[str, Any]]:
    """Encode one turn as input items. An answer is replayed unchanged if its items were kept."""
    if turn.role == "tool":
        output = _encode_content(turn.parts, result_text(turn)) if turn.parts else result_text(turn)
        return [{"type": "function_call_output", "call_id": turn.tool_call_id or "", "output": output}]
    return read_replay_items(turn, model) or _encode_plain_turn(turn)


def _encode_plain_turn(turn: Turn) -> Iterator[dict[str, Any]]:
    """Encode a turn from its fields, tool calls before the text that came with them."""
    for call in turn.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
    if turn.parts:
        yield {"role": turn.role, "content": _encode_content(turn.parts, turn.content)}
    elif turn.content:
        # A plain string suits every role. Parts would need "input_text" or "output_text", depending on the role.
        yield {"type": "message", "role": turn.role, "content": turn.content}


def _encode_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    is_image = part.source.mime_type.startswith("image/")
    if isinstance(part, AssetPart):
        return {"type": "input_image" if is_image else "input_file", "file_id": part.asset.id}
    if isinstance(part, InlinePart) and is_image:
        return {"type": "input_image", "image_url": part.data_url}
    if isinstance(part, InlinePart):
        name = part.source.file_name or "document.pdf"
        return {"type": "input_file", "filename": name, "file_data": part.data_url}
    if isinstance(part, UriPart):
        return (
            {"type": "input_image", "image_url": part.uri} if is_image else {"type": "input_file", "file_url": part.uri}
        )
    raise ConfigurationError(
        f"the Responses API cannot carry {part.source.identifier!r} as {type(part).__name__}",
        hint="pass it with Source.from_file",
    )


def _encode_reasoning(options: Options) -> dict[str, Any] | None:
    effort, summary = options.reasoning_effort, options.reasoning_summary
    # Without "summary" the model reasons, but the answer shows nothing of it.
    shown = summary or ("auto" if effort else "none")
    fields = {"effort": effort, "summary": None if shown == "none" else shown}
    return {name: value for name, value in fields.items() if value} or None


def _encode_format(call: Call) -> dict[str, Any] | None:
    if call.options.wants_json_object:
        return {"format": {"type": "json_object"}}
    if call.response_schema is None:
        return None
    # The API requires a name for the format. Ours has no meaning.
    schema = dict(call.response_schema)
    return {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}


def _encode_tools(options: Options, dialect: SchemaDialect) -> list[dict[str, Any]] | None:
    functions = [_encode_tool(tool, dialect) for tool in options.functions]
    return functions + [encode_hosted_tool(tool, FORMS) for tool in options.hosted_tools] or None


def _encode_tool(tool: Mapping[str, Any], dialect: SchemaDialect) -> dict[str, Any]:
    lowered = lower_parameters(tool, dialect)
    # "strict" is always sent: the service takes a tool without it for a strict one.
    encoded = {"type": "function", "name": tool["name"], "strict": lowered is not None}
    encoded["parameters"] = lowered.schema if lowered else read_parameters(tool)
    if tool.get("description") is not None:
        encoded["description"] = tool["description"]
    return encoded


def _encode_tool_choice(choice: Any) -> Any:
    return {"type": "function", **choice} if isinstance(choice, dict) else choice
