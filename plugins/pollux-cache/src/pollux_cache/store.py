"""Key -> answer, in a SQLite file that does not grow beyond its limit."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, NamedTuple

from pollux_sync.plugin import ConfigurationError, SqliteFile

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, content BLOB NOT NULL, stored_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (stored_at);
"""
#: How much stays when the oldest answers are deleted, so that not every new one makes others go.
_KEPT_SHARE = 0.9

log = logging.getLogger("pollux_cache")


class StoredAnswer(NamedTuple):
    """An answer as it came, and when, in seconds since the epoch."""

    content: bytes
    stored_at: float


class AnswerStore:
    """Answers by key. A file that fails while it is in use is logged, and costs no answer."""

    def __init__(self, path: Path, *, ttl_s: float | None, max_bytes: int) -> None:
        self._file = SqliteFile(path, _SCRIPT)
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        # Counted anew when the limit seems to be reached: other processes add and delete too.
        self._n_bytes: int | None = None

    def find(self, key: str) -> StoredAnswer | None:
        """Return the answer under a key, None if there is none that still counts."""
        oldest = 0.0 if self._ttl_s is None else time.time() - self._ttl_s
        try:
            with self._file.begin() as connection:
                row = connection.execute(
                    "SELECT content, stored_at FROM answers WHERE key = ? AND stored_at > ?", (key, oldest)
                ).fetchone()
        except sqlite3.Error as error:
            log.warning("%s cannot be read: %s", self._file.path, error)
            return None
        return row and StoredAnswer(*row)

    def keep(self, key: str, content: bytes) -> None:
        """Keep an answer in place of an earlier one. One that is larger than the limit would make all others go."""
        if len(content) > self._max_bytes:
            return
        try:
            with self._file.begin() as connection:
                connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, content, time.time()))
                self._make_room(connection, len(content))
        # It may have to be opened again, if another thread has closed it while the answer was on its way.
        except (sqlite3.Error, ConfigurationError) as error:
            log.warning("an answer cannot be kept in %s: %s", self._file.path, error)

    def clear(self) -> None:
        """Delete all answers."""
        with self._file.begin() as connection:
            connection.execute("DELETE FROM answers")
            self._n_bytes = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _make_room(self, connection: sqlite3.Connection, added: int) -> None:
        if self._n_bytes is not None and self._n_bytes + added <= self._max_bytes:
            self._n_bytes += added
            return
        (total,) = connection.execute("SELECT coalesce(sum(length(content)), 0) FROM answers").fetchone()
        if total > self._max_bytes:
            total -= _delete_oldest(connection, total - int(self._max_bytes * _KEPT_SHARE))
        self._n_bytes = total


def _delete_oldest(connection: sqlite3.Connection, n_bytes: int) -> int:
    """Delete the oldest answers that have at least ``n_bytes`` together; return how many bytes they had."""
    deleted = 0
    for key, size in connection.execute("SELECT key, length(content) FROM answers ORDER BY stored_at").fetchall():
        if deleted >= n_bytes:
            break
        connection.execute("DELETE FROM answers WHERE key = ?", (key,))
        deleted += size
    return deleted
