"""The dicts of earlier turns, as ``Options(history=[...])`` and stored conversations hold them, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.data.checks import check_bool, check_json, check_keys, check_text, require_mapping, suggest_key
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = frozenset({"role", "content", "sources", "tool_calls", "tool_call_id", "is_error", "provider_state"})
_PLAIN_KEYS = frozenset({"role", "content"})
#: The roles whose turns may hold a text and nothing else.
_PLAIN_ROLES = ("system", "developer", "user", "assistant")
_ROLES = (*_PLAIN_ROLES, "tool")
#: The roles that have these keys, which other roles have not.
_OWNERS = {"sources": ("user", "tool"), "tool_calls": ("assistant",), "tool_call_id": ("tool",), "is_error": ("tool",)}
#: Calls in an envelope hold their arguments a second time, as data.
_CALL_KEYS = frozenset({"id", "name", "arguments", "arguments_parsed"})
#: What other programs call the keys and roles.
_OTHER_NAMES = {"text": "content", "output": "content", "result": "content", "message": "content", "parts": "content"}
_OTHER_ROLES = {"model": "assistant", "ai": "assistant", "bot": "assistant", "human": "user", "function": "tool"}
_TRANSCRIPT_HINT = "convert a transcript: history=[message.to_turn() for message in messages_from_openai(transcript)]"
_STORED_HINT = "pass it as it was stored"


def check_turn(name: str, turn: object) -> None:
    """Check the dict of one turn; ``name`` is its place in the error. Raises ConfigurationError."""
    if _is_plain(turn):
        return
    item = require_mapping(name, turn)
    role = item.get("role")
    check_text(f"{name}['role']", role, hint=f"use one of: {', '.join(_ROLES)}")
    if role not in _ROLES:
        raise ConfigurationError(
            f"{name} has the role {role!r}, which is not known", hint=suggest_key(str(role), _ROLES, _OTHER_ROLES)
        )
    check_keys(name, item, _KEYS, other_names=_OTHER_NAMES)
    _check_types(name, item)
    _check_owners(name, item)
    _check_content(name, item)
    for index, call in enumerate(item.get("tool_calls") or ()):
        _check_tool_call(f"{name}['tool_calls'][{index}]", call)


def _is_plain(turn: object) -> bool:
    """Return whether this is a turn of a text alone, as most are: a long history would pay for each other check."""
    return (
        isinstance(turn, dict)
        and turn.keys() == _PLAIN_KEYS
        and isinstance(turn["content"], str)
        and turn["role"] in _PLAIN_ROLES
    )


def _check_types(name: str, item: Mapping[str, Any]) -> None:
    lists = [item.get("tool_calls") or (), item.get("sources") or ()]
    if not all(isinstance(value, list | tuple) for value in lists) or not isinstance(
        item.get("provider_state"), dict | None
    ):
        raise ConfigurationError(
            f"{name} is not a turn: tool_calls and sources must be lists, provider_state a dict", hint=_STORED_HINT
        )
    if item.get("is_error") is not None:
        check_bool(f"{name}['is_error']", item["is_error"])


def _check_owners(name: str, item: Mapping[str, Any]) -> None:
    for key, owners in _OWNERS.items():
        if item.get(key) and item["role"] not in owners:
            raise ConfigurationError(
                f"{name} has {key}, but is not a turn of the {' or '.join(owners)}",
                hint=f"move {key} to a turn of the {owners[0]}",
            )
    if item["role"] == "tool" and not isinstance(item.get("tool_call_id"), str):
        raise ConfigurationError(f"{name} needs a tool_call_id", hint="pass the id of the call that it answers")


def _check_content(name: str, item: Mapping[str, Any]) -> None:
    content: object = item.get("content")
    if isinstance(content, str):
        return
    if item["role"] == "tool":
        _check_result(name, content)
    elif isinstance(content, list | tuple):
        raise ConfigurationError(f"{name}['content'] is a list, where a turn holds one text", hint=_TRANSCRIPT_HINT)
    # None is the usual content of an answer that only calls tools.
    elif content is not None:
        raise ConfigurationError(
            f"{name}['content'] must be a string, got {type(content).__name__}", hint="pass the text of the turn"
        )


def _check_result(name: str, content: object) -> None:
    """Check a tool's result other than a text: plain data is usual, and becomes JSON."""
    if not isinstance(content, dict | list | tuple | int | float):
        raise ConfigurationError(
            f"{name} needs content: text or plain data, got {type(content).__name__}",
            hint="pass what the tool returned as 'content', an empty text for nothing",
        )
    if isinstance(content, list | tuple) and content and all(map(_is_text_part, content)):
        raise ConfigurationError(
            f"{name}['content'] is a list of parts, where a result is one text", hint="join the texts of the parts"
        )
    # Lone surrogates are replaced where the turns are built.
    check_json(f"{name}['content']", replace_nested_surrogates(content))


def _is_text_part(part: object) -> bool:
    """Return whether this is a part of a message, as services write it: {"type": "text", "text": ...}."""
    return isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text") and "text" in part


def _check_tool_call(name: str, call: object) -> None:
    if isinstance(call, dict) and "function" in call:
        raise ConfigurationError(f"{name} is nested under 'function'", hint=_TRANSCRIPT_HINT)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ConfigurationError(f"{name} must be a dict with a name", hint="pass {'id', 'name', 'arguments'}")
    check_keys(name, call, _CALL_KEYS, other_names={"input": "arguments", "args": "arguments"})
    arguments: object = call.get("arguments")
    if not isinstance(arguments, str | dict | None):
        raise ConfigurationError(
            f"{name}['arguments'] must be a JSON object, got {type(arguments).__name__}", hint="pass a dict or its JSON"
        )
