"""Schedules that are made while a program runs, for one those of each user."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pollux_durable import configuring
from pollux_durable.crons import find_next
from pollux_durable.data.schedules import Timetable
from pollux_durable.scheduling import find_schedule, pause_schedule, resume_schedule
from pollux_durable.starting import check_schedulable, check_timetable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.schedules import Schedule
    from pollux_durable.registry import Declared


def create(
    workflow: Declared | str,
    cron: str,
    timezone: str = "UTC",
    key: str = "global",
    *,
    backfill: bool = False,
) -> Schedule:
    """Have a workflow started at the times of ``cron``, in place of its schedule with the same ``key``; return it.

    Times at which no process was there are left out, unless ``backfill``. Raises ConfigurationError for an invalid
    expression or time zone, and for a workflow that takes no such payload.
    """
    host = configuring.find_host()
    found = host.registry.find(workflow) if isinstance(workflow, str) else workflow
    timetable = Timetable(cron=cron, timezone=timezone, key=key, backfill=backfill)
    check_timetable(found.id, timetable)
    check_schedulable(found)
    host.schedules.save(found.id, timetable, find_next(cron, timezone, time.time()))
    return find_schedule(host, found.id, key)


def list(workflow: Declared | str | None = None) -> Sequence[Schedule]:  # noqa: A001 - named as in Polos
    """Return all schedules, or those of a workflow."""
    return configuring.find_host().schedules.list_all(None if workflow is None else _read_id(workflow))


def pause(workflow: Declared | str, key: str = "global") -> Schedule:
    """Pause a schedule until it is resumed; return it. Raises ConfigurationError if it does not exist."""
    return pause_schedule(configuring.find_host(), _read_id(workflow), key)


def resume(workflow: Declared | str, key: str = "global") -> Schedule:
    """Have a paused schedule go on, with its next time; return it. Raises ConfigurationError if it does not exist."""
    return resume_schedule(configuring.find_host(), _read_id(workflow), key)


def delete(workflow: Declared | str, key: str = "global") -> None:
    """Remove a schedule. One that ``@workflow`` declares is there again at the next start of the program.

    Raises ConfigurationError if it does not exist.
    """
    host, workflow_id = configuring.find_host(), _read_id(workflow)
    if not host.schedules.remove(workflow_id, key):
        find_schedule(host, workflow_id, key)


def _read_id(workflow: Declared | str) -> str:
    return workflow if isinstance(workflow, str) else workflow.id
