"""Answers from outside for runs that are suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.data.events import EventDraft
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json
    from pollux_durable.hosting import Host


def build_answer_topic(execution_id: str, step_key: str) -> str:
    """Return the topic on which a suspended step waits."""
    return f"answer/{execution_id}/{step_key}"


def publish_answer(host: Host, execution_id: str, step_key: str, data: Json) -> None:
    """Answer a suspended step. Raises ConfigurationError if it is not suspended, or was answered otherwise."""
    info = host.read_run(execution_id)
    topic = build_answer_topic(execution_id, step_key)
    earlier = host.events.read(topic, limit=1)
    if earlier:
        if earlier[0].data == data:
            return
        raise ConfigurationError(f"step {step_key!r} of run {execution_id!r} has its answer already")
    asked = host.events.read(info.topic, event_type=f"suspend_{step_key}")
    if not any(event.execution_id == execution_id for event in asked):
        raise ConfigurationError(
            f"run {execution_id!r} is {info.status} and not suspended in step {step_key!r}",
            hint=f"pollux-sync durable show {execution_id}",
        )
    host.publish([EventDraft(topic=topic, event_type=f"resume_{step_key}", data=data, once=f"{topic}:once")])
