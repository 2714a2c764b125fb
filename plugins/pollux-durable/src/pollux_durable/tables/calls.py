"""The table of model calls: what was asked in a step, and the answer that was paid for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.engines import Database


class CallTable:
    """The model calls of a database. Each is kept under its run, its step and the key of its request."""

    def __init__(self, database: Database, store: JsonStore) -> None:
        self._database = database
        self._store = store

    def find(self, execution_id: str, step_key: str, request_key: str) -> JsonObject | None:
        """Return the answer to a request, or None."""
        return self._read("reply", execution_id, step_key, request_key)

    def find_request(self, execution_id: str, step_key: str, request_key: str) -> JsonObject | None:
        """Return a request that was answered, or None."""
        return self._read("request", execution_id, step_key, request_key)

    def _read(self, column: str, execution_id: str, step_key: str, request_key: str) -> JsonObject | None:
        with self._database.transact() as transaction:
            rows = transaction.execute(
                f"SELECT {column} FROM pollux_calls WHERE execution_id = :execution_id"  # noqa: S608 - one of ours
                " AND step_key = :step_key AND request_key = :request_key",
                {"execution_id": execution_id, "step_key": step_key, "request_key": request_key},
            )
        found: JsonObject | None = self._store.load(rows[0][0]) if rows else None
        return found

    def keep(
        self, execution_id: str, step_key: str, request_key: str, *, request: JsonObject, reply: JsonObject
    ) -> None:
        """Store an answer. A later one to the same request takes its place."""
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_calls (execution_id, step_key, request_key, request, reply, at)"
                " VALUES (:execution_id, :step_key, :request_key, :request, :reply, :at)"
                " ON CONFLICT (execution_id, step_key, request_key) DO UPDATE SET reply = :reply, at = :at",
                {
                    "execution_id": execution_id,
                    "step_key": step_key,
                    "request_key": request_key,
                    "request": self._store.dump(request, "a request"),
                    "reply": self._store.dump(reply, "an answer"),
                    "at": time.time(),
                },
            )
