"""The content of a Chat Completions message: its text, the model's thoughts, and what is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.wire.fields import as_text
from pollux_sync.wire.thoughts import split_thoughts

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The fields in which servers put the text of the model's reasoning, in order of preference. Some fill several alike.
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
#: OpenRouter's list of pieces of reasoning, of which only some are text: https://openrouter.ai/docs/use-cases/reasoning-tokens
REASONING_DETAILS = "reasoning_details"
#: The fields of a part, or of a piece of reasoning, that hold its text.
_TEXT_NAMES = ("text", "refusal")
_THOUGHT_NAMES = ("thinking", "reasoning", "summary", "text")
_THOUGHT_TYPES = frozenset({"thinking", "reasoning"})


def read_content(content: Any) -> tuple[str, str, list[Any]]:
    """Return the text of a message's content, the thoughts in it, and its parts that are neither.

    Content is a string, a list of parts, or null. Mistral's models put thoughts into parts of their own:
    https://docs.mistral.ai/capabilities/reasoning/
    """
    if not isinstance(content, list):
        thoughts, text = split_thoughts(as_text(content) or "")
        return text, thoughts, []
    pieces = [read_part(part) for part in content]
    tagged, text = split_thoughts("".join(text for _, text in pieces))
    thoughts = "".join(thought for thought, _ in pieces) or tagged
    # An empty part says nothing; neither does what is no object.
    others = [
        part for part, piece in zip(content, pieces, strict=True) if isinstance(part, dict) and _is_other(part, piece)
    ]
    return text, thoughts, others


def _is_other(part: Mapping[str, Any], piece: tuple[str, str]) -> bool:
    return not any(piece) and as_text(part.get("type")) not in {"text", *_THOUGHT_TYPES} and len(part) > 1


def read_part(part: Any) -> tuple[str, str]:
    """Return the thoughts and the text of one part of a message's content; one of them is empty."""
    if not isinstance(part, dict):
        return "", ""
    if as_text(part.get("type")) in _THOUGHT_TYPES:
        return read_thought(part), ""
    return "", _read_first(part, _TEXT_NAMES)


def read_thought(piece: Any) -> str:
    """Return the text of one piece of reasoning; empty if it has none, or one that only its vendor can read."""
    return _read_first(piece, _THOUGHT_NAMES) if isinstance(piece, dict) else ""


def _read_first(holder: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := read_text(holder.get(name)))), "")


def read_text(value: Any) -> str:
    """Return a text, which is a string or a list of parts with texts."""
    if isinstance(value, list):
        return "".join([_read_first(part, _THOUGHT_NAMES) for part in value if isinstance(part, dict)])
    return as_text(value) or ""


def read_reasoning(message: Mapping[str, Any]) -> str:
    """Return the reasoning in the fields of a message, once if several hold it; empty without any."""
    for name in REASONING_FIELDS:
        if message.get(name) and (text := read_text(message[name])):
            return text
    details = message.get(REASONING_DETAILS)
    return "".join(map(read_thought, details)) if isinstance(details, list) else ""
