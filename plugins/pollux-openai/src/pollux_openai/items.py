"""Readers of output items: those of a new answer, and those that a turn keeps to be replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pollux_sync.plugin import ToolCall, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Item: TypeAlias = dict[str, Any]


def read_type(item: Item) -> str:
    """Return the type of an item or part, "" without one."""
    return as_text(item.get("type")) or ""


def list_contents(items: Sequence[Item]) -> list[Item]:
    """Return the content parts of all messages, in order."""
    contents = [item.get("content") for item in items if item.get("type") == "message"]
    return [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]


def list_texts(parts: Sequence[Item], kind: str, field: str = "text") -> list[str]:
    """Return the texts of the parts of one type."""
    return [part[field] for part in parts if part.get("type") == kind and isinstance(part.get(field), str)]


def read_refusal(contents: Sequence[Item]) -> str:
    """Return the model's explanation why it does not answer; empty without one."""
    return "".join(list_texts(contents, "refusal", "refusal"))


def read_text(contents: Sequence[Item]) -> str:
    """Return the answer's text; without one, the refusal."""
    return "".join(list_texts(contents, "output_text")) or read_refusal(contents)


def iter_tool_calls(items: Sequence[Item]) -> Iterator[ToolCall]:
    """Yield the tool calls, with their arguments as the model wrote them."""
    for index, item in enumerate(items):
        if item.get("type") == "function_call" and isinstance(item.get("name"), str):
            # Compatible servers may send arguments as an object, or a call without an id. A call needs both:
            # its arguments are JSON text, and its result refers to the id.
            text = item.get("arguments")
            arguments = text if isinstance(text, str) else json.dumps(text or {})
            call_id = as_text(item.get("call_id")) or as_text(item.get("id")) or f"call_{index}"
            yield ToolCall(call_id, item["name"], arguments)
