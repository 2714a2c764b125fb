"""Turns the rows of DBOS about runs and steps into values of ours. Imports nothing of DBOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable.data.queues import SHARED_QUEUE
from pollux_durable.data.runs import EngineRun, StepRecord
from pollux_durable.errors import RunFailure, describe_error

if TYPE_CHECKING:
    from dbos import StepInfo, WorkflowStatus

    from pollux_durable.data.runs import EngineStatus, JsonObject

#: The statuses of DBOS, and those of an engine.
STATUSES: dict[str, EngineStatus] = {
    "DELAYED": "queued",
    "ENQUEUED": "queued",
    "PENDING": "running",
    "CANCELLED": "stopped",
    "SUCCESS": "completed",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}


@attrs.frozen
class Unreadable:
    """A mark for data that cannot be read. DBOS would return the stored text and hide the error."""

    message: str


@attrs.frozen(kw_only=True)
class StoredRun:
    """A run in the tables of DBOS, with the names of its `WorkflowStatus`."""

    workflow_id: str
    status: str
    name: str
    input: Any
    output: Any
    error: object
    created_at: int | None
    dequeued_at: int | None
    completed_at: int | None
    executor_id: str | None
    app_version: str | None


def read_status(status: WorkflowStatus | StoredRun) -> EngineRun:
    """Return a run."""
    request = _read_request(status)
    error: object = _find_unreadable(status) or status.error
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        error = RunFailure({"type": "RunFailedError", "message": "its process died again and again"})
    return EngineRun(
        execution_id=status.workflow_id,
        name=status.name,
        status=STATUSES[status.status],
        request=request,
        result=None if isinstance(error, Unreadable) else status.output,
        error=None if error is None else _read_error(error),
        created_at=_to_seconds(status.created_at) or 0.0,
        started_at=_to_seconds(status.dequeued_at) or _to_seconds(status.created_at),
        ended_at=_to_seconds(status.completed_at),
        queue=request.get("queue"),
        executor_id=status.executor_id,
        version=status.app_version,
        is_readable=not isinstance(error, Unreadable),
    )


def _read_request(status: WorkflowStatus | StoredRun) -> JsonObject:
    given = status.input
    arguments = given.get("args") if isinstance(given, dict) else None
    if arguments and isinstance(arguments[0], dict):
        return arguments[0]
    return {
        "execution_id": status.workflow_id,
        "workflow_id": status.name,
        "root_execution_id": status.workflow_id,
        "root_workflow_id": status.name,
        "session_id": "",
        "created_at": _to_seconds(status.created_at) or 0.0,
    }


def _find_unreadable(status: WorkflowStatus | StoredRun) -> Unreadable | None:
    """Return the mark of unreadable data in a run, or None. DBOS returns pickles as their stored text."""
    values: list[object] = [status.input, status.output, status.error]
    for value in values:
        if isinstance(value, Unreadable):
            return value
    is_text = isinstance(values[0], str) or isinstance(values[2], str)
    return Unreadable("a stored value is no JSON, and is not read") if is_text else None


def find_queue(status: WorkflowStatus) -> str:
    """Return the queue through which a run goes on."""
    # Not the one of the row: a run that was recovered is on a queue of DBOS, without the limits of its own.
    return _read_request(status).get("queue") or SHARED_QUEUE


def _read_error(error: object) -> JsonObject:
    if isinstance(error, Unreadable):
        return {"type": "StoredDataError", "message": error.message}
    if isinstance(error, RunFailure):
        return error.error
    if isinstance(error, BaseException):
        return describe_error(error)
    return {"type": "StoredDataError", "message": "its error cannot be read"}


def read_step(step: StepInfo) -> StepRecord:
    """Return a step."""
    error: object = step["error"]
    output = step["output"]
    if isinstance(output, Unreadable):
        output, error = None, output
    return StepRecord(
        position=step["function_id"],
        key=step["function_name"],
        result=output,
        error=None if error is None else _read_error(error),
        started_at=_to_seconds(step["started_at_epoch_ms"]),
        ended_at=_to_seconds(step["completed_at_epoch_ms"]),
    )


def _to_seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
