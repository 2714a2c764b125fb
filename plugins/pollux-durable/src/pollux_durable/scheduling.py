"""Starts the workflows whose time has come, each time once, however many processes look at the same schedules."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from pollux_durable.crons import find_latest, find_next, to_datetime
from pollux_durable.data.runs import ENDED
from pollux_durable.data.schedules import SchedulePayload
from pollux_durable.invoking import build_root
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.data.runs import RunRequest
    from pollux_durable.data.schedules import Schedule
    from pollux_durable.hosting import Host
    from pollux_durable.tables.schedules import ScheduleRow

log = logging.getLogger("pollux_durable")
#: A process that has claimed a time and not started its run for this long has died in between.
_STUCK_S = 5.0
#: So many are started between two beats, so that the process does not seem dead.
_AT_ONCE = 100


class Scheduler:
    """Starts runs from the moment ``since`` on; times before that were missed if no other process was there."""

    def __init__(self, host: Host, since: float | None = None) -> None:
        self._host = host
        self._since = time.time() if since is None else since
        #: What is wrong with schedules, by their ids: each is told once.
        self._known: dict[str, str] = {}

    def fire_due(self, now: float | None = None) -> None:
        """Start the workflows of this process whose time has come. ``now`` is in seconds since the epoch."""
        now = time.time() if now is None else now
        due = self._host.schedules.find_due(now)
        declared = {workflow.id for workflow in self._host.registry.list_all()} if due else set()
        claimed: list[ScheduleRow] = []
        requests: list[RunRequest] = []
        for row in due:
            if row.workflow_id in declared and len(claimed) < _AT_ONCE:
                self._add(row, now, claimed, requests)
        if claimed:
            self._host.start(requests)
            self._host.schedules.confirm(claimed)

    def _add(self, row: ScheduleRow, now: float, claimed: list[ScheduleRow], requests: list[RunRequest]) -> None:
        """Add what is to be started. A schedule that cannot be read here, or does not fit any more, stops no other."""
        try:
            # Before the claim, which would be in vain if the workflow does not take the payload any more.
            self._build_request(row)
            brought = self._bring_on(row, now)
            if brought is not None:
                requests.append(self._build_request(brought))
                claimed.append(brought)
        except (ConfigurationError, LookupError, ValueError) as error:
            if self._known.get(row.id) != str(error):
                self._known[row.id] = str(error)
                log.warning("schedule %r cannot be started: %s: %s", row.id, type(error).__name__, error)

    def _bring_on(self, row: ScheduleRow, now: float) -> ScheduleRow | None:
        """Return the row if the run of its last time is to be started here."""
        if row.claimed_at is not None:
            return row if now - row.claimed_at > _STUCK_S else None
        if row.backfill:
            return None if self._is_running(row) else self._claim(row, row.next_at, now)
        slot = find_latest(row.cron, row.timezone, now)
        is_missed = slot < self._since
        if is_missed and now - slot < _STUCK_S:
            return None  # a process that was there at the time may be about to start it
        if is_missed or self._is_running(row):
            self._host.schedules.skip(row, find_next(row.cron, row.timezone, now))
            return None
        return self._claim(row, slot, now)

    def _is_running(self, row: ScheduleRow) -> bool:
        if row.last_at is None:
            return False
        execution_id = build_execution_id(row, row.last_at)
        run = self._host.read_runs([execution_id]).get(execution_id)
        return run is not None and run.status not in ENDED

    def _claim(self, row: ScheduleRow, slot: float, now: float) -> ScheduleRow | None:
        next_at = find_next(row.cron, row.timezone, slot)
        if not self._host.schedules.claim(row, slot, next_at, now):
            return None
        return attrs.evolve(row, previous_at=row.last_at, last_at=slot, next_at=next_at)

    def _build_request(self, row: ScheduleRow) -> RunRequest:
        """Return the run of the last time. To start it again does nothing."""
        slot = row.next_at if row.last_at is None else row.last_at
        payload = build_payload(row, slot, row.previous_at).to_dict()
        workflow = self._host.registry.find(row.workflow_id)
        return build_root(workflow, payload, {"execution_id": build_execution_id(row, slot)})


def build_execution_id(schedule: Schedule, slot: float) -> str:
    """Return the id of the run of a time."""
    return f"schedule:{schedule.id}:{datetime.fromtimestamp(slot, UTC):%Y-%m-%dT%H:%M:%SZ}"


def build_payload(schedule: Schedule, slot: float, previous: float | None) -> SchedulePayload:
    """Return what the run of a time is handed."""
    return SchedulePayload(
        timestamp=to_datetime(slot, schedule.timezone),
        last_timestamp=None if previous is None else to_datetime(previous, schedule.timezone),
        timezone=schedule.timezone,
        schedule_id=schedule.id,
        key=schedule.key,
        upcoming=to_datetime(find_next(schedule.cron, schedule.timezone, slot), schedule.timezone),
    )


def find_schedule(host: Host, workflow_id: str, key: str) -> Schedule:
    """Return a schedule. Raises ConfigurationError if it does not exist."""
    known = host.schedules.list_all(workflow_id)
    for schedule in known:
        if schedule.key == key:
            return schedule
    keys = ", ".join(repr(schedule.key) for schedule in known) or "none"
    raise ConfigurationError(
        f"workflow {workflow_id!r} has no schedule with the key {key!r}",
        hint=f"schedules.create makes one; its keys are: {keys}",
    )


def pause_schedule(host: Host, workflow_id: str, key: str) -> Schedule:
    """Pause a schedule; return it. Raises ConfigurationError if it does not exist."""
    host.schedules.set_paused(workflow_id, key, is_paused=True)
    return find_schedule(host, workflow_id, key)


def resume_schedule(host: Host, workflow_id: str, key: str) -> Schedule:
    """Have a paused schedule go on, with its next time; return it. Raises ConfigurationError if it does not exist."""
    schedule = find_schedule(host, workflow_id, key)
    if not schedule.is_paused:
        return schedule
    next_at = find_next(schedule.cron, schedule.timezone, time.time())
    host.schedules.set_paused(workflow_id, key, is_paused=False, next_at=next_at)
    return attrs.evolve(schedule, is_paused=False, next_at=next_at)
