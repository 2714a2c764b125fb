"""The table of sessions: what an agent remembers of a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.engines import Database


class SessionTable:
    """The memories of a database."""

    def __init__(self, database: Database, store: JsonStore) -> None:
        self._database = database
        self._store = store

    def read(self, session_id: str, agent_id: str) -> JsonObject | None:
        """Return what an agent remembers of a session, None if nothing."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT memory FROM pollux_sessions WHERE session_id = :session_id AND agent_id = :agent_id",
                {"session_id": session_id, "agent_id": agent_id},
            )
        found: JsonObject | None = self._store.load(rows[0][0]) if rows else None
        return found

    def save(self, session_id: str, agent_id: str, memory: JsonObject) -> None:
        """Store what an agent remembers of a session."""
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_sessions (session_id, agent_id, memory) VALUES (:session_id, :agent_id, :memory)"
                " ON CONFLICT (session_id, agent_id) DO UPDATE SET memory = :memory",
                {
                    "session_id": session_id,
                    "agent_id": agent_id,
                    "memory": self._store.dump(memory, "the memory of a session"),
                },
            )
