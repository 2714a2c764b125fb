"""Journal -> report: read without its lock, so that a running job can be looked at."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pollux_batch.data.reports import FailedItem, JournalReport, RunReport
from pollux_batch.data.rows import AnswerRow
from pollux_batch.data.usage import read_usage
from pollux_batch.journaling import read_flights
from pollux_batch.viewing import ReadConnection
from pollux_sync.plugin import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from pollux_batch.data.reports import RunState
    from pollux_batch.data.usage import TokenUsage

_MAX_FAILURES = 20
#: How many answers one query reads. A query that stays open would keep the job from shortening its write-ahead log.
_PAGE = 200
_COLUMNS = (
    "key, ask, label, format, body, request_id, input_tokens, output_tokens, total_tokens, cached_tokens, cost, "
    "attempts, duration_s, at"
)
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens")
_ANSWERS_FROM = f"SELECT id, run, {_COLUMNS} FROM answers WHERE id >= ? ORDER BY id LIMIT ?"  # noqa: S608
#: The failures that no later run has made good: an answer to the same request, or to the same item.
_OPEN_FAILURES = """
FROM failures AS f
WHERE NOT EXISTS (SELECT 1 FROM answers AS a WHERE a.key = f.key AND a.run > f.run)
AND f.label NOT IN (SELECT g.label FROM answers AS b JOIN failures AS g ON g.label = b.label AND b.run > g.run)
"""


def inspect_journal(journal: str | os.PathLike[str]) -> JournalReport:
    """Return what a journal holds. Nothing is written, nothing stays beside it, and the job may be running."""
    with JournalView(Path(journal)) as view:
        return view.build_report()


class JournalView:
    """A journal that is only read, by a `ReadConnection`. Raises ConfigurationError if the path holds another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = ReadConnection(path)
        self._has_asks = False

    def iter_answers(self) -> Iterator[tuple[int, AnswerRow]]:
        """Yield the answers in the order in which they came, each with the number of its run."""
        last = 0
        while rows := self.select(_ANSWERS_FROM, [last + 1, _PAGE]):
            yield from (_build_answer(run, row) for _, run, *row in rows)
            last = rows[-1][0]

    def sample_answers(self, n: int) -> list[tuple[int, AnswerRow]]:
        """Return up to ``n`` answers, spread evenly over the journal, each with the number of its run."""
        ((first, last),) = self.select("SELECT MIN(id), MAX(id) FROM answers")
        if first is None:
            return []
        starts = (first + (last - first) * index // max(n - 1, 1) for index in range(n))
        rows = {row[0]: row for start in starts for row in self.select(_ANSWERS_FROM, [start, 1])}
        return [_build_answer(run, row) for _, run, *row in rows.values()]

    def count_answers(self) -> int:
        """Return the number of answers."""
        return int(self.select("SELECT COUNT(*) FROM answers")[0][0])

    def find_answered(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of the keys that have an answer."""
        return self._find("SELECT key FROM answers WHERE key IN", keys)

    def find_asked(self, asks: Sequence[bytes]) -> set[bytes]:
        """Return those of the questions that have an answer under any key."""
        if not self._has_asks:
            # The journal has no index on questions until a run needs it, and cannot be given one here.
            self.select("CREATE TEMP TABLE asked (ask BLOB PRIMARY KEY) WITHOUT ROWID")
            self.select("INSERT OR IGNORE INTO asked SELECT ask FROM answers")
            self._has_asks = True
        return self._find("SELECT ask FROM temp.asked WHERE ask IN", asks)

    def build_report(self, *, max_failures: int = _MAX_FAILURES) -> JournalReport:
        """Return what the journal holds, with the first failures."""
        (count, unpriced, cost, *tokens), *_ = self.select(
            f"SELECT COUNT(*), COUNT(*) - COUNT(cost), TOTAL(CAST(cost AS REAL)), "  # noqa: S608
            f"{', '.join(f'SUM({name})' for name in _COUNTS)} FROM answers"
        )
        return JournalReport(
            path=str(self._path),
            answers=count,
            usage=_build_usage(*tokens),
            cost=Decimal(str(round(cost, 9))),
            unpriced=unpriced,
            failed=dict(self.select(f"SELECT f.category, COUNT(*) {_OPEN_FAILURES} GROUP BY 1 ORDER BY 2 DESC")),
            failures=tuple(self._list_failures(max_failures)),
            in_flight=self._read_flights(),
            submitted=sum(self.count_submitted().values()),
            runs=tuple(self._list_runs()),
        )

    def _list_failures(self, limit: int) -> Iterator[FailedItem]:
        query = f"SELECT f.label, f.error, f.category, f.attempts {_OPEN_FAILURES} ORDER BY f.at LIMIT ?"
        for label, error, category, attempts in self.select(query, [limit]):
            yield FailedItem(label=label, error=error, category=category, attempts=attempts)

    def _list_runs(self) -> Iterator[RunReport]:
        rows = self.select("SELECT id, started_at, ended_at, pid, outcome, versions, lost FROM runs ORDER BY id")
        for number, started_at, ended_at, pid, outcome, versions, lost in rows:
            yield RunReport(
                number=number,
                started_at=started_at,
                ended_at=ended_at,
                pid=pid,
                # One run at a time has the journal: of those before the last none is running.
                state=_find_state(ended_at, pid) if number == rows[-1][0] or ended_at else "killed",
                outcome=outcome,
                versions=json.loads(versions),
                lost=tuple(json.loads(lost or "[]")),
            )

    def count_submitted(self) -> dict[str, int]:
        """Return the number of items that are submitted and not collected, by fleet; that of provider jobs is empty."""
        source = "members JOIN submissions ON submissions.id = submission WHERE NOT is_collected"
        return dict(self.select(f"SELECT fleet, COUNT(*) FROM {source} GROUP BY fleet"))  # noqa: S608

    def _read_flights(self) -> tuple[str, ...]:
        noted = dict(read_flights(self._path))
        answered = self.find_answered([*noted])
        return tuple(label for key, label in noted.items() if key not in answered)

    def _find(self, query: str, values: Sequence[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for first in range(0, len(values), _PAGE):
            some = values[first : first + _PAGE]
            found |= {value for (value,) in self.select(f"{query} ({','.join('?' * len(some))})", some)}
        return found

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises JournalError."""
        return self._connection.select(query, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


def _build_answer(run: int, row: Sequence[Any]) -> tuple[int, AnswerRow]:
    return run, AnswerRow(**dict(zip(_COLUMNS.split(", "), row, strict=True)))


def _build_usage(*counts: int | None) -> TokenUsage:
    return read_usage(Usage(**dict(zip(_COUNTS, counts, strict=True))))


def _find_state(ended_at: float | None, pid: int) -> RunState:
    if ended_at is not None:
        return "ended"
    # On Windows this call would end the process.
    if os.name != "posix":
        return "unknown"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "killed"
    except PermissionError:
        pass
    return "running"
