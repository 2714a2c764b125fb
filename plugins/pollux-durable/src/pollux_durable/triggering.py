"""Starts workflows with the events of their topics: in order, each event once, one run of a trigger at a time."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import attrs

from pollux_durable.data.events import BatchEventPayload
from pollux_durable.data.runs import ENDED
from pollux_durable.invoking import build_root
from pollux_durable.notifying import POLL_S
from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from pollux_durable.data.events import EventPayload, Trigger
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared
    from pollux_durable.tables.triggers import TriggerRow

#: A process that has claimed events and not started their run for this long has died in between.
_STUCK_S = 5.0
#: The end of a run is recorded a moment after it is announced.
_SHORTEST_PAUSE_S = 0.005
log = logging.getLogger("pollux_durable")


class Dispatcher:
    """A thread that looks for events whenever something has changed here, and at times for those of others."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, str] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pollux-durable triggers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._is_over.set()
        self._host.changes.announce()
        self._thread.join()

    def _run(self) -> None:
        pause_s = POLL_S
        while not self._is_over.is_set():
            seen = self._host.changes.count
            if not self._find_triggered():
                self._is_over.wait(POLL_S)
                continue
            try:
                self.dispatch()
            except Exception as error:  # noqa: BLE001 - a database that is away comes back
                self._warn("the triggers", error)
            has_changed = self._host.changes.wait(seen, pause_s)
            pause_s = _SHORTEST_PAUSE_S if has_changed else min(pause_s * 2, POLL_S)

    def _find_triggered(self) -> dict[str, Declared]:
        workflows = self._host.registry.list_all()
        return {workflow.id: workflow for workflow in workflows if workflow.trigger is not None}

    def dispatch(self, now: float | None = None) -> None:
        """Start the runs for which events are there. ``now`` is in seconds since the epoch."""
        now = time.time() if now is None else now
        triggered = self._find_triggered()
        for row in self._host.triggers.list_all():
            workflow = triggered.get(row.workflow_id)
            if workflow is not None and workflow.trigger is not None and workflow.trigger.topic == row.topic:
                try:
                    self._bring_on(row, workflow, workflow.trigger, now)
                except PolluxError as error:  # an event that cannot be read stops no other topic
                    self._warn(f"the trigger of {row.workflow_id!r}", error)

    def _warn(self, subject: str, error: Exception) -> None:
        """Log what is wrong, once for each reason."""
        if self._known.get(subject) != str(error):
            self._known[subject] = str(error)
            log.warning("%s could not be looked at: %s: %s", subject, type(error).__name__, error)

    def _bring_on(self, row: TriggerRow, workflow: Declared, trigger: Trigger, now: float) -> None:
        if row.claimed_at is not None:
            if now - row.claimed_at > _STUCK_S:
                self._start(row, workflow, trigger)
            return
        events = self._read_events(row, trigger, now)
        if not events or self._is_running(row):
            return
        last_id = events[-1].sequence_id
        if self._host.triggers.claim(row, last_id, now):
            self._start(attrs.evolve(row, previous_id=row.sequence_id, sequence_id=last_id), workflow, trigger)

    def _read_events(self, row: TriggerRow, trigger: Trigger, now: float) -> list[EventPayload]:
        """Return the events of the next run, none while the batch is not full and its time has not come."""
        events = self._host.events.read(row.topic, after=row.sequence_id, limit=trigger.batch_size)
        if len(events) == trigger.batch_size:
            return events
        is_over = (
            events and trigger.batch_timeout_s is not None and now >= events[0].created_at + trigger.batch_timeout_s
        )
        return events if is_over else []

    def _is_running(self, row: TriggerRow) -> bool:
        if row.previous_id is None:
            return False
        execution_id = build_execution_id(row)
        run = self._host.read_runs([execution_id]).get(execution_id)
        return run is not None and run.status not in ENDED

    def _start(self, row: TriggerRow, workflow: Declared, trigger: Trigger) -> None:
        """Start the run of the events that are claimed. That does nothing if it is there."""
        events = self._host.events.read(row.topic, after=row.previous_id or 0, limit=trigger.batch_size)
        events = [event for event in events if event.sequence_id <= row.sequence_id]
        if events:
            payload = build_payload(events, is_batch=trigger.batch_size > 1)
            self._host.start([build_root(workflow, payload, {"execution_id": build_execution_id(row)})])
        self._host.triggers.confirm(row)


def build_execution_id(row: TriggerRow) -> str:
    """Return the id of the last run of a trigger. Its number is that of the last event of the run."""
    return f"trigger:{row.workflow_id}:{row.sequence_id}"


def build_payload(events: list[EventPayload], *, is_batch: bool) -> dict[str, object]:
    """Return what a run is handed, in its JSON form."""
    return BatchEventPayload(events=tuple(events)).to_dict() if is_batch else events[0].to_dict()
