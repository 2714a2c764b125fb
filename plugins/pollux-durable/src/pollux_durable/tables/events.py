"""The table of events: what runs publish, in one order over all topics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pollux_durable.data.events import EventPayload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.events import EventDraft
    from pollux_durable.engines import Database, Row, Transaction

_COLUMNS = "sequence_id, topic, event_type, data, execution_id, at"
#: PostgreSQL commits in another order than it numbers: without this lock a reader that follows the numbers would miss
#: an event whose transaction ends after that of a later number.
_LOCK = "SELECT pg_advisory_xact_lock(7653212)"


class EventTable:
    """The events of a database."""

    def __init__(self, database: Database, store: JsonStore) -> None:
        self._database = database
        self._store = store

    def publish(self, drafts: Sequence[EventDraft]) -> list[int]:
        """Publish events together; return their sequence ids. One that was published before keeps its id."""
        with self._database.transact() as transaction:
            return self.insert(transaction, drafts)

    def insert(self, transaction: Transaction, drafts: Sequence[EventDraft]) -> list[int]:
        """Publish events with whatever else the transaction writes."""
        if self._database.dialect == "postgresql":
            transaction.execute(_LOCK)
        return [self._insert_one(transaction, draft) for draft in drafts]

    def _insert_one(self, transaction: Transaction, draft: EventDraft) -> int:
        rows = transaction.execute(
            "INSERT INTO pollux_events (topic, event_type, data, execution_id, once, at)"
            " VALUES (:topic, :event_type, :data, :execution_id, :once, :at)"
            " ON CONFLICT (once) DO NOTHING RETURNING sequence_id",
            {
                "topic": draft.topic,
                "event_type": draft.event_type,
                "data": self._store.dump(draft.data, "the data of an event"),
                "execution_id": draft.execution_id,
                "once": draft.once,
                "at": time.time(),
            },
        ) or transaction.execute("SELECT sequence_id FROM pollux_events WHERE once = :once", {"once": draft.once})
        return int(rows[0][0])

    def read(
        self, topic: str, *, after: int = 0, event_type: str | None = None, limit: int = 1000
    ) -> list[EventPayload]:
        """Return the events of a topic after a sequence id, in their order."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                f"SELECT {_COLUMNS} FROM pollux_events WHERE topic = :topic AND sequence_id > :after"  # noqa: S608
                " AND (CAST(:event_type AS TEXT) IS NULL OR event_type = :event_type)"
                " ORDER BY sequence_id LIMIT :limit",
                {"topic": topic, "after": after, "event_type": event_type, "limit": limit},
            )
        return [self._read_row(row) for row in rows]

    def has(self, once: str) -> bool:
        """Return whether an event with this mark was published."""
        with self._database.transact() as transaction:
            return bool(transaction.execute("SELECT 1 FROM pollux_events WHERE once = :once", {"once": once}))

    def find_newest_id(self) -> int:
        """Return the sequence id of the newest event of all topics, or 0."""
        with self._database.transact() as transaction:
            ((newest,),) = transaction.execute("SELECT MAX(sequence_id) FROM pollux_events")
        return newest or 0

    def find_id_before(self, timestamp: float) -> int:
        """Return the sequence id of the newest event that was published before a time, or 0."""
        with self._database.transact() as transaction:
            # By its maximum: ordered and limited, SQLite would sort all older events.
            ((newest,),) = transaction.execute(
                "SELECT MAX(sequence_id) FROM pollux_events WHERE at < :at", {"at": timestamp}
            )
        return int(newest or 0)

    def delete_before(self, timestamp: float) -> int:
        """Delete events that were published before a time; return how many."""
        with self._database.transact() as transaction:
            return len(
                transaction.execute("DELETE FROM pollux_events WHERE at < :at RETURNING sequence_id", {"at": timestamp})
            )

    def _read_row(self, row: Row) -> EventPayload:
        sequence_id, topic, event_type, data, execution_id, at = row
        return EventPayload(
            sequence_id=sequence_id,
            topic=topic,
            event_type=event_type,
            data=self._store.load(data),
            execution_id=execution_id,
            created_at=at,
        )
