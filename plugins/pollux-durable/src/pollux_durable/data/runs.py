"""Runs: what was asked for, and what is known of it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]

#: As the handle of a run shows it. "waiting": it holds neither a thread nor a place in its queue.
RunStatus: TypeAlias = Literal["queued", "running", "waiting", "pending_cancel", "completed", "failed", "cancelled"]
#: As an engine knows it. A run that waits is "stopped" for the engine, and so is one that was cancelled.
EngineStatus: TypeAlias = Literal["queued", "running", "stopped", "completed", "failed"]
#: Statuses after which nothing changes any more, except by `resume` or `retry`.
ENDED: frozenset[RunStatus] = frozenset({"completed", "failed", "cancelled"})


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run that is asked for. It is stored as the input of the run, so it must have a JSON form.

    ``created_at`` is in seconds since the epoch. ``timeout_s`` counts from the first start of the run. Runs of one
    ``state_scope`` share the state of their workflow.
    """

    execution_id: str
    workflow_id: str
    payload: Json = None
    root_execution_id: str
    root_workflow_id: str
    parent_execution_id: str | None = None
    step_key: str | None = None
    session_id: str
    state_scope: str = ""
    user_id: str | None = None
    initial_state: Json = None
    timeout_s: float | None = None
    created_at: float
    queue: str | None = None
    concurrency_key: str | None = None
    priority: int = 0

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        return attrs.asdict(self, recurse=False)

    @classmethod
    def from_dict(cls, data: JsonObject) -> RunRequest:
        """Return the request of a JSON form."""
        names = {field.name for field in attrs.fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})


@attrs.frozen(kw_only=True)
class EngineRun:
    """A run as an engine stores it. Times are in seconds since the epoch.

    ``result`` is what the run returned, ``error`` what it failed with: see `describe_error`. One that is not readable
    was written with a codec that is missing here, or by something else.
    """

    execution_id: str
    name: str
    status: EngineStatus
    request: JsonObject
    result: Json = None
    error: JsonObject | None = None
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    queue: str | None = None
    executor_id: str | None = None
    version: str | None = None
    is_readable: bool = True


@attrs.frozen(kw_only=True)
class StepRecord:
    """A step that has ended. ``position`` counts from 1, in the order in which the steps of the run began."""

    position: int
    key: str
    result: Json = None
    error: JsonObject | None = None
    started_at: float | None = None
    ended_at: float | None = None


@attrs.frozen(kw_only=True)
class RunInfo:
    """The state of a run. Times are in seconds since the epoch.

    ``result`` is in its JSON form. ``waits_for`` is the step in which a run with the status "waiting" waits.
    """

    execution_id: str
    workflow_id: str
    status: RunStatus
    payload: Json = None
    result: Json = None
    error: str | None = None
    error_type: str | None = None
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    parent_execution_id: str | None = None
    root_execution_id: str
    root_workflow_id: str
    session_id: str
    user_id: str | None = None
    step_key: str | None = None
    waits_for: str | None = None
    queue: str | None = None
    executor_id: str | None = None
    version: str | None = None

    @property
    def topic(self) -> str:
        """The topic that the run shares with all runs below its root."""
        return build_topic(self.root_workflow_id, self.root_execution_id)

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return attrs.asdict(self, recurse=False)


def build_topic(root_workflow_id: str, root_execution_id: str) -> str:
    """Return the topic of a run at the top and of all runs below it."""
    return f"workflow/{root_workflow_id}/{root_execution_id}"
