"""Schedules and triggers: workflows that times or events start, without a caller."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pollux_durable.crons import check_cron, find_next
from pollux_durable.data.events import EventPayload, Trigger
from pollux_durable.data.schedules import Schedule, Timetable
from pollux_durable.errors import PayloadError
from pollux_durable.invoking import check_timeout
from pollux_durable.scheduling import build_payload as build_schedule_payload
from pollux_durable.triggering import build_payload as build_event_payload
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared

#: A cron expression; or one with ``timezone``, ``key`` and ``backfill``; or whether there may be schedules later.
ScheduleLike: TypeAlias = str | Mapping[str, Any] | bool | None
_FIELDS = ("cron", "timezone", "key", "backfill")


def read_timetable(name: str, given: object) -> Timetable | None:
    """Return the schedule of a declaration, or None if it has no times. Raises ConfigurationError for a bad one."""
    if given is None or isinstance(given, bool):
        return None
    if isinstance(given, str):
        given = {"cron": given}
    unknown = [*given.keys() - set(_FIELDS)] if isinstance(given, Mapping) else []
    if not isinstance(given, Mapping) or unknown or "cron" not in given:
        raise ConfigurationError(
            f"schedule of {name!r} is {given!r}",
            hint='use "0 9 * * *", or {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "key": "global"}',
        )
    timetable = Timetable(**given)
    check_timetable(name, timetable)
    return timetable


def check_timetable(name: str, timetable: Timetable) -> None:
    """Raise ConfigurationError for an invalid cron expression, time zone or key."""
    check_cron(timetable.cron, timetable.timezone, f"the schedule of {name!r}")
    if not _is_text(timetable.key):
        raise ConfigurationError(f"the key of a schedule of {name!r} is {timetable.key!r}", hint="use a text")


def read_trigger(
    name: str, topic: object, batch_size: object = 1, batch_timeout_s: float | None = None
) -> Trigger | None:
    """Return the trigger of a declaration, or None if it has no topic. Raises ConfigurationError for a bad one."""
    check_timeout(batch_timeout_s)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ConfigurationError(f"batch_size of {name!r} is {batch_size!r}", hint="use a whole number from 1 on")
    if topic is None and (batch_size, batch_timeout_s) != (1, None):
        raise ConfigurationError(f"{name!r} has a batch of events and no topic", hint="pass trigger_on_event= too")
    if batch_size == 1 and batch_timeout_s is not None:
        raise ConfigurationError(
            f"batch_timeout_seconds of {name!r} has no batch to wait for",
            hint="pass a batch_size from 2 on, or leave it out",
        )
    if topic is None:
        return None
    if not isinstance(topic, str) or not _is_text(topic):
        raise ConfigurationError(f"trigger_on_event of {name!r} is {topic!r}", hint="use the text of a topic")
    return Trigger(topic=topic, batch_size=batch_size, batch_timeout_s=batch_timeout_s)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def check_starts(workflow: Declared) -> None:
    """Raise ConfigurationError for a schedule that goes with nothing else, or a payload that would not fit."""
    if _is_scheduled(workflow) and workflow.trigger is not None:
        raise ConfigurationError(
            f"workflow {workflow.id!r} has a schedule and a topic that triggers it",
            hint="declare one workflow for each",
        )
    if _is_scheduled(workflow) and workflow.queue is not None:
        raise ConfigurationError(
            f"workflow {workflow.id!r} has a schedule and a queue",
            hint="leave queue= out: one run of a schedule goes on at a time",
        )
    if _is_scheduled(workflow):
        _check_schedule_payload(workflow)
    if workflow.trigger is not None:
        event = EventPayload(sequence_id=1, topic=workflow.trigger.topic, data=None, created_at=0.0)
        example = build_event_payload([event], is_batch=workflow.trigger.batch_size > 1)
        kind = "BatchEventPayload" if workflow.trigger.batch_size > 1 else "EventPayload"
        _check_payload(workflow, example, kind)


def _is_scheduled(workflow: Declared) -> bool:
    return workflow.schedule is not None and workflow.schedule is not False


def check_schedulable(workflow: Declared) -> None:
    """Raise ConfigurationError for a workflow that no schedule may start."""
    if workflow.trigger is not None or workflow.schedule is False:
        reason = "schedule=False" if workflow.trigger is None else "a topic that triggers it"
        raise ConfigurationError(
            f"workflow {workflow.id!r} is declared with {reason}", hint="declare it with @workflow(schedule=True)"
        )
    _check_schedule_payload(workflow)


def _check_schedule_payload(workflow: Declared) -> None:
    example = Schedule(workflow_id=workflow.id, key="global", cron="@daily", timezone="UTC", next_at=0.0)
    _check_payload(workflow, build_schedule_payload(example, 0.0, None).to_dict(), "SchedulePayload")


def _check_payload(workflow: Declared, example: object, kind: str) -> None:
    try:
        workflow.check_payload(example)
    except PayloadError as error:
        raise PayloadError(
            f"workflow {workflow.id!r} is started with a {kind}, which its payload does not admit: {error}",
            hint=f"take (ctx), or (ctx, payload: {kind})",
        ) from None


def record_starts(host: Host, workflow: Declared) -> None:
    """Store the schedule and the trigger that a workflow is declared with."""
    timetable = workflow.timetable
    next_at = 0.0 if timetable is None else find_next(timetable.cron, timetable.timezone, time.time())
    host.schedules.declare(workflow.id, timetable, next_at)
    if workflow.trigger is not None:
        host.triggers.declare(workflow.id, workflow.trigger.topic)
