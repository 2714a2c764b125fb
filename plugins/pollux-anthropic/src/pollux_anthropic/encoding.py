"""Call -> HttpRequest: the body of ``POST /v1/messages``. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_anthropic.caching import add_breakpoint
from pollux_anthropic.hosting import MCP_BETA, encode_tool, find_domains_problem, list_mcp_servers
from pollux_anthropic.models import find_facts
from pollux_anthropic.thinking import choose_max_tokens, encode_effort, encode_thinking, find_thinking_problem
from pollux_sync.plugin import (
    AssetPart,
    ConfigurationError,
    HttpRequest,
    InlinePart,
    Problem,
    TextPart,
    UriPart,
    find_strict_problem,
    lower_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pollux_sync.plugin import Call, Options, Part, SchemaDialect, ToolCall, Turn

Block = dict[str, Any]

#: The version of the API that this module writes and `decoding` reads.
VERSION_HEADER = "anthropic-version"
VERSION = "2023-06-01"
BETA_HEADER = "anthropic-beta"
#: Lets a request refer to stored files.
FILES_BETA = "files-api-2025-04-14"
#: Lets a model with a budget think between tool calls; adaptive models do so without it.
INTERLEAVED_BETA = "interleaved-thinking-2025-05-14"

#: The body fields that raw provider options may never set; the core sets "stream".
MANAGED_FIELDS = frozenset({"model", "messages", "stream"})

#: What writes the fields of the body that are not named as their option is.
MANAGED_BY = {
    "messages": "the prompt, sources and history",
    "system": "Options(system_instruction=...)",
    "stop_sequences": "Options(stop=[...])",
    "thinking": "Options(reasoning_effort=...) or Options(reasoning_budget_tokens=...)",
    "thinking.display": "Options(reasoning_summary=...)",
    "output_config.effort": "Options(reasoning_effort=...)",
    "output_config.format": "Options(response_schema=...)",
    # Without the option a call of one prompt is cached too.
    "cache_control": "implicit caching, which Options(implicit_caching=False) switches off",
    "tool_choice.disable_parallel_tool_use": "Options(parallel_tool_calls=...)",
}

# Keys of a turn's provider state. They are in stored conversations, so they never change.
#: The thinking blocks of an answer.
THOUGHTS = "anthropic_thinking_blocks"
#: All blocks of an answer whose order a turn of text and tool calls cannot express.
BLOCKS = "anthropic_content_blocks"

THOUGHT_TYPES = frozenset({"thinking", "redacted_thinking"})
#: The body fields that the endpoint for counting accepts. Others, such as the caller's raw fields, are left out.
_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "mcp_servers", "tool_choice", "thinking", "output_config", "cache_control"}
)
#: The roles whose text goes into the field "system": the API has no such messages.
_SYSTEM_ROLES = frozenset({"system", "developer"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
#: The tiers of a request, by the published contract. "auto" takes the priority capacity that an account has bought.
_TIERS = {"auto": "auto", "default": "standard_only"}
_EMPTY_OBJECT: dict[str, Any] = {"type": "object"}
#: By the published contract of the Messages API.
_MAX_TITLE_CHARS = 500


def encode(call: Call, dialect: SchemaDialect) -> HttpRequest:
    """Encode a call. Raises ConfigurationError for a part that the API cannot carry."""
    options = call.options
    body: dict[str, Any] = {
        "model": call.model,
        "max_tokens": choose_max_tokens(call),
        "messages": list(_encode_messages(call)),
    }
    settings = {
        "system": _encode_system(call),
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop_sequences": options.stop_texts,
        "tools": _encode_tools(call, dialect),
        "mcp_servers": list_mcp_servers(options.hosted_tools),
        "tool_choice": _encode_tool_choice(options),
        "thinking": encode_thinking(call),
        "output_config": _encode_output_config(call) or None,
        "service_tier": _TIERS[options.service_tier] if options.service_tier else None,
    }
    # None means the provider's default, which is what a missing field gets.
    body.update((name, value) for name, value in settings.items() if value is not None)
    if options.implicit_caching:
        add_breakpoint(body, call, n_own=len(_encode_text(call.prompt)))
    return HttpRequest(path="/v1/messages", body=body, headers=_build_headers(call, body))


def build_count_request(request: HttpRequest) -> HttpRequest:
    """Return the request that counts the input tokens of ``request``."""
    body = {name: value for name, value in (request.body or {}).items() if name in _COUNTED}
    return attrs.evolve(request, path="/v1/messages/count_tokens", body=body)


def find_problem(call: Call, dialect: SchemaDialect) -> Problem | None:
    """Find a reason why the service would refuse a call, before anything is sent."""
    return (
        _find_sampling_problem(call)
        or find_thinking_problem(call)
        or _find_tier_problem(call.options)
        or find_domains_problem(call.options.hosted_tools)
        or find_strict_problem(call.options.functions, dialect)
    )


def _find_sampling_problem(call: Call) -> Problem | None:
    temperature, top_p = call.options.temperature, call.options.top_p
    if temperature is not None and temperature > 1:
        return Problem(f"temperature must be at most 1, got {temperature:g}", "Anthropic's scale ends at 1")
    if temperature is None or top_p is None or call.capabilities.get("top_p"):
        return None
    if not find_facts(call.model).takes_one_sampling:
        return None
    return Problem(f"{call.model} does not take top_p beside temperature", "keep one of them")


def _find_tier_problem(options: Options) -> Problem | None:
    if options.service_tier is None or options.service_tier in _TIERS:
        return None
    return Problem(
        f"Anthropic has no service_tier {options.service_tier!r}",
        "use 'auto', which takes the priority capacity that your account has, or 'default'; defer_many costs half",
    )


def _build_headers(call: Call, body: Mapping[str, Any]) -> dict[str, str]:
    betas = [FILES_BETA] if any(isinstance(part, AssetPart) for part in call.all_parts) else []
    if body.get("tools") and body.get("thinking", {}).get("type") == "enabled":
        betas.append(INTERLEAVED_BETA)
    if body.get("mcp_servers"):
        betas.append(MCP_BETA)
    return {VERSION_HEADER: VERSION} | ({BETA_HEADER: ",".join(betas)} if betas else {})


def _encode_system(call: Call) -> str | None:
    turns = call.conversation.turns if call.conversation else ()
    contents = [turn.content for turn in turns if turn.role in _SYSTEM_ROLES]
    return "\n\n".join(text for text in (call.options.system_instruction, *contents) if text) or None


def _encode_messages(call: Call) -> Iterator[dict[str, Any]]:
    """Yield the messages of the conversation, then the question."""
    # Neighbours of one role become one message. All results of parallel tool calls must be in one message.
    role, content = "", list[Block]()
    for next_role, blocks in _encode_turns(call):
        if next_role != role:
            if content:
                yield {"role": role, "content": content}
            role, content = next_role, []
        content += blocks
    if content:
        yield {"role": role, "content": content}


def _encode_turns(call: Call) -> Iterator[tuple[str, list[Block]]]:
    """Yield the role and the blocks of each turn and of the question, without empty ones."""
    for turn in call.conversation.turns if call.conversation else ():
        blocks = [] if turn.role in _SYSTEM_ROLES else list(_encode_turn(turn))
        if blocks:
            # Results of tools are the user's, by the API.
            yield "assistant" if turn.role == "assistant" else "user", blocks
    question = _encode_content(call.parts, call.prompt)
    if question:
        yield "user", question


def _encode_content(parts: Iterable[Part], text: str | None) -> list[Block]:
    return [block for part in parts for block in _encode_part(part)] + _encode_text(text)


def _encode_turn(turn: Turn) -> Iterable[Block]:
    if turn.role == "tool":
        content = _encode_content(turn.parts, turn.content) if turn.parts else turn.content
        result = {"type": "tool_result", "tool_use_id": turn.tool_call_id or "", "content": content}
        return [result | ({"is_error": True} if turn.is_error else {})]
    if turn.role == "assistant":
        return _encode_answer(turn)
    return _encode_content(turn.parts, turn.content)


def _encode_answer(turn: Turn) -> list[Block]:
    """Encode an earlier answer: its stored blocks unchanged, else its thoughts, text and tool calls, in this order."""
    stored = _read_stored_blocks(turn, BLOCKS)
    # The caller may edit a stored history. Then the stored blocks no longer say what the turn says.
    if stored and _summarize_blocks(stored) == (_remove_spaces(turn.content), [call.id for call in turn.tool_calls]):
        return stored
    # Thoughts are signed by the service and must come back unchanged.
    blocks = stored or _read_stored_blocks(turn, THOUGHTS)
    thoughts = [block for block in blocks if str(block.get("type")) in THOUGHT_TYPES]
    content = _encode_text(turn.content) + [_encode_tool_call(call) for call in turn.tool_calls]
    return thoughts + content if content else []


def _read_stored_blocks(turn: Turn, key: str) -> list[Block]:
    blocks = (turn.provider_state or {}).get(key)
    return [_repair_input(block) for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def _repair_input(block: Block) -> Block:
    """Return a block whose tool input is an object, as the API requires; one that was cut off is stored as text."""
    tool_input = block.get("input")
    return block | {"input": _parse_arguments(tool_input)} if isinstance(tool_input, str) else block


def _summarize_blocks(blocks: list[Block]) -> tuple[str, list[Any]]:
    """Return the text without white space and the ids of the tool calls, to compare blocks with a turn."""
    texts = (block.get("text") for block in blocks if block.get("type") == "text")
    text = _remove_spaces("".join(text for text in texts if isinstance(text, str)))
    return text, [block.get("id") for block in blocks if block.get("type") == "tool_use"]


def _remove_spaces(text: str) -> str:
    # The turn's text has blank lines between blocks, which the blocks do not have.
    return "".join(text.split())


def _encode_tool_call(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _parse_arguments(call.arguments)}


def _parse_arguments(text: str) -> dict[str, Any]:
    """Parse the arguments of a tool call into the object that the API requires; empty if they are not an object."""
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _encode_text(text: str | None) -> list[Block]:
    # The service refuses blank blocks.
    return [{"type": "text", "text": text}] if text and text.strip() else []


def _encode_part(part: Part) -> list[Block]:
    if isinstance(part, TextPart):
        return _encode_text(part.text)
    if part.source.mime_type.startswith("image/"):
        return [{"type": "image", "source": _encode_source(part)}]
    # Without titles the model could not tell which of several documents says what. A stored file has an id for a name.
    title = "" if part.source.source_type == "stored" else part.source.file_name[:_MAX_TITLE_CHARS]
    return [{"type": "document", "source": _encode_source(part)} | ({"title": title} if title else {})]


def _encode_source(part: Part) -> dict[str, Any]:
    if isinstance(part, AssetPart):
        return {"type": "file", "file_id": part.asset.id}
    if isinstance(part, InlinePart):
        return {"type": "base64", "media_type": part.mime_type, "data": part.base64}
    if isinstance(part, UriPart):
        return {"type": "url", "url": part.uri}
    identifier = "a text" if isinstance(part, TextPart) else repr(part.source.identifier)
    raise ConfigurationError(
        f"the Messages API cannot carry {identifier} as {type(part).__name__}", hint="pass it with Source.from_file"
    )


def _encode_output_config(call: Call) -> dict[str, Any]:
    effort = encode_effort(call)
    config: dict[str, Any] = {"effort": effort} if effort else {}
    if call.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": dict(call.response_schema)}
    return config


def _encode_tools(call: Call, dialect: SchemaDialect) -> list[dict[str, Any]] | None:
    functions = [_encode_tool(tool, dialect) for tool in call.options.functions]
    has_schema = call.response_schema is not None
    return functions + [encode_tool(tool, has_schema=has_schema) for tool in call.options.hosted_tools] or None


def _encode_tool(tool: Mapping[str, Any], dialect: SchemaDialect) -> dict[str, Any]:
    # Here a tool is strict only if it says so, by the default of the API.
    lowered = lower_parameters(tool, dialect, by_default=False)
    encoded: dict[str, Any] = {"name": tool["name"]}
    if tool.get("description") is not None:
        encoded["description"] = tool["description"]
    encoded["input_schema"] = lowered.schema if lowered else _EMPTY_OBJECT | (tool.get("parameters") or {})
    return encoded | ({"strict": True} if lowered else {})


def _encode_tool_choice(options: Options) -> dict[str, Any] | None:
    choice, is_parallel = options.tool_choice, options.parallel_tool_calls
    if choice is None and is_parallel is None:
        return None
    encoded: dict[str, Any]
    encoded = {"type": "tool", **choice} if isinstance(choice, dict) else {"type": _CHOICES[choice or "auto"]}
    # By the published contract, "none" has no such field.
    if is_parallel is not None and choice != "none":
        encoded["disable_parallel_tool_use"] = not is_parallel
    return encoded
