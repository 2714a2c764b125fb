"""Placeholders in answers -> the values that they stand for, also in a stream that cuts them in two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import attrs

from pollux_sync.plugin import ReasoningDelta, Reply, TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Citation, Delta

#: Returns a text with values in place of its placeholders.
Restore: TypeAlias = Callable[[str], str]

PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9]{0,19}_[0-9A-F]{8}\]")
#: The end of a text that may be the beginning of a placeholder.
_BEGINNING = re.compile(r"\[(?:[A-Z][A-Z0-9]{0,19}(?:_[0-9A-F]{0,8})?)?\Z")


def escape_json(value: str) -> str:
    """Return a value as it stands inside of a JSON text."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def restore_reply(reply: Reply, restore: Restore, restore_json: Restore, *, is_json: bool) -> Reply:
    """Return the reply with values in its texts and in the arguments of its tool calls.

    What the provider needs again (``provider_state``) stays as it came: it goes back to the provider.
    """
    text = (restore_json if is_json else restore)(reply.text)
    calls = tuple(attrs.evolve(call, arguments=restore_json(call.arguments)) for call in reply.tool_calls)
    citations = reply.citations and tuple(_restore_citation(one, reply.text, restore) for one in reply.citations)
    return attrs.evolve(
        reply, text=text, reasoning=reply.reasoning and restore(reply.reasoning), tool_calls=calls, citations=citations
    )


def _restore_citation(citation: Citation, text: str, restore: Restore) -> Citation:
    def move(position: int | None) -> int | None:
        # The passage moves by what the placeholders before it are shorter or longer than their values.
        return None if position is None else len(restore(text[:position]))

    passage = citation.text and restore(citation.text)
    return attrs.evolve(citation, text=passage, start=move(citation.start), end=move(citation.end))


def restore_stream(
    items: Iterator[Delta | Reply], restore: Restore, restore_json: Restore, *, is_json: bool
) -> Iterator[Delta | Reply]:
    """Yield the items of a stream with values in them. A delta that may end in half a placeholder is held back.

    It waits for the next piece of the same text, whatever comes in between, such as a usage or another tool call.
    """
    held: dict[object, Delta] = {}
    for item in items:
        text = _name_text(item)
        # Text and reasoning end where something else begins; the arguments of several tools may take turns.
        ended = [other for other in held if text is not None and isinstance(other, type) and other is not text]
        yield from [held.pop(other) for other in ended]
        if isinstance(item, Reply):
            yield from held.values()
            held.clear()
            yield restore_reply(item, restore, restore_json, is_json=is_json)
            continue
        is_text = isinstance(item, TextDelta | ReasoningDelta) and not (is_json and isinstance(item, TextDelta))
        ready, rest = _split(
            _join(held.pop(text), item) if text in held else item, restore if is_text else restore_json
        )
        if rest is not None:
            held[text] = rest
        if ready is not None:
            yield ready
    yield from held.values()


def _name_text(item: Delta | Reply) -> object:
    """Return what tells the text that an item belongs to from others; None for an item that belongs to none."""
    if isinstance(item, ToolCallDelta):
        return item.index
    return type(item) if isinstance(item, TextDelta | ReasoningDelta | Reply) else None


def _join(held: Delta, item: Delta) -> Delta:
    if isinstance(item, ToolCallDelta) and isinstance(held, ToolCallDelta):
        return attrs.evolve(
            item, arguments=held.arguments + item.arguments, id=item.id or held.id, name=item.name or held.name
        )
    if isinstance(item, TextDelta | ReasoningDelta) and isinstance(held, TextDelta | ReasoningDelta):
        return attrs.evolve(item, text=held.text + item.text)
    return item


def _split(item: Delta, restore: Restore) -> tuple[Delta | None, Delta | None]:
    """Return the restored part of a delta that is ready, and the part to hold back; None for a part without a text."""
    if isinstance(item, TextDelta | ReasoningDelta):
        ready, rest = _split_text(item.text)
        done = attrs.evolve(item, text=restore(ready)) if ready else None
        return done, attrs.evolve(item, text=rest) if rest else None
    if isinstance(item, ToolCallDelta):
        ready, rest = _split_text(item.arguments)
        # The id and the name come with the first part.
        return attrs.evolve(item, arguments=restore(ready)), ToolCallDelta(item.index, rest) if rest else None
    return item, None


def _split_text(text: str) -> tuple[str, str]:
    """Return the text up to what may be the beginning of a placeholder, and the rest."""
    found = _BEGINNING.search(text, max(0, text.rfind("[")))
    return (text, "") if found is None else (text[: found.start()], text[found.start() :])
