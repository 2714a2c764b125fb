"""Conversations: earlier turns in, the state for the next turn out. The state is JSON-ready data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pollux_sync.data.history import check_turn
from pollux_sync.data.reply import Reply, ToolCall, list_open_calls
from pollux_sync.data.request import Conversation, InlinePart, TextPart, Turn, UploadPart
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.engine.fitting import pair_tool_results
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Call, Part
    from pollux_sync.data.source import Source

BuildPart: TypeAlias = "Callable[[Source, str], Part]"

#: Version of the state's layout.
STATE_VERSION = 1
STATE_KEY = "_conversation_state"


def build_conversation(options: Options, provider: str, build_part: BuildPart) -> Conversation | None:
    """Return the earlier turns that the options hold, None without any.

    ``build_part`` turns a source of a turn with a role into a part.

    Raises ConfigurationError for another provider's state and for results of tools that do not pair with the calls,
    SourceError for a file that is gone or has changed.
    """
    if options.history is not None:
        return Conversation(turns=pair_tool_results(_build_turns(options.history, build_part), completes=False))
    if options.continue_from is None:
        return None
    state = read_state(options.continue_from)
    version = state.get("version", STATE_VERSION)
    # An older release must not guess at a layout that it does not know.
    if not isinstance(version, int) or version > STATE_VERSION:
        raise ConfigurationError("the conversation was stored by a newer pollux-sync", hint="upgrade pollux-sync")
    # A state holds what only its provider understands: signatures, ids, encrypted reasoning.
    if state.get("provider", provider) != provider:
        raise ConfigurationError(
            f"the conversation is with provider {state['provider']!r}, not {provider!r}",
            hint="continue it with its own provider, or pass its turns as history",
        )
    return Conversation(
        # An interrupted run leaves calls without results.
        turns=pair_tool_results(_build_turns(_check_turns(read_turns(state)), build_part), completes=True),
        response_id=state.get("response_id"),
        provider_state=state.get("provider_state"),
    )


def read_state(envelope: object) -> dict[str, Any]:
    """Return the conversation state of an earlier envelope. Raises ConfigurationError when it has none."""
    state = envelope.get(STATE_KEY) if isinstance(envelope, dict) else None
    if not isinstance(state, dict):
        raise ConfigurationError(
            "continue_from has no conversation state",
            hint="ask the first question with Options(history=[]) so that the result can be continued",
        )
    return state


def read_turns(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a stored state, without items that have no role.

    Raises ConfigurationError for anything but a state of ours.
    """
    if not isinstance(state.get("history"), list):
        raise ConfigurationError(
            "the conversation state holds no history", hint="pass what pollux-sync stored, or the turns as history"
        )
    return [item for item in state["history"] if isinstance(item, dict) and isinstance(item.get("role"), str)]


def check_tool_results(results: object, turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return tool results as turns to follow ``turns``.

    Raises ConfigurationError unless they answer each open call once.
    """
    hint = "[{'role': 'tool', 'tool_call_id': ..., 'content': ...}], one for each call"
    if not isinstance(results, list | tuple) or not results:
        raise ConfigurationError("tool_results must be a list of at least one result", hint=hint)
    for index, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("tool_call_id"), str):
            raise ConfigurationError(f"tool_results[{index}] needs a tool_call_id", hint=hint)
        if result.get("role", "tool") != "tool":
            raise ConfigurationError(f"tool_results[{index}] has the role {result['role']!r}, not 'tool'", hint=hint)
        check_turn(f"tool_results[{index}]", {"role": "tool"} | result)
    # Providers refuse a turn with a missing or a surplus result, after the request was sent and counted.
    given = [result["tool_call_id"] for result in results]
    wanted = list_open_calls(turns)
    if sorted(given) != sorted(wanted):
        raise ConfigurationError(
            f"tool_results are for {', '.join(given)}, the model called {', '.join(wanted) or 'no tool'}",
            hint="give one result for each call, under the call's id",
        )
    return [{"role": "tool"} | result for result in results]


def _check_turns(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return stored turns after the checks that `Options` makes of a history."""
    for index, item in enumerate(items):
        check_turn(f"history[{index}]", item)
    return items


def _build_turns(items: Sequence[Mapping[str, Any]], build_part: BuildPart) -> list[Turn]:
    return [_build_turn(item, build_part) for item in items]


def _build_turn(item: Mapping[str, Any], build_part: BuildPart) -> Turn:
    # Also what a tool returned, such as the name of a file that is not UTF-8: the rounds before it are paid for.
    item = replace_nested_surrogates(item)
    parts = [_build_part(source, item["role"], build_part) for source in item.get("sources") or ()]
    content = _read_content(item.get("content"))
    if item["role"] == "tool":
        # What the model is told in place of a file belongs to the text of the result.
        content = "\n\n".join(filter(None, [content, *(part.text for part in parts if isinstance(part, TextPart))]))
        parts = [part for part in parts if not isinstance(part, TextPart)]
    return Turn(
        role=item["role"],
        content=content,
        parts=tuple(parts),
        tool_calls=tuple(_read_tool_call(call) for call in item.get("tool_calls") or ()),
        tool_call_id=item.get("tool_call_id"),
        is_error=item.get("is_error") is True,
        provider_state=item.get("provider_state"),
    )


def _build_part(source: dict[str, Any], role: str, build_part: BuildPart) -> Part:
    # Imported here and below: most turns have no sources.
    from pollux_sync.data.source import Source

    return build_part(Source.from_dict(source), role)


def _read_content(content: Any) -> str:
    # None is the normal content of an assistant turn that only calls tools.
    if content is None or isinstance(content, str):
        return content or ""
    # Structured tool results are usual; str() would send Python syntax to the model.
    return json.dumps(content, ensure_ascii=False)


def _read_tool_call(call: Mapping[str, Any]) -> ToolCall:
    arguments = call.get("arguments")
    # Transcripts of some SDKs hold the arguments as an object, ours hold the text.
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return ToolCall(str(call.get("id") or ""), call["name"], text)


def build_state(call: Call, reply: Reply, provider: str) -> dict[str, Any]:
    """Return the state after this answer: the turns before, the user's turn, the assistant's turn.

    ``call`` is the call as it was planned. The id of the response is left out when files belong to the conversation:
    they are deleted when the call ends, so the provider could not continue from its own copy.
    """
    before = call.conversation or Conversation()
    answer = Turn(
        role="assistant", content=reply.text, tool_calls=reply.tool_calls, provider_state=reply.provider_state
    )
    # Uploads are deleted with the call, while `response_id` would make the provider look for them.
    keeps_files = any(isinstance(part, UploadPart) for part in call.all_parts)
    state = {
        "version": STATE_VERSION,
        "provider": provider,
        "history": [dump_turn(turn) for turn in (*before.turns, *_build_user_turn(call), answer)],
        "response_id": None if keeps_files else reply.response_id or before.response_id,
        "provider_state": reply.provider_state,
    }
    return {name: value for name, value in state.items() if value is not None}


def _build_user_turn(call: Call) -> tuple[Turn, ...]:
    """Return the user's turn of this call, or nothing when it has no content. Text alone becomes the turn's content."""
    texts = [part.text for part in call.parts if isinstance(part, TextPart)]
    prompt = [call.prompt] if call.prompt else []
    # With a file among the parts their order matters to the model, so they stay parts.
    if len(texts) < len(call.parts):
        return (Turn(role="user", content="".join(prompt), parts=call.parts),)
    content = "\n\n".join([*texts, *prompt])
    return (Turn(role="user", content=content),) if content else ()


def dump_turn(turn: Turn) -> dict[str, Any]:
    """Return a turn as ``Options(history=[...])`` takes it."""
    item: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.parts:
        item["sources"] = [_dump_source(part) for part in turn.parts]
    if turn.tool_calls:
        item["tool_calls"] = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in turn.tool_calls]
    if turn.tool_call_id is not None:
        item["tool_call_id"] = turn.tool_call_id
    if turn.is_error:
        item["is_error"] = True
    if turn.provider_state is not None:
        item["provider_state"] = dict(turn.provider_state)
    return item


def _dump_source(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            from pollux_sync.data.source import Source

            return Source.from_text(part.text).to_dict()
        case UploadPart() | InlinePart():
            return part.source.to_dict(sha256=part.identity)
    return part.source.to_dict()
