"""A connection to a journal that leaves the folder as it was.

SQLite cannot read a file with a write-ahead log without that log and its index, and makes both where they are missing.
Only a connection that may write takes them away again: when it is the last one to close, and then it moves what is in
the log into the file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from pollux_batch.errors import JournalError
from pollux_batch.journaling import build_open_error, check_identity, explain_errors
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ReadConnection:
    """Reads a journal, also while a job writes to it. Raises ConfigurationError if the path holds another file.

    The log of a run that was killed holds answers: it is read, and stays as it is. Files are left behind only where
    this process is killed, where a log has no index (``-shm``), which is made anew, and where a job ends meanwhile
    in a folder to which this process may not write.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigurationError(f"there is no journal {str(path)!r}", hint="pass the path that the job was given")
        self._path = path
        # SQLite keeps the log beside the file that a link leads to.
        self._place = path.resolve()
        self._log = self._place.with_name(f"{self._place.name}-wal")
        self._is_journal = False
        # Before the log is looked for, so that no change is missed.
        found = _read_state(self._place)
        #: The state of a file that has no log, and cannot have one made: it is read as if nobody wrote to it.
        self._fixed_state = None if self._log.exists() or _may_write(self._place) else found
        try:
            self._database = self._connect("mode=ro" if self._fixed_state is None else "mode=ro&immutable=1")
        except sqlite3.DatabaseError as error:
            raise build_open_error(path, error) from error
        self._check_identity()

    def _connect(self, mode: str, *, timeout_s: float = 30.0) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._place.as_uri()}?{mode}", uri=True, isolation_level=None, timeout=timeout_s)

    def _check_identity(self) -> None:
        try:
            (application_id,) = self._database.execute("PRAGMA application_id").fetchone()
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            check_identity(application_id, version, self._path)
        except sqlite3.DatabaseError as error:
            self.close()
            raise build_open_error(self._path, error) from error
        except ConfigurationError:
            self.close()
            raise
        self._is_journal = True

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises JournalError."""
        try:
            with explain_errors(self._path, "read"):
                return self._database.execute(query, values).fetchall()
        finally:
            self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Raise JournalError if a file that was taken for fixed is written to: what was read may be half of each."""
        if self._fixed_state is not None and (self._log.exists() or _read_state(self._place) != self._fixed_state):
            raise JournalError(
                f"the journal {str(self._path)!r} has changed while it was read", hint="look at it again"
            )

    def close(self) -> None:
        """Close the connection, and take away the log if it was made for this connection or its job has ended."""
        is_needless = self._fixed_state is None and self._has_needless_log()
        self._database.close()
        if is_needless:
            self._drop_log()

    def _has_needless_log(self) -> bool:
        with suppress(OSError, sqlite3.Error):
            if not self._log.stat().st_size:
                return True
            # Rows of a job that ended meanwhile, which could not move them into the file because of this connection.
            query = "SELECT ended_at FROM runs ORDER BY id DESC LIMIT 1"
            last = self._database.execute(query).fetchone() if self._is_journal else None
            return last is not None and last[0] is not None
        return False

    def _drop_log(self) -> None:
        # Never by unlink: another process may have begun to write to it. SQLite knows whether anybody uses it.
        with suppress(sqlite3.Error), closing(self._connect("mode=rw", timeout_s=0.0)) as database:
            database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()


def _read_state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file, None once it is gone."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _may_write(path: Path) -> bool:
    """Return whether this process may write to a file and make others beside it."""
    is_effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=is_effective) for place in (path, path.parent))
