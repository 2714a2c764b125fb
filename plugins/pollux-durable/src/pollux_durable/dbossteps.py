"""What DBOS does for each step and at the end of each run, in as few statements as it takes. Imports nothing of DBOS.

The results are those of DBOS. Its own statements are built by SQLAlchemy each time, which costs most of a short run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import attrs

if TYPE_CHECKING:
    from pollux_durable.engines import Database

_FIND = """\
SELECT r.status, s.function_name, s.output, s.error, s.serialization, s.child_workflow_id
FROM {schema}workflow_status r
LEFT JOIN {schema}operation_outputs s ON s.workflow_uuid = r.workflow_uuid AND s.function_id = :position
WHERE r.workflow_uuid = :id"""
#: The row of the run is locked until the step is recorded, so that nobody takes the run over in between. SQLite has one
#: writer.
_RECORD = """\
INSERT INTO {schema}operation_outputs (
    workflow_uuid, function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms,
    completed_at_epoch_ms, serialization, application_name, retention_timestamp
)
SELECT
    r.workflow_uuid, CAST(:position AS INTEGER), CAST(:name AS TEXT), CAST(:output AS TEXT), CAST(:error AS TEXT),
    CAST(:child AS TEXT), CAST(:started AS BIGINT), CAST(:completed AS BIGINT), CAST(:serialization AS TEXT),
    CAST(:application AS TEXT), CAST(:now AS BIGINT)
FROM {schema}workflow_status r
WHERE r.workflow_uuid = :id AND r.owner_xid = :owner {lock}
ON CONFLICT (workflow_uuid, function_id)
DO UPDATE SET completed_at_epoch_ms = {schema}operation_outputs.completed_at_epoch_ms
RETURNING completed_at_epoch_ms"""
_END = """\
UPDATE {schema}workflow_status
SET status = :status, deduplication_id = NULL, owner_xid = NULL, updated_at = :now, completed_at = :now
WHERE workflow_uuid = :id AND owner_xid = :owner AND status = 'PENDING'
RETURNING 1"""
_KEEP_RESULT = """\
INSERT INTO {schema}workflow_output (workflow_uuid, output, error) VALUES (:id, :output, :error)
ON CONFLICT (workflow_uuid) DO UPDATE SET output = excluded.output, error = excluded.error"""


class FoundStep(NamedTuple):
    """The status of a run, and one of its steps; the step has no name if it is not recorded."""

    status: str
    name: str | None
    output: str | None
    error: str | None
    serialization: str | None
    child_id: str | None


@attrs.frozen(kw_only=True)
class EndedStep:
    """A step to record, with its times in milliseconds."""

    execution_id: str
    position: int
    name: str
    output: str | None
    error: str | None
    serialization: str | None
    child_id: str | None
    started_ms: int | None
    ended_ms: int


class StepStatements:
    """Reads and writes steps, and ends runs. ``schema`` is that of the tables, with its dot."""

    def __init__(self, database: Database, schema: str, application: str) -> None:
        lock = "FOR NO KEY UPDATE" if database.dialect == "postgresql" else ""
        self._database = database
        self._application = application
        self._find = _FIND.format(schema=schema)
        self._record = _RECORD.format(schema=schema, lock=lock)
        self._end, self._keep_result = _END.format(schema=schema), _KEEP_RESULT.format(schema=schema)

    def find(self, execution_id: str, position: int) -> FoundStep | None:
        """Return the status of a run and the step at a position; None if there is no such run."""
        with self._database.transact() as transaction:
            rows = transaction.execute(self._find, {"id": execution_id, "position": position})
        return FoundStep(*rows[0]) if rows else None

    def record(self, step: EndedStep, owner: str) -> int | None:
        """Record a step, unless there is one; return when that one ended, None if the run has another owner by now."""
        values = {
            "id": step.execution_id,
            "owner": owner,
            "position": step.position,
            "name": step.name,
            "output": step.output,
            "error": step.error,
            "child": step.child_id,
            "started": step.started_ms,
            "completed": step.ended_ms,
            "serialization": step.serialization,
            "application": self._application,
            "now": _read_now_ms(),
        }
        with self._database.transact() as transaction:
            rows = transaction.execute(self._record, values)
        return rows[0][0] if rows else None

    def end(self, execution_id: str, status: str, owner: str, *, output: str | None, error: str | None) -> bool:
        """Record the end of a run; return False if it does not go on here any more."""
        values = {"id": execution_id, "owner": owner, "status": status, "now": _read_now_ms()}
        with self._database.transact() as transaction:
            if not transaction.execute(self._end, values):
                return False
            transaction.execute(self._keep_result, {"id": execution_id, "output": output, "error": error})
        return True


def _read_now_ms() -> int:
    return int(time.time() * 1000)
