"""Connections to SQLite that take turns to write.

SQLite admits one writer. Another one sleeps and tries again, longer each time, while the file may lie idle. So the
threads of a process wait for a lock of its own first; only other processes are left to SQLite.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading

#: Before these, the module sqlite3 begins a transaction.
_WRITING = ("INSERT", "UPDATE", "DELETE", "REPLACE")
#: So long SQLite waits for other processes, in milliseconds. DBOS has the same patience.
BUSY_TIMEOUT_MS = 30_000


class TurnTakingConnection(sqlite3.Connection):
    """A connection whose transactions that write begin one after the other."""

    turn: threading.Lock
    has_turn = False

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor."""
        return super().cursor(_Cursor)

    def take_turn(self, statement: str) -> None:
        """Wait until this connection is the one that writes, before a statement that begins to."""
        if not self.has_turn and statement.lstrip()[:7].upper().startswith(_WRITING):
            # Whoever waits longer than this is told so by SQLite.
            self.has_turn = self.turn.acquire(timeout=BUSY_TIMEOUT_MS / 1000)

    def commit(self) -> None:
        """Commit, and let another one write."""
        super().commit()
        self._give_turn()

    def rollback(self) -> None:
        """Roll back, and let another one write."""
        try:
            super().rollback()
        finally:
            self._give_turn()

    def close(self) -> None:
        """Close, and let another one write."""
        try:
            super().close()
        finally:
            self._give_turn()

    def _give_turn(self) -> None:
        if self.has_turn:
            self.has_turn = False
            self.turn.release()


class _Cursor(sqlite3.Cursor):
    connection: TurnTakingConnection

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        self.connection.take_turn(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        self.connection.take_turn(sql)
        return super().executemany(sql, parameters)
