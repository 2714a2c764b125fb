"""Answers from outside for runs that are suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.data.events import EventDraft
from pollux_durable.data.runs import ENDED
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    publish_answers(host, step_key, {execution_id: data})


def publish_answers(host: Host, step_key: str, answers: Mapping[str, Json]) -> None:
    """Answer a step in which many runs are suspended, by their ids.

    Raises ConfigurationError before anything is written if one of them is not suspended, and after all others have
    their answers if one was answered otherwise.
    """
    host.check_process()
    topics = {execution_id: build_answer_topic(execution_id, step_key) for execution_id in answers}
    waits = host.waits.find([*topics])
    drafts = []
    for execution_id, topic in topics.items():
        wait = waits.get(execution_id)
        if wait is None or wait.target != topic:
            if host.events.read(topic, limit=1):
                continue
            _check_asked(host, execution_id, step_key)
        data = answers[execution_id]
        drafts.append(EventDraft(topic=topic, event_type=f"resume_{step_key}", data=data, once=f"{topic}:once"))
    host.events.publish(drafts)
    # Of two that answer at the same time the first counts.
    others = [name for name, topic in topics.items() if host.events.read(topic, limit=1)[0].data != answers[name]]
    host.engine.note_answer()
    host.wake_waiting_for({draft.topic for draft in drafts})
    if others:
        more = f", as have {len(others) - 1} more" if len(others) > 1 else ""
        raise ConfigurationError(f"step {step_key!r} of run {others[0]!r} has its answer already{more}")


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
