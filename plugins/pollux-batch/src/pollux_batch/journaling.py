"""The journal of a job: a SQLite file with every paid answer, from which a later run goes on.

An answer is on disk before its result is seen. One thread writes: whatever waits for it is committed as a group, with
one statement a table, since each statement gives up the interpreter and has to win it back from the workers.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import deque
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.data.rows import AnswerRow, ChargeRow, Entry, FailureRow, Member, SampleRow, StoredAnswer
from pollux_batch.errors import JournalError
from pollux_batch.grouping import GroupWriter
from pollux_batch.locking import discard_locked, open_locked
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pollux_sync.errors import PolluxError

#: "plxb": by it a journal is told from other SQLite files.
_APPLICATION_ID = 0x706C7862
_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, pid INTEGER NOT NULL, versions TEXT NOT NULL,
    outcome TEXT, lost TEXT
);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, ask BLOB NOT NULL, label TEXT NOT NULL, format TEXT NOT NULL,
    body BLOB NOT NULL, request_id TEXT, input_tokens INTEGER, output_tokens INTEGER, total_tokens INTEGER,
    cached_tokens INTEGER, cost TEXT, attempts INTEGER NOT NULL, duration_s REAL NOT NULL, at REAL NOT NULL,
    run INTEGER NOT NULL
);
CREATE TABLE labels (label TEXT NOT NULL, key BLOB NOT NULL, UNIQUE (label, key));
CREATE TABLE failures (
    label TEXT NOT NULL UNIQUE, key BLOB NOT NULL, error TEXT NOT NULL, category TEXT NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, run INTEGER NOT NULL
);
CREATE TABLE charges (label TEXT NOT NULL, tokens INTEGER NOT NULL, cost TEXT, at REAL NOT NULL, run INTEGER NOT NULL);
CREATE TABLE samples (ask BLOB NOT NULL UNIQUE, key BLOB NOT NULL, request BLOB NOT NULL);
CREATE TABLE submissions (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, scope TEXT NOT NULL, mark TEXT NOT NULL, attempted TEXT,
    jobs TEXT NOT NULL, uploads TEXT NOT NULL, is_collected INTEGER NOT NULL, at REAL NOT NULL
);
CREATE TABLE members (
    submission INTEGER NOT NULL, position INTEGER NOT NULL, key BLOB NOT NULL, ask BLOB NOT NULL, label TEXT NOT NULL,
    UNIQUE (submission, position)
);
"""
_DAMAGED = "pass another path; what is left of a damaged journal can be read with the sqlite3 command, .recover"
_SUBMISSION = "id, scope, mark, attempted, jobs, uploads"
#: What SQLite says of a disk that is full or fails, and not of the file.
_DISK_ERRORS = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL})
#: How many keys one query looks for.
_MAX_KEYS = 500
#: One slot of the flight file: the time of the start, the key, and the beginning of the label.
_SLOT_BYTES, _KEY_BYTES, _LABEL_BYTES = 128, 32, 80


class Journal(GroupWriter):
    """The journal of one job. One process at a time writes to it.

    Raises ConfigurationError if the path holds another file, or a journal that is damaged, in use or
    of another version.
    """

    def __init__(self, path: Path, kept: Callable[[list[Entry]], None], *, slots: int = 0) -> None:
        self.path = path
        self._lock_file = _LockFile(path)
        try:
            self._reader, self._writer = open_database(path), open_database(path)
            self.lost = tuple(self._read_flights())
            self._run = self._begin_run()
            self._flights = _open_flights(path, slots) if slots else None
        except BaseException:
            self._lock_file.discard()
            raise
        super().__init__(kept)

    # Reading, in the thread that feeds

    def find_answers(self, keys: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """Return the stored answers of these keys."""
        query = "SELECT key, label, format, body, request_id FROM answers WHERE key IN ({})"
        return {
            key: StoredAnswer(key=key, label=label, format=kind, body=body, request_id=request_id)
            for key, label, kind, body, request_id in self._find(query, keys)
        }

    def find_asked(self, asks: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the keys under which these questions are answered or wait in a submission: the latest, by question."""
        # Made when a run first misses an answer: an index on every question would cost each answer of every run.
        with explain_errors(self.path, "read"):
            for table in ("answers", "members"):
                self._reader.execute(f"CREATE INDEX IF NOT EXISTS {table}_ask ON {table} (ask)")
        answered = "SELECT ask, key FROM answers WHERE ask IN ({}) ORDER BY id"
        submitted = (
            "SELECT ask, key FROM members JOIN submissions ON submissions.id = submission "
            "WHERE NOT is_collected AND ask IN ({}) ORDER BY submission"
        )
        return dict(self._find(answered, asks)) | dict(self._find(submitted, asks))

    def find_sample(self, ask: bytes) -> bytes | None:
        """Return the request that was kept of a question, None if none was."""
        return next((request for (request,) in self._select("SELECT request FROM samples WHERE ask = ?", [ask])), None)

    @property
    def has_questions(self) -> bool:
        """True if any question was answered or submitted."""
        return bool(self._select("SELECT EXISTS (SELECT 1 FROM answers UNION ALL SELECT 1 FROM members)", [])[0][0])

    def sum_spent(self) -> tuple[int, str]:
        """Return the tokens and the dollars of all answers, and of tries without one, over all runs."""
        answered = "COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)"
        query = (
            "SELECT COALESCE(SUM(tokens), 0), TOTAL(CAST(cost AS REAL)) FROM "  # noqa: S608
            f"(SELECT {answered} AS tokens, cost FROM answers UNION ALL SELECT tokens, cost FROM charges)"
        )
        ((tokens, usd),) = self._select(query, [])
        # SQLite adds binary fractions: a hundred cents make a dollar again.
        return tokens, f"{usd:.9f}"

    # Submissions, in the thread that submits: on disk when the method returns

    def list_submissions(self, fleet: str) -> list[tuple[Any, ...]]:
        """Return the submissions whose answers are not collected: id, scope, mark, attempt, jobs and uploads.

        They are those to a fleet, or to the provider itself if that is empty.
        """
        query = f"SELECT {_SUBMISSION} FROM submissions WHERE NOT is_collected AND fleet = ? ORDER BY id"  # noqa: S608
        return self._select(query, [fleet])

    def list_members(self, submission: int) -> list[Member]:
        """Return the items of a submission, in their order."""
        query = "SELECT key, ask, label FROM members WHERE submission = ? ORDER BY position"
        return [Member(*row) for row in self._select(query, [submission])]

    def insert_submission(
        self, fleet: str, scope: str, mark: str, members: Sequence[Member], at: float
    ) -> tuple[Any, ...]:
        """Record a submission and its items together; return it as `list_submissions` does."""
        with self._begin(self._reader):
            columns = "(fleet, scope, mark, jobs, uploads, is_collected, at) VALUES (?, ?, ?, '[]', '[]', 0, ?)"
            number = self._reader.execute(f"INSERT INTO submissions {columns}", [fleet, scope, mark, at]).lastrowid or 0
            self._insert_members(number, members)
        return self._select(f"SELECT {_SUBMISSION} FROM submissions WHERE id = ?", [number])[0]  # noqa: S608

    def replace_members(self, submission: int, members: Sequence[Member]) -> None:
        """Record that a submission has these items instead."""
        with self._begin(self._reader):
            self._reader.execute("DELETE FROM members WHERE submission = ?", [submission])
            self._insert_members(submission, members)

    def _insert_members(self, submission: int, members: Sequence[Member]) -> None:
        rows = [(submission, position, one.key, one.ask, one.label) for position, one in enumerate(members)]
        self._reader.executemany("INSERT INTO members VALUES (?, ?, ?, ?, ?)", rows)

    def update_submission(self, submission: int, **values: Any) -> None:
        """Record changes of a submission."""
        fields = ", ".join(f"{name} = ?" for name in values)
        with explain_errors(self.path, "written"):
            self._reader.execute(f"UPDATE submissions SET {fields} WHERE id = ?", [*values.values(), submission])  # noqa: S608

    # Writing, from any thread

    def note_flight(self, key: bytes, label: str) -> int | None:
        """Note that an item is being asked, where even a killed process leaves it; return what `end_flight` takes."""
        return None if self._flights is None else self._flights.note(key, label)

    def end_flight(self, slot: int | None) -> None:
        """Note that an item is in flight no more."""
        if self._flights is not None and slot is not None:
            self._flights.clear(slot)

    def close(self, outcome: str) -> None:
        """Write what waits, and record how the run ended. Raises JournalError if that fails."""
        self.end()
        try:
            if self.failure is not None:
                raise self.failure
            with explain_errors(self.path, "written"):
                self._writer.execute(
                    "UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ?", [time.time(), outcome, self._run]
                )
        finally:
            self._release()

    def _release(self) -> None:
        if self._flights is not None:
            self._flights.close()
        for database in (self._reader, self._writer):
            with suppress(sqlite3.Error):
                database.close()
        self._lock_file.release()

    def keep(self, group: list[Entry]) -> JournalError | None:
        """Write a group: it is on disk whole or not at all."""
        try:
            self._commit(group)
        except JournalError as error:
            return error
        return None

    def _commit(self, group: Sequence[Entry]) -> None:
        rows: dict[type, list[Any]] = {}
        for entry in group:
            for row in entry.rows:
                rows.setdefault(type(row), []).append(row)
        inserts = [_build_insert(table, rows[table.kind], self._run) for table in _TABLES if table.kind in rows]
        # A single statement is a transaction of its own: each one more is another wait for the interpreter.
        if len(inserts) == 1:
            with explain_errors(self.path, "written"):
                self._writer.execute(*inserts[0])
        elif inserts:
            with self._begin(self._writer):
                for statement, values in inserts:
                    self._writer.execute(statement, values)

    @contextmanager
    def _begin(self, database: sqlite3.Connection) -> Iterator[None]:
        """Begin a transaction, which is on disk whole or not at all."""
        with explain_errors(self.path, "written"):
            database.execute("BEGIN IMMEDIATE")
            try:
                yield
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise

    def _find(self, query: str, values: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query with a place for a list of values."""
        for first in range(0, len(values), _MAX_KEYS):
            some = values[first : first + _MAX_KEYS]
            yield from self._select(query.format(",".join("?" * len(some))), some)

    def _select(self, query: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        with explain_errors(self.path, "read"):
            return self._reader.execute(query, [*values]).fetchall()

    def _begin_run(self) -> int:
        from pollux_batch._versions import describe_versions

        row = [time.time(), os.getpid(), json.dumps(describe_versions()), json.dumps([label for label, _ in self.lost])]
        with explain_errors(self.path, "written"):
            cursor = self._writer.execute("INSERT INTO runs (started_at, pid, versions, lost) VALUES (?, ?, ?, ?)", row)
        return cursor.lastrowid or 0

    def _read_flights(self) -> Iterator[tuple[str, bytes]]:
        """Yield what was in flight when the last run was killed: labels and keys without an answer."""
        noted = dict(read_flights(self.path))
        answered = self.find_answers([*noted])
        yield from ((label, key) for key, label in noted.items() if key not in answered)


_REPLACE_UNREAD = "ON CONFLICT (key) DO UPDATE SET {} WHERE answers.format = 'unread'".format(
    ", ".join(f"{field.name} = excluded.{field.name}" for field in attrs.fields(AnswerRow))
)


@attrs.frozen
class _Table:
    """A table of rows of one kind. ``verb`` and ``ending`` say what becomes of a row that is there already."""

    name: str
    kind: type
    verb: str
    ending: str = ""
    is_of_run: bool = True
    columns: tuple[str, ...] = attrs.field(init=False)
    #: Returns the values of a row.
    read: attrgetter[Any] = attrs.field(init=False)

    @columns.default
    def _list_columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in attrs.fields(self.kind))

    @read.default
    def _build_reader(self) -> attrgetter[Any]:
        return attrgetter(*self.columns)


#: An answer that is there already was paid for first, and stays, unless it could not be read; a failure is replaced by
#: the latest.
_TABLES = (
    _Table("answers", AnswerRow, "INSERT", ending=_REPLACE_UNREAD),
    _Table("failures", FailureRow, "INSERT OR REPLACE"),
    _Table("charges", ChargeRow, "INSERT"),
    _Table("samples", SampleRow, "INSERT OR IGNORE", is_of_run=False),
)


def _build_insert(table: _Table, rows: Sequence[object], run: int) -> tuple[str, list[Any]]:
    """Return one statement for all rows, and its values."""
    more = (run,) if table.is_of_run else ()
    columns = [*table.columns, *(["run"] if more else [])]
    mark = f"({','.join('?' * len(columns))})"
    statement = (
        f"{table.verb} INTO {table.name} ({','.join(columns)}) VALUES {','.join([mark] * len(rows))} {table.ending}"
    )
    values: list[Any] = []
    for row in rows:
        values += table.read(row)
        values += more
    return statement, values


def open_database(path: Path) -> sqlite3.Connection:
    """Open a journal to write to it; make it if it does not exist. Raises ConfigurationError for another file."""
    try:
        # Autocommit: transactions are begun and ended by name.
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        try:
            # First, since the next statement changes a file that may be another's.
            _check_schema(database, path)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        except BaseException:
            database.close()
            raise
    except sqlite3.DatabaseError as error:
        raise build_open_error(path, error) from error
    return database


def build_open_error(path: Path, error: sqlite3.Error) -> PolluxError:
    """Return the error of a journal that SQLite does not open."""
    # The lower byte is the kind of the error, the upper ones are its details.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_ERRORS:
        return _build_failure(path, "opened", error)
    return ConfigurationError(f"{str(path)!r} cannot be used as a journal: {error}", hint=_find_hint(error))


@contextmanager
def explain_errors(path: Path, verb: str) -> Iterator[None]:
    """Raise what SQLite raises as JournalError: the journal cannot be ``verb``."""
    try:
        yield
    except sqlite3.Error as error:
        raise _build_failure(path, verb, error) from error


def _build_failure(path: Path, verb: str, error: sqlite3.Error) -> JournalError:
    return JournalError(f"the journal {str(path)!r} cannot be {verb}: {error}", hint=_find_hint(error))


#: What to do, by the beginning of SQLite's name of an error.
_HINTS = {
    "SQLITE_BUSY": "another program has it open: end that, and run again",
    "SQLITE_CANTOPEN": "pass the path of a file, in a folder in which files can be made",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _DAMAGED,
}


def _find_hint(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")  # missing where Python's own part of sqlite3 raised it
    found = next((hint for start, hint in _HINTS.items() if name.startswith(start)), None)
    return found or "free space on its disk or mend its permissions, and run again: all answers in it are kept"


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (n_tables,) = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if not application_id and not n_tables:
        settings = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION};"
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {settings} COMMIT;")
    else:
        check_identity(application_id, version, path)


def check_identity(application_id: int, version: int, path: Path) -> None:
    """Raise ConfigurationError unless these are the marks of a journal that this release reads."""
    if application_id != _APPLICATION_ID:
        raise ConfigurationError(f"{str(path)!r} is a SQLite file, but no journal", hint="pass another path")
    if version != _VERSION:
        raise ConfigurationError(
            f"the journal {str(path)!r} has version {version}, this release reads version {_VERSION}",
            hint="use the release that wrote it, or another journal",
        )


def _name_beside(path: Path, kind: str) -> Path:
    # Beside the file itself, as SQLite does, and not beside a link to it: each link would have a lock of its own.
    place = Path(os.path.realpath(path))
    return place.with_name(f"{place.name}-{kind}")


class _LockFile:
    """The locked file beside a journal. The lock ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = _name_beside(path, "lock")
        self._is_new = not self._place.exists()
        file = open_locked(self._place, self._open)
        if file is None:
            raise ConfigurationError(
                f"the journal {str(path)!r} is in use by process {self._read_holder()}",
                hint="wait for its end, or pass another journal",
            )
        self._file = file
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except OSError as error:
            self.discard()
            raise _build_neighbour_error(path, error) from error

    def _open(self) -> Any:
        try:
            return self._place.open("a+b", buffering=0)
        except OSError as error:
            raise ConfigurationError(
                f"the journal {str(self._path)!r} cannot be opened: {error.strerror}",
                hint="check its folder and permissions",
            ) from error

    def _read_holder(self) -> str:
        try:
            return self._place.read_text().strip() or "unknown"
        except OSError:  # its holder has let it go
            return "unknown"

    def release(self) -> None:
        """End the lock. The file stays for the next run."""
        self._file.close()

    def discard(self) -> None:
        """End the lock; delete the file if it was not there before: what is at the path may be no journal."""
        if self._is_new:
            discard_locked(self._file, self._place)
        else:
            self._file.close()


def _open_flights(path: Path, slots: int) -> _FlightFile:
    try:
        return _FlightFile(path, slots)
    except OSError as error:
        raise _build_neighbour_error(path, error) from error


def _build_neighbour_error(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"the file beside the journal {str(path)!r} cannot be written: {error.strerror}",
        hint="free space on its disk or mend its permissions, and run again",
    )


class _FlightFile:
    """A file in memory with a slot for each item in flight. A killed process leaves it as it was at that moment."""

    def __init__(self, path: Path, slots: int) -> None:
        import mmap

        with _name_beside(path, "flight").open("w+b") as file:
            # Written, and not only made that long: a page without a place on a full disk would kill the process.
            file.write(bytes(slots * _SLOT_BYTES))
            file.flush()
            self._map = mmap.mmap(file.fileno(), slots * _SLOT_BYTES)
        self._free = deque(range(slots))

    def note(self, key: bytes, label: str) -> int | None:
        try:
            slot = self._free.popleft()
        except IndexError:
            return None
        text = label.encode("utf-8", "replace")[:_LABEL_BYTES].ljust(_LABEL_BYTES, b"\0")
        start = slot * _SLOT_BYTES
        self._map[start : start + _KEY_BYTES + _LABEL_BYTES] = key.ljust(_KEY_BYTES, b"\0")[:_KEY_BYTES] + text
        return slot

    def clear(self, slot: int) -> None:
        start = slot * _SLOT_BYTES
        self._map[start : start + _KEY_BYTES] = bytes(_KEY_BYTES)
        self._free.append(slot)

    def close(self) -> None:
        self._map.close()


def read_flights(path: Path) -> Iterator[tuple[bytes, str]]:
    """Yield the keys and labels of the items that are noted as in flight beside a journal."""
    try:
        content = _name_beside(path, "flight").read_bytes()
    except OSError:
        return
    for start in range(0, len(content) - _SLOT_BYTES + 1, _SLOT_BYTES):
        key = content[start : start + _KEY_BYTES]
        if any(key):
            label = content[start + _KEY_BYTES : start + _KEY_BYTES + _LABEL_BYTES]
            yield key, label.rstrip(b"\0").decode("utf-8", "replace")
