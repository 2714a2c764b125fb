"""SQLite files in which middleware keeps what outlives a process."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long a statement waits for another process that writes, in seconds.
_BUSY_S = 30.0


class SqliteFile:
    """A SQLite file that the threads of a process share. It is opened with the first use, and its owner alone reads it.

    ``script`` creates the tables that do not exist. A forked child opens the file anew.
    """

    def __init__(self, path: str | os.PathLike[str], script: str) -> None:
        self.path = Path(path).expanduser()
        self._script = script
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def begin(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; at the end of the block all that it wrote is kept, or nothing.

        Raises ConfigurationError for a file that cannot be opened, and sqlite3.Error of the statements in the block.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            with self._connection as connection:
                yield connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            # One lock guards it, so that any thread may use it.
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._build_error(error) from error
        try:
            _use_write_ahead_log(connection)
            # A crash of the machine may lose the latest rows, and never the file.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(self._script)
        except sqlite3.Error as error:
            connection.close()
            raise self._build_error(error) from error
        _opened.add(self)
        # Python warns of connections that nobody closes.
        self._finalizer = weakref.finalize(self, connection.close)
        return connection

    def _build_error(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path} cannot be opened as a SQLite file: {error}", hint="pass another path, or remove the file"
        )

    def forget(self) -> None:
        """Drop the connection without closing it, for a forked child: it belongs to the parent."""
        self._lock = threading.Lock()
        if self._connection is not None:
            self._finalizer.detach()
            _inherited.append(self._connection)
            self._connection = None


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log. Waits for others that open the file, which this statement does not do."""
    deadline = time.monotonic() + _BUSY_S
    while not _try_write_ahead_log(connection, is_last=time.monotonic() > deadline):
        # Waits until nobody else writes.
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _try_write_ahead_log(connection: sqlite3.Connection, *, is_last: bool) -> bool:
    """Return False if another process has locked the file, unless this attempt ``is_last``: then raise."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if is_last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


_opened: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
#: Kept, because the garbage collector would close them.
_inherited: list[sqlite3.Connection] = []


def _forget_all() -> None:
    for file in _opened:
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
