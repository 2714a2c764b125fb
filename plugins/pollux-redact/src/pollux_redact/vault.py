"""Values <-> the placeholders that stand for them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from pollux_sync.plugin import ConfigurationError, SqliteFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_SCRIPT = """
CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY CHECK (one = 1), key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS placeholders (placeholder TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_KEY_BYTES = 32
_SHOWN_DIGITS = 8


class Vault:
    """Remembers the value of each placeholder: in this process, or with a ``path`` in a file.

    Equal values have equal placeholders, as long as the key is the same: that of the file, or of this object.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._file = None if path is None else SqliteFile(path, _SCRIPT)
        self._key = secrets.token_bytes(_KEY_BYTES) if path is None else None
        self._lock = threading.Lock()
        self._placeholders: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}

    @property
    def is_lasting(self) -> bool:
        """True if another process can read the placeholders too."""
        return self._file is not None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def find_placeholder(self, name: str, value: str) -> str:
        """Return the placeholder of a value, and remember it. Raises ConfigurationError for a file that fails."""
        known = self._placeholders.get((name, value))
        if known is not None:
            return known
        with self._lock, self._explain():
            for attempt in count():
                placeholder = f"[{name}_{self._digest(name, value, attempt)}]"
                # Another value may have the same digits, once in billions.
                if self._remember(placeholder, value) == value:
                    break
            self._values[placeholder] = value
            self._placeholders[name, value] = placeholder
        return placeholder

    def find_value(self, placeholder: str) -> str | None:
        """Return the value of a placeholder, None for a text that is none."""
        known = self._values.get(placeholder)
        if known is not None or self._file is None:
            return known
        with self._explain(), self._file.begin() as connection:
            row = connection.execute("SELECT value FROM placeholders WHERE placeholder = ?", (placeholder,)).fetchone()
        if row is None:
            return None
        self._values[placeholder] = row[0]
        return str(row[0])

    def _digest(self, name: str, value: str, attempt: int) -> str:
        # With a key: otherwise whoever sees a placeholder could try all phone numbers.
        content = f"{name}\0{attempt}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self._read_key(), content, hashlib.sha256).hexdigest()[:_SHOWN_DIGITS].upper()

    def _remember(self, placeholder: str, value: str) -> str:
        """Return the value of a placeholder after it was given to this one, unless another has it."""
        if self._file is None:
            return self._values.setdefault(placeholder, value)
        with self._file.begin() as connection:
            connection.execute("INSERT OR IGNORE INTO placeholders VALUES (?, ?)", (placeholder, value))
            (held,) = connection.execute(
                "SELECT value FROM placeholders WHERE placeholder = ?", (placeholder,)
            ).fetchone()
        return str(held)

    def _read_key(self) -> bytes:
        if self._key is None and self._file is not None:
            with self._file.begin() as connection:
                # The first process that uses the file sets the key of all.
                connection.execute("INSERT OR IGNORE INTO secret VALUES (1, ?)", (secrets.token_bytes(_KEY_BYTES),))
                (self._key,) = connection.execute("SELECT key FROM secret").fetchone()
        return self._key or b""

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Raise a ConfigurationError in place of an error of SQLite: a call must not be sent without its redaction."""
        try:
            yield
        except sqlite3.Error as error:
            path = None if self._file is None else self._file.path
            raise ConfigurationError(
                f"the vault {path} of pollux-redact cannot be used: {error}", hint="correct it, or pass another path"
            ) from error
