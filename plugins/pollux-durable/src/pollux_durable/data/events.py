"""Events: what runs publish and wait for."""

from __future__ import annotations

import attrs

from pollux_durable.data.runs import Json, JsonObject  # noqa: TC001 - attrs resolves them, for typed payloads


@attrs.frozen(kw_only=True)
class EventPayload:
    """An event. ``sequence_id`` grows over all topics; ``created_at`` is in seconds since the epoch."""

    sequence_id: int
    topic: str
    event_type: str | None = None
    data: Json = None
    execution_id: str | None = None
    created_at: float

    @property
    def id(self) -> str:
        """The sequence id as text."""
        return str(self.sequence_id)

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        return attrs.asdict(self, recurse=False)

    @classmethod
    def from_dict(cls, data: JsonObject) -> EventPayload:
        """Return the event of a JSON form."""
        return cls(**data)


@attrs.frozen(kw_only=True)
class BatchEventPayload:
    """Events that start a workflow together, in their order."""

    events: tuple[EventPayload, ...]

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return {"events": [event.to_dict() for event in self.events]}


@attrs.frozen(kw_only=True)
class Trigger:
    """The topic whose events start a workflow: ``batch_size`` at a time, or those that came in ``batch_timeout_s``."""

    topic: str
    batch_size: int = 1
    batch_timeout_s: float | None = None


@attrs.frozen(kw_only=True)
class EventDraft:
    """An event that is to be published. Of all with the same ``once`` only the first is."""

    topic: str
    event_type: str | None = None
    data: Json = None
    execution_id: str | None = None
    once: str | None = None


@attrs.frozen(kw_only=True)
class Suspension:
    """A run that waits for an answer from outside. ``data`` is what it shows to whoever answers."""

    execution_id: str
    workflow_id: str
    root_execution_id: str
    root_workflow_id: str
    step_key: str
    data: Json = None
