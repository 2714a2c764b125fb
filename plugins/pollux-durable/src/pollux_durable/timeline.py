"""The timeline of a run and all below it: their steps and their events, in the order of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import attrs

from pollux_durable.data.runs import ENDED
from pollux_durable.retrying import list_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import Json, JsonObject, RunInfo, StepRecord
    from pollux_durable.hosting import Host

#: How often a follower looks.
_LOOK_S = 0.2
_PAGE = 1000


@attrs.frozen(kw_only=True)
class TimelineEntry:
    """A step that has ended, or an event. ``at`` is in seconds since the epoch.

    ``data`` is what the step has returned or the event carries, ``error`` what the step failed with.
    """

    at: float
    kind: Literal["step", "event"]
    execution_id: str | None
    name: str
    data: Json = None
    error: JsonObject | None = None
    duration_s: float | None = None
    sequence_id: int | None = None

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return attrs.asdict(self, recurse=False)


class _Reader:
    """Reads what is new since it last looked."""

    def __init__(self, host: Host, info: RunInfo) -> None:
        self._host = host
        self._info = info
        self._positions: dict[str, int] = {}
        self._sequence_id = 0

    def read(self) -> list[TimelineEntry]:
        """Return the entries that were not returned before, in the order of time."""
        names = [
            self._info.execution_id,
            *(info.execution_id for info in list_below(self._host, self._info.execution_id)),
        ]
        entries = [entry for name in names for entry in self._read_steps(name)]
        entries += self._read_events({*names})
        return sorted(entries, key=lambda entry: (entry.at, entry.sequence_id or 0))

    def _read_steps(self, execution_id: str) -> Iterator[TimelineEntry]:
        seen = self._positions.get(execution_id, 0)
        for step in self._host.engine.list_steps(execution_id):
            if step.position > seen:
                self._positions[execution_id] = max(self._positions.get(execution_id, 0), step.position)
                yield _describe_step(execution_id, step)

    def _read_events(self, names: set[str]) -> Iterator[TimelineEntry]:
        while True:
            events = self._host.events.read(self._info.topic, after=self._sequence_id, limit=_PAGE)
            for event in events:
                self._sequence_id = event.sequence_id
                # The topic is that of the root: other runs below it have events there too.
                if event.execution_id in names or self._info.parent_execution_id is None:
                    yield _describe_event(event)
            if len(events) < _PAGE:
                return


def iter_timeline(host: Host, execution_id: str, *, follow: bool = False) -> Iterator[TimelineEntry]:
    """Yield the steps and events of a run and all below it; with ``follow`` also new ones, until the run has ended.

    Raises ConfigurationError for an unknown run.
    """
    reader = _Reader(host, host.read_run(execution_id))
    while True:
        # Asked before the rest is read: what comes before the end must not be missed.
        has_ended = host.read_run(execution_id).status in ENDED
        yield from reader.read()
        if has_ended or not follow:
            return
        time.sleep(_LOOK_S)


def _describe_step(execution_id: str, step: StepRecord) -> TimelineEntry:
    value, error = read_outcome(step)
    return TimelineEntry(
        at=step.ended_at or 0.0,
        kind="step",
        execution_id=execution_id,
        name=step.key,
        data=value,
        error=error,
        duration_s=measure_duration(step.started_at, step.ended_at),
    )


def _describe_event(event: EventPayload) -> TimelineEntry:
    return TimelineEntry(
        at=event.created_at,
        kind="event",
        execution_id=event.execution_id,
        name=event.event_type or "event",
        data=event.data,
        sequence_id=event.sequence_id,
    )


def measure_duration(started_at: float | None, ended_at: float | None) -> float | None:
    """Return the seconds between two times, None if one is not known."""
    return None if started_at is None or ended_at is None else max(0.0, ended_at - started_at)


def read_outcome(step: StepRecord) -> tuple[Json, JsonObject | None]:
    """Return what a step has returned, and what it failed with: a failure is a record too."""
    result = step.result
    # A step that waits for a run has the outcome of that run in a list.
    outcome = result[0] if isinstance(result, list) and len(result) == 1 else result
    if step.error is not None:
        return None, step.error
    if isinstance(outcome, dict) and outcome.keys() == {"value"}:
        return outcome["value"], None
    if isinstance(outcome, dict) and outcome.keys() == {"error"}:
        return None, outcome["error"]
    return result, None
