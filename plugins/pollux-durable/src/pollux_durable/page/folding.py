"""Events -> what they show: texts as they stand, and everything else one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.events import EventPayload

STREAM_START = "stream_start"
TEXT_DELTA = "text_delta"
#: A run, and one round of an agent in it.
Round: TypeAlias = tuple[str | None, int]


@attrs.frozen(kw_only=True)
class LiveView:
    """The content of the events of a run. ``last_id`` is the sequence id of the last of them."""

    texts: dict[Round, str]
    events: tuple[EventPayload, ...]
    last_id: int


def fold_events(events: Sequence[EventPayload], last_id: int) -> LiveView:
    """Return what events show."""
    texts: dict[Round, str] = {}
    others: list[EventPayload] = []
    for event in drop_superseded(events):
        name, text = find_round(event), read_text(event)
        if name is None or text is None:
            others.append(event)
        else:
            texts[name] = texts.get(name, "") + text
    return LiveView(texts=texts, events=tuple(others), last_id=last_id)


def drop_superseded(events: Sequence[EventPayload]) -> list[EventPayload]:
    """Return the events without those that a later ``stream_start`` takes back: that round was asked for anew."""
    kept: list[EventPayload] = []
    taken_back: set[Round] = set()
    for event in reversed(events):
        name = find_round(event)
        if name is not None and name in taken_back:
            continue
        if name is not None and event.event_type == STREAM_START:
            taken_back.add(name)
        kept.append(event)
    return kept[::-1]


def find_round(event: EventPayload) -> Round | None:
    """Return the round of an agent that an event belongs to, None if it belongs to none."""
    step = event.data.get("step") if isinstance(event.data, dict) else None
    return (event.execution_id, step) if isinstance(step, int) else None


def read_text(event: EventPayload) -> str | None:
    """Return the piece of an answer that an event carries, None if it carries none."""
    content = event.data.get("content") if isinstance(event.data, dict) else None
    return content if event.event_type == TEXT_DELTA and isinstance(content, str) else None
