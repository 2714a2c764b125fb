"""Shortens the memory of a session: old messages become a summary, the latest ones stay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from pollux_sync.errors import APIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.agents import CompactionConfig
    from pollux_durable.data.runs import JsonObject

_CHARS_PER_TOKEN = 4
_SUMMARIZE = (
    "Summarize the conversation below for an assistant that will continue it. Keep facts, names, numbers, decisions,"
    " open questions and results of tools. Write in the third person."
)


@attrs.frozen(kw_only=True)
class Memory:
    """The memory of an agent: a summary of old messages, and the later ones as turns."""

    summary: str | None = None
    messages: tuple[JsonObject, ...] = ()

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        return {"summary": self.summary, "messages": [*self.messages]}

    @classmethod
    def from_dict(cls, data: JsonObject | None) -> Memory:
        """Return the memory of a JSON form."""
        return cls() if data is None else cls(summary=data.get("summary"), messages=tuple(data["messages"]))

    @property
    def n_tokens(self) -> int:
        """The tokens that it is expected to take."""
        return estimate_tokens(self.messages) + len(self.summary or "") // _CHARS_PER_TOKEN

    def build_history(self) -> list[JsonObject]:
        """Return the turns that the model is shown."""
        if self.summary is None:
            return [*self.messages]
        told = {"role": "user", "content": f"Summary of the conversation so far:\n{self.summary}"}
        return [told, {"role": "assistant", "content": "Understood."}, *self.messages]


def estimate_tokens(messages: tuple[JsonObject, ...]) -> int:
    """Return the tokens that turns are expected to take."""
    return sum(len(json.dumps(message)) for message in messages) // _CHARS_PER_TOKEN


def compact(memory: Memory, config: CompactionConfig, summarize: Callable[[str, int], str]) -> Memory:
    """Return a memory within the limit; the same one if it is. ``summarize`` takes a prompt and the number of a try.

    Where the model fails, what is old is dropped.
    """
    if not config.enabled or memory.n_tokens <= config.max_conversation_tokens:
        return memory
    first = _find_first_kept(memory.messages, config)
    old, kept = memory.messages[:first], memory.messages[first:]
    if not old:
        return memory
    try:
        summary = summarize(_build_prompt(memory.summary, old), 0)
        if len(summary) > config.max_summary_tokens * _CHARS_PER_TOKEN:
            summary = summarize(f"{_SUMMARIZE} Use at most {config.max_summary_tokens * 3} characters.\n\n{summary}", 1)
    except APIError:
        return Memory(messages=kept)
    return Memory(summary=summary[: config.max_summary_tokens * _CHARS_PER_TOKEN], messages=kept)


def _find_first_kept(messages: tuple[JsonObject, ...], config: CompactionConfig) -> int:
    """Return the index of the first message that is kept. A result is never kept without its call."""
    first = max(0, len(messages) - config.min_recent_messages)
    while first > 0 and messages[first:] and messages[first]["role"] == "tool":
        first -= 1
    return first


def _build_prompt(summary: str | None, messages: tuple[JsonObject, ...]) -> str:
    lines = [f"Summary so far: {summary}"] if summary else []
    for message in messages:
        calls = [f"calls {call['name']}({call['arguments']})" for call in message.get("tool_calls") or ()]
        lines.append(f"{message['role']}: {' '.join(filter(None, [str(message.get('content') or ''), *calls]))}")
    return f"{_SUMMARIZE}\n\n" + "\n".join(lines)
