"""The table of triggers: how far each has come in its topic.

Events are claimed before their run is started: only one process moves ``sequence_id`` on. Until the run is there the
row says so by ``claimed_at``, so that another process can start it if that one died in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pollux_durable.engines import Database


@attrs.frozen(kw_only=True)
class TriggerRow:
    """The progress of a trigger: its last run got the events after ``previous_id``, up to ``sequence_id``.

    ``previous_id`` is None before the first run.
    """

    workflow_id: str
    topic: str
    sequence_id: int
    previous_id: int | None = None
    claimed_at: float | None = None


class TriggerTable:
    """The triggers of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(self, workflow_id: str, topic: str) -> None:
        """Store a trigger. One that is new, or has another topic now, begins with what is published from now on."""
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_triggers (workflow_id, topic, sequence_id)"
                " VALUES (:workflow_id, :topic, (SELECT COALESCE(MAX(sequence_id), 0) FROM pollux_events))"
                " ON CONFLICT (workflow_id) DO UPDATE SET topic = excluded.topic, sequence_id = excluded.sequence_id,"
                " previous_id = NULL, claimed_at = NULL WHERE pollux_triggers.topic <> excluded.topic",
                {"workflow_id": workflow_id, "topic": topic},
            )

    def list_all(self) -> list[TriggerRow]:
        """Return all triggers."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT workflow_id, topic, sequence_id, previous_id, claimed_at FROM pollux_triggers"
            )
        return [
            TriggerRow(
                workflow_id=workflow_id,
                topic=topic,
                sequence_id=sequence_id,
                previous_id=previous_id,
                claimed_at=claimed_at,
            )
            for workflow_id, topic, sequence_id, previous_id, claimed_at in rows
        ]

    def claim(self, row: TriggerRow, sequence_id: int, now: float) -> bool:
        """Return whether the caller is the one to start the run of the events up to ``sequence_id``."""
        with self._database.transact() as transaction:
            return bool(
                transaction.execute(
                    "UPDATE pollux_triggers SET previous_id = sequence_id, sequence_id = :sequence_id,"
                    " claimed_at = :now WHERE workflow_id = :workflow_id AND topic = :topic AND sequence_id = :old"
                    " AND claimed_at IS NULL RETURNING workflow_id",
                    {
                        "workflow_id": row.workflow_id,
                        "topic": row.topic,
                        "old": row.sequence_id,
                        "sequence_id": sequence_id,
                        "now": now,
                    },
                )
            )

    def confirm(self, row: TriggerRow) -> None:
        """Note that the last run is started."""
        with self._database.transact() as transaction:
            transaction.execute(
                "UPDATE pollux_triggers SET claimed_at = NULL WHERE workflow_id = :workflow_id AND sequence_id = :id",
                {"workflow_id": row.workflow_id, "id": row.sequence_id},
            )
