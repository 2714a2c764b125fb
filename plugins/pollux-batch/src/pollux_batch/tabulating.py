"""Rows -> a file of JSON lines, CSV or Parquet, which appears whole or not at all.

Rows are written into a temporary file beside it, as JSON lines. The columns of a table are those of all rows together,
so a CSV or Parquet file is made from that file at the end.
"""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING, Any, Self

from pollux_batch.drafting import Draft, check_place, sync
from pollux_batch.parquet import require_pyarrow, write_rows
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import unstructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigurationError for a path at which no table can be written, or for one in use."""
    check_format(path)
    check_place(path, overwrite=overwrite)


def check_format(path: Path) -> None:
    """Raise ConfigurationError for a path with the suffix of no table that can be written."""
    if path.suffix not in _FORMATS:
        raise ConfigurationError(
            f"{str(path)!r} has no known format", hint=f"end it with one of: {', '.join(sorted(_FORMATS))}"
        )
    if path.suffix == ".parquet":
        require_pyarrow()


class TableWriter:
    """Writes one table. Leaving the ``with`` block without `commit` leaves nothing behind."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        check_output(path, overwrite=overwrite)
        self.path = path
        self.n_rows = 0
        self._convert = _FORMATS[path.suffix]
        #: In the order in which rows brought them.
        self._columns: dict[str, None] = {}
        self._rows = Draft(path, overwrite=overwrite)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row. A value that JSON does not have is written as its text, and NaN as null."""
        self._columns |= dict.fromkeys(row)
        self._rows.file.write(_format_line(replace_nested_surrogates(row)) + "\n")
        self.n_rows += 1

    def commit(self) -> None:
        """Put the table in its place. Raises ConfigurationError if another file is there by now."""
        if self._convert is None:
            self._rows.commit()
            return
        self._rows.file.flush()
        table = self._rows.part.with_suffix(self.path.suffix)
        try:
            self._convert(self._rows.part, table, [*self._columns])
            self._rows.commit(table)
        finally:
            table.unlink(missing_ok=True)

    def discard(self) -> None:
        """Drop what was not put in its place."""
        self._rows.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _convert_to_csv(rows: Path, path: Path, columns: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in _iter_rows(rows):
            writer.writerow([_format_cell(row.get(name)) for name in columns])
        sync(file)


def _convert_to_parquet(rows: Path, path: Path, columns: list[str]) -> None:
    write_rows(path, columns, lambda: _iter_rows(rows), _format_cell)
    with path.open("rb+") as file:
        sync(file)


def _iter_rows(rows: Path) -> Iterator[dict[str, Any]]:
    with rows.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _format_line(row: Any) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=to_json_value)
    except ValueError:
        return json.dumps(_drop_constants(row), ensure_ascii=False, default=to_json_value)


def _drop_constants(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _drop_constants(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_drop_constants, value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json_value(value: Any) -> Any:
    """Return a value as JSON can hold it; one that has no JSON form is written as its text."""
    try:
        return unstructure(value)
    except ConfigurationError:
        return str(value)


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


#: What makes a file of each suffix from JSON lines; None where it is JSON lines itself.
_FORMATS: dict[str, Callable[[Path, Path, list[str]], None] | None] = {
    ".jsonl": None,
    ".csv": _convert_to_csv,
    ".parquet": _convert_to_parquet,
}
