"""Parquet files, row by row. The package pyarrow is imported when the first one is opened."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pollux_batch.errors import RowError
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

#: Read by few rows, since one may hold a book. Without a buffer pyarrow would read whole groups of rows at once.
_READ_ROWS, _BUFFER_BYTES = 100, 2**20
#: Written by many rows, since each group costs a header, but never by more text than this.
_GROUP_ROWS, _GROUP_CHARACTERS = 10_000, 16_000_000
#: Integers below the first have an exact float; those below the second fit into a column of integers.
_MAX_EXACT, _MAX_INTEGER = 2**53, 2**63


def require_pyarrow(name: str = "pyarrow") -> Any:
    """Return a module of pyarrow. Raises ConfigurationError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            "Parquet files need the package pyarrow", hint="pip install 'pollux-batch[parquet]'"
        ) from error


def read_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a file. Raises ConfigurationError if it is no Parquet file."""
    with _open(path) as file:
        return tuple(file.schema_arrow.names)


def iter_rows(path: Path) -> Iterator[dict[str, Any] | RowError]:
    """Yield the rows of a file, in a few megabytes of memory. Raises ConfigurationError where the file is damaged."""
    number = 1
    with _open(path) as file, _explain_errors(path):
        for batch in file.iter_batches(batch_size=_READ_ROWS, use_threads=False):
            yield from _read_rows(batch, number)
            number += batch.num_rows


def _read_rows(batch: Any, number: int) -> Sequence[dict[str, Any] | RowError]:
    try:
        rows: list[dict[str, Any] | RowError] = batch.to_pylist()
    except (ValueError, OverflowError):
        # Python has no value for a cell, such as a date in the year 20,000: only its row is broken.
        return [_read_row(batch.slice(index, 1), number + index) for index in range(batch.num_rows)]
    return rows


def _read_row(batch: Any, number: int) -> dict[str, Any] | RowError:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return RowError(
            f"line {number} has a value that Python cannot hold: {error}", hint="store it as a text", line=number
        )
    return row


def write_rows(
    path: Path,
    columns: Iterable[str],
    read: Callable[[], Iterable[dict[str, Any]]],
    format_cell: Callable[[Any], str],
) -> None:
    """Write a file. ``read`` is called twice: for the types of the columns, then for the rows.

    A column is of booleans, integers or floats if all of its values are, else of texts, as ``format_cell`` writes them.
    """
    arrow, parquet = require_pyarrow(), require_pyarrow("pyarrow.parquet")
    types = _find_types(columns, read())
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in types.items()])

    def convert(name: str, value: Any) -> Any:
        return format_cell(value) if types[name] == "string" and value is not None else value

    cells = ({name: convert(name, row.get(name)) for name in types} for row in read())
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _iter_groups(cells):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


def _iter_groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(cell) for cell in row.values() if isinstance(cell, str))
        if len(group) >= _GROUP_ROWS or size >= _GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _find_types(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    kinds: dict[str, set[str]] = {name: set() for name in columns}
    for row in rows:
        for name, value in row.items():
            kinds[name].add(_name_kind(value))
    return {name: _choose_type(found - {"none"}) for name, found in kinds.items()}


def _name_kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool_"
    if isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER:
        return "int64" if abs(value) <= _MAX_EXACT else "large"
    return "float64" if isinstance(value, float) else "string"


def _choose_type(kinds: set[str]) -> str:
    """Return the type of a column: the narrowest that holds each of its values exactly."""
    for name, held in (("bool_", {"bool_"}), ("int64", {"int64", "large"}), ("float64", {"int64", "float64"})):
        if kinds and kinds <= held:
            return name
    return "string"


def _open(path: Path) -> Any:
    parquet = require_pyarrow("pyarrow.parquet")
    with _explain_errors(path):
        return parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES)


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, require_pyarrow().ArrowException) as error:
        raise ConfigurationError(
            f"{str(path)!r} cannot be read: {error}", hint="pass a Parquet file, or write it anew if it is damaged"
        ) from error
