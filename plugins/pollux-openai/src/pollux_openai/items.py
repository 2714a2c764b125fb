"""What the items of an output say: of an answer that came, or of one that is kept to be replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pollux_sync.data.reply import ToolCall
from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Item: TypeAlias = dict[str, Any]


def contents_in(items: Sequence[Item]) -> list[Item]:
    """The parts of all messages."""
    contents = [item.get("content") for item in items if item.get("type") == "message"]
    return [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]


def texts_in(parts: Sequence[Item], kind: str, field: str = "text") -> list[str]:
    """The texts of the parts of one kind."""
    return [part[field] for part in parts if part.get("type") == kind and isinstance(part.get(field), str)]


def refusal_in(contents: Sequence[Item]) -> str:
    """What the model said instead of an answer."""
    return "".join(texts_in(contents, "refusal", "refusal"))


def text_in(contents: Sequence[Item]) -> str:
    """The answer, or the refusal of one."""
    return "".join(texts_in(contents, "output_text")) or refusal_in(contents)


def tool_calls_in(items: Sequence[Item]) -> Iterator[ToolCall]:
    """The calls, with arguments as they were written."""
    for index, item in enumerate(items):
        if item.get("type") == "function_call" and isinstance(item.get("name"), str):
            text = item.get("arguments")
            arguments = text if isinstance(text, str) else json.dumps(text or {})
            call_id = as_text(item.get("call_id")) or as_text(item.get("id")) or f"call_{index}"
            yield ToolCall(call_id, item["name"], arguments)
