"""Schedules of workflows, and the payload of a run that a schedule starts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class SchedulePayload:
    """The payload of a run that a schedule starts. Times are as the clocks of its time zone show them.

    ``timestamp`` is the time for which it is started, ``last_timestamp`` the one before, ``upcoming`` the next one.
    """

    timestamp: datetime
    last_timestamp: datetime | None = None
    timezone: str
    schedule_id: str
    key: str
    upcoming: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }


@attrs.frozen(kw_only=True)
class Timetable:
    """The times at which a workflow is to be started, as its code says them."""

    cron: str
    timezone: str = "UTC"
    key: str = "global"
    backfill: bool = False


@attrs.frozen(kw_only=True)
class Schedule:
    """A schedule of a database. Times are in seconds since the epoch.

    ``next_at`` is when the workflow is started next, ``last_at`` the time for which it was started last.
    """

    workflow_id: str
    key: str
    cron: str
    timezone: str
    backfill: bool = False
    is_paused: bool = False
    next_at: float
    last_at: float | None = None

    @property
    def id(self) -> str:
        """The id: workflow and key."""
        return f"{self.workflow_id}:{self.key}"
