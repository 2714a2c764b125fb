"""The records of calls, and the SQLite file that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.plugin import ConfigurationError, SqliteFile, read_variable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

Kind = Literal["call", "stream", "deferred"]

#: The fields that a log writes if it may. All records have their time, kind, provider and model.
FIELDS = (
    "prompt",
    "sources",
    "answer",
    "tool_calls",
    "finish_reason",
    "usage",
    "cost_usd",
    "duration_s",
    "attempts",
    "error",
    "notes",
    "raw",
)
#: Those that are stored as JSON.
_JSON_FIELDS = frozenset({"sources", "tool_calls", "usage", "attempts", "notes"})
#: SQLite's largest number.
_LARGEST = 2**63 - 1
_SEARCHED = ("prompt", "answer", "error")
_DEFAULT_PATH = "~/.local/share/pollux-sync/log.sqlite"
_SCRIPT = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, provider TEXT, model TEXT NOT NULL,
    prompt TEXT, sources TEXT, answer TEXT, tool_calls TEXT, finish_reason TEXT, usage TEXT, cost_usd TEXT,
    duration_s REAL, attempts TEXT, error TEXT, notes TEXT, raw BLOB,
    mark TEXT, job_id TEXT, call_index INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_mark ON calls (mark, call_index) WHERE mark IS NOT NULL;
CREATE INDEX IF NOT EXISTS calls_by_job ON calls (job_id, call_index) WHERE job_id IS NOT NULL;
"""


@attrs.frozen(kw_only=True)
class Record:
    """One call as it was logged; a field that was not written is None.

    ``at`` is when it began, in seconds since the epoch. ``raw`` is the answer as it came. A deferred call without an
    answer and without an error has been submitted.
    """

    id: int
    at: float
    kind: Kind
    provider: str | None
    model: str
    prompt: str | None
    sources: list[str] | None
    answer: str | None
    tool_calls: list[dict[str, str]] | None
    finish_reason: str | None
    usage: dict[str, int] | None
    cost_usd: str | None
    duration_s: float | None
    attempts: list[dict[str, Any]] | None
    error: str | None
    notes: dict[str, Any] | None
    raw: bytes | None = attrs.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data, ``raw`` as a text."""
        return attrs.asdict(self) | {"raw": None if self.raw is None else self.raw.decode("utf-8", "replace")}


_COLUMNS = tuple(field.name for field in attrs.fields(Record))


def choose_path(path: str | os.PathLike[str] | None) -> Path:
    """Return the path of the log: the one given, else POLLUX_LOG_PATH, else that in the home folder."""
    return Path(path or read_variable("POLLUX_LOG_PATH") or _DEFAULT_PATH).expanduser()


class LogFile:
    """The records in a SQLite file. Several threads and processes may write at once."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._file = SqliteFile(choose_path(path), _SCRIPT)

    @classmethod
    def find(cls, path: str | os.PathLike[str] | None = None) -> LogFile:
        """Return the log at a path. Raises ConfigurationError if there is no file."""
        place = choose_path(path)
        if not place.is_file():
            raise ConfigurationError(
                f"there is no log at {place}", hint='list "log" in Config(plugins=[...]), or pass --path'
            )
        return cls(place)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    def open(self) -> None:
        """Open the file if it is not open. Raises ConfigurationError for one that cannot be opened."""
        with self._file.begin():
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a record, in place of an earlier one of the same call of a submission."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._file.begin() as connection:
            # The names are those of this package.
            statement = f"INSERT OR REPLACE INTO calls ({names}) VALUES ({marks})"  # noqa: S608
            connection.execute(statement, _list_stored(values))

    def complete(self, job_id: str, index: int, values: Mapping[str, Any]) -> None:
        """Add what is known of a submitted call, now that its job has ended."""
        settings = ", ".join(f"{name} = ?" for name in values)
        with self._file.begin() as connection:
            statement = f"UPDATE calls SET {settings} WHERE job_id = ? AND call_index = ?"  # noqa: S608 - as above
            is_known = connection.execute(statement, [*_list_stored(values), job_id, index]).rowcount
        if not is_known:
            self.add({**values, "job_id": job_id, "call_index": index})

    def name_job(self, job_id: str, mark: str, first: int, count: int) -> None:
        """Note the job to which submitted calls belong."""
        with self._file.begin() as connection:
            connection.execute(
                "UPDATE calls SET job_id = ? WHERE mark = ? AND call_index >= ? AND call_index < ?",
                (job_id, mark, first, first + count),
            )

    def find_record(self, record_id: int) -> Record | None:
        """Return a record, None if there is none with this id."""
        return next(self._select("WHERE id = ?", _clamp(record_id)), None)

    def list_records(self, limit: int, *, only_errors: bool = False) -> list[Record]:
        """Return the latest records, the newest first."""
        condition = "WHERE error IS NOT NULL" if only_errors else ""
        return [*self._select(f"{condition} ORDER BY id DESC LIMIT ?", _clamp(limit))]

    def search(self, text: str, limit: int) -> list[Record]:
        """Return the latest records whose prompt, answer or error contains a text, the newest first."""
        # instr knows no wildcards, unlike LIKE. SQLite's own lower() knows only the letters of ASCII.
        condition = " OR ".join(f"instr(fold({name}), ?)" for name in _SEARCHED)
        values = [_replace_halves(text.casefold())] * len(_SEARCHED)
        return [*self._select(f"WHERE {condition} ORDER BY id DESC LIMIT ?", *values, _clamp(limit))]

    def _select(self, condition: str, *values: object) -> Iterator[Record]:
        with self._file.begin() as connection:
            connection.create_function("fold", 1, _fold, deterministic=True)
            statement = f"SELECT {', '.join(_COLUMNS)} FROM calls {condition}"  # noqa: S608 - as above
            rows = connection.execute(statement, values).fetchall()
        for row in rows:
            yield Record(**{name: _read_stored(name, value) for name, value in zip(_COLUMNS, row, strict=True)})


def _clamp(number: int) -> int:
    return max(-_LARGEST, min(number, _LARGEST))


def _fold(text: str | None) -> str | None:
    return text and text.casefold()


def _list_stored(values: Mapping[str, Any]) -> list[Any]:
    return [_store(name, value) for name, value in values.items()]


def _store(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS and value is not None:
        # The notes of other middleware may be anything.
        value = json.dumps(value, ensure_ascii=False, default=repr)
    return _replace_halves(value) if isinstance(value, str) else value


def _replace_halves(text: str) -> str:
    # A name of a file may hold half a character, which SQLite does not take.
    return text.encode("utf-8", "replace").decode()


def _read_stored(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON_FIELDS and value is not None else value
