"""Answers from outside for runs that are suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.data.events import EventDraft
from pollux_durable.data.runs import ENDED
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json
    from pollux_durable.hosting import Host


def build_answer_topic(execution_id: str, step_key: str) -> str:
    """Return the topic on which a suspended step waits."""
    return f"answer/{execution_id}/{step_key}"


def find_suspended_step(host: Host, execution_id: str) -> str:
    """Return the step in which a run is suspended. Raises ConfigurationError if it is not."""
    info = host.read_run(execution_id)
    wait = host.waits.find([execution_id]).get(execution_id)
    if wait is None or wait.target != build_answer_topic(execution_id, wait.step_key):
        where = "" if wait is None else f" in step {wait.step_key!r}, for no answer"
        raise ConfigurationError(
            f"run {execution_id!r} is {info.status}{where}", hint=f"pollux-sync durable show {execution_id}"
        )
    return wait.step_key


def publish_answer(host: Host, execution_id: str, step_key: str, data: Json) -> None:
    """Answer a suspended step. Raises ConfigurationError if it is not suspended, or was answered otherwise."""
    host.check_process()
    topic = build_answer_topic(execution_id, step_key)
    wait = host.waits.find([execution_id]).get(execution_id)
    is_open = wait is not None and wait.target == topic
    if not is_open and not host.events.read(topic, limit=1):
        _check_asked(host, execution_id, step_key)
        is_open = True
    if is_open:
        host.publish([EventDraft(topic=topic, event_type=f"resume_{step_key}", data=data, once=f"{topic}:once")])
    # Of two that answer at the same time the first counts.
    (answer,) = host.events.read(topic, limit=1)
    if answer.data != data:
        raise ConfigurationError(f"step {step_key!r} of run {execution_id!r} has its answer already")


def _check_asked(host: Host, execution_id: str, step_key: str) -> None:
    """Raise ConfigurationError unless a run is about to wait for an answer, or has waited until its timeout."""
    info = host.read_run(execution_id)
    if info.status not in ENDED:
        is_asked = host.events.has(build_once(execution_id, f"suspend:{step_key}"))
        if is_asked and all(step.key != step_key for step in host.engine.list_steps(execution_id)):
            return
    raise ConfigurationError(
        f"run {execution_id!r} is {info.status} and not suspended in step {step_key!r}",
        hint=f"pollux-sync durable show {execution_id}",
    )


def build_once(execution_id: str, step_key: str) -> str:
    """Return what marks the event that a step publishes, so that it is published once."""
    return f"{execution_id}:{step_key}"
