"""Files -> items: JSON lines, CSV and Parquet, one row in memory at a time.

What is wrong with the columns is found when the file is opened, before anything is sent. A row that cannot be read or
asked becomes a `BrokenItem`, which fails alone.
"""

from __future__ import annotations

import csv
import hashlib
import json
from contextlib import closing
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_batch import parquet
from pollux_batch.data.items import BatchItem, BrokenItem
from pollux_batch.errors import RowError
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

#: The number of the line on which a row begins, and the row by column, or why it cannot be read.
_Row: TypeAlias = "tuple[int, dict[str, Any] | RowError]"

#: The column of the prompt, if neither a column nor a template is named.
_PROMPT = "prompt"
#: A prompt may be a book. Above this number a C long overflows on Windows.
_MAX_CELL = 2**31 - 1
_DIGEST_BYTES = 12


def read_jsonl(
    path: str | os.PathLike[str],
    *,
    prompt: str | None = None,
    template: str | None = None,
    id: str | None = None,  # noqa: A002 - the word that items and results have for it
) -> ItemReader:
    """Open a file of JSON objects, one on a line, and return an iterator of its items.

    * ``prompt``: the column of the prompt; default "prompt". Or ``template``: a text with columns in braces, such as
      "Translate {text} into {language}".
    * ``id``: the column that labels an item; by default its label is ``row_N``, counted from 1.

    The context of an item is its whole row. Raises ConfigurationError for a file that cannot be read, and for a column
    that the first row does not have. A row that is broken, or has a blank or repeated id, fails alone.
    """
    return _open_rows(Path(path), _iter_jsonl, prompt, template, id)


def read_csv(
    path: str | os.PathLike[str],
    *,
    prompt: str | None = None,
    template: str | None = None,
    id: str | None = None,  # noqa: A002 - as in read_jsonl
    delimiter: str = ",",
) -> ItemReader:
    """Open a CSV file whose first line names the columns, and return an iterator of its items; see `read_jsonl`."""
    # The limit is one of the process: a larger cell would break its row.
    csv.field_size_limit(_MAX_CELL)
    header = _read_header(Path(path), delimiter)

    def iter_rows(path: Path) -> Generator[_Row, None, None]:
        return _iter_csv(path, header, delimiter)

    return _open_rows(Path(path), iter_rows, prompt, template, id, header)


def read_parquet(
    path: str | os.PathLike[str],
    *,
    prompt: str | None = None,
    template: str | None = None,
    id: str | None = None,  # noqa: A002 - as in read_jsonl
) -> ItemReader:
    """Open a Parquet file, and return an iterator of its items; see `read_jsonl`.

    An error names the number of its row as its line. Raises ConfigurationError also if pyarrow is not installed, which
    comes with ``pollux-batch[parquet]``.
    """

    def iter_rows(path: Path) -> Generator[_Row, None, None]:
        yield from enumerate(parquet.iter_rows(path), 1)

    columns = _check_names(Path(path), parquet.read_columns(Path(path)))
    return _open_rows(Path(path), iter_rows, prompt, template, id, columns)


class ItemReader:
    """The items of a file, to be iterated over once. ``columns`` are those of the file, or of its first row."""

    def __init__(self, items: Iterator[BatchItem | BrokenItem], columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._items = items

    def __iter__(self) -> Iterator[BatchItem | BrokenItem]:
        return self

    def __next__(self) -> BatchItem | BrokenItem:
        return next(self._items)


def _open_rows(  # noqa: PLR0917 - the arguments of the callers
    path: Path,
    iter_rows: Callable[[Path], Generator[_Row, None, None]],
    prompt: str | None,
    template: str | None,
    label: str | None,
    columns: tuple[str, ...] | None = None,
) -> ItemReader:
    layout = _build_layout(prompt, template, label)
    # Read twice from its start, which a pipe cannot be.
    if not path.is_file():
        raise ConfigurationError(f"{str(path)!r} is not a file", hint="pass the path of a .jsonl or .csv file")
    if columns is None:
        columns = _find_columns(iter_rows(path))
    if columns:
        layout.check_columns(path, columns)
    return ItemReader(_iter_items(iter_rows(path), layout), columns)


def _find_columns(rows: Generator[_Row, None, None]) -> tuple[str, ...]:
    """Return the columns of the first row that can be read."""
    with closing(rows):
        return next((tuple(row) for _, row in rows if isinstance(row, dict)), ())


# Rows


def _iter_jsonl(path: Path) -> Generator[_Row, None, None]:
    with _open(path) as file:
        # Lines of bytes, so that one which is no text does not end the reading of the others.
        for number, line in enumerate(file, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, _parse_line(text, number)


def _parse_line(line: bytes, number: int) -> dict[str, Any] | RowError:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # json gives up on deep nesting with a RecursionError
        return RowError(f"line {number} is not JSON: {error}", hint="write one JSON object on each line", line=number)
    if isinstance(row, dict):
        return row
    return RowError(
        f"line {number} is a JSON {type(row).__name__}, not an object",
        hint='write one object on each line: {"prompt": "..."}',
        line=number,
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read_header(path: Path, delimiter: str) -> tuple[str, ...]:
    with _open(path) as file:
        first = next(_parse_csv(file, delimiter), None)
    header = first[1] if first else []
    if isinstance(header, RowError) or not any(header):
        raise ConfigurationError(f"{str(path)!r} does not begin with the names of columns", hint="add a first line")
    return _check_names(path, header)


def _check_names(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(f"{str(path)!r} has several columns {repeated[0]!r}", hint="rename all but one")
    return tuple(names)


def _iter_csv(path: Path, header: tuple[str, ...], delimiter: str) -> Generator[_Row, None, None]:
    with _open(path) as file:
        rows = _parse_csv(file, delimiter)
        next(rows, None)
        for number, cells in rows:
            if isinstance(cells, RowError):
                yield number, cells
            elif len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            else:
                yield number, _build_width_error(number, len(cells), len(header))


def _build_width_error(number: int, n_cells: int, n_columns: int) -> RowError:
    return RowError(
        f"line {number} has {n_cells} cells, but there are {n_columns} columns",
        hint="write a cell that contains a comma or a line end in quotes",
        line=number,
    )


def _parse_csv(file: Iterable[bytes], delimiter: str) -> Iterator[tuple[int, list[str] | RowError]]:
    """Yield the cells of each row that is not blank, with the number of the line on which it begins."""
    # Bytes that are no text become surrogates here: only their row is broken.
    lines = (line.decode("utf-8", "surrogateescape") for line in file)
    reader = csv.reader(_drop_mark(lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, RowError(f"line {number} is not CSV: {error}", hint="mend its quotes", line=number)
            continue
        if not all(map(_is_text, cells)):
            yield number, RowError(f"line {number} is not UTF-8", hint="convert the file: iconv -t utf-8", line=number)
        elif cells:
            yield number, cells


def _drop_mark(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines, without the byte order mark with which editors on Windows begin a file."""
    for first in lines:
        yield first.removeprefix("\ufeff")
        break
    yield from lines


def _is_text(cell: str) -> bool:
    try:
        return cell.isascii() or bool(cell.encode())
    except UnicodeEncodeError:
        return False


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="pass the path of a .jsonl or .csv file"
        ) from error


# Items


def _iter_items(rows: Generator[_Row, None, None], layout: _Layout) -> Iterator[BatchItem | BrokenItem]:
    #: Hashes, since the ids themselves might not fit into memory.
    known: set[bytes] = set()
    with closing(rows):
        for number, (line, row) in enumerate(rows, 1):
            label = f"row_{number}"
            if isinstance(row, RowError):
                yield BrokenItem(row, label)
                continue
            try:
                prompt = layout.fill(row, line)
                yield BatchItem(prompt, layout.read_id(row, line, known) or label, context=row)
            except RowError as error:
                yield BrokenItem(error, label, context=row)


@attrs.frozen
class _Layout:
    """The places of the prompt and the id in a row. ``texts`` stand around the ``columns`` of the prompt."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    id: str | None

    def check_columns(self, path: Path, columns: Sequence[str]) -> None:
        """Raise ConfigurationError for a column that does not exist."""
        wanted = [*self.columns, *([] if self.id is None else [self.id])]
        for name in wanted:
            if name not in columns:
                raise ConfigurationError(
                    f"{str(path)!r} has no column {name!r}", hint=f"its columns are: {', '.join(columns)}"
                )

    def fill(self, row: dict[str, Any], line: int) -> str:
        """Return the prompt of a row. Raises RowError for a column that is missing or null, and a blank prompt."""
        values = [_read_text(row, name, line) for name in self.columns]
        prompt = self.texts[0] + "".join(map("".join, zip(values, self.texts[1:], strict=True)))
        if not prompt.strip():
            raise RowError(f"line {line} has a blank prompt", hint="fill its columns, or delete the line", line=line)
        return prompt

    def read_id(self, row: dict[str, Any], line: int, known: set[bytes]) -> str | None:
        """Return the id of a row, None if no column has it. Raises RowError for one that is blank or not new."""
        if self.id is None:
            return None
        label = _read_text(row, self.id, line).strip()
        if not label:
            raise RowError(f"line {line} has a blank id", hint=f"fill its column {self.id!r}", line=line)
        digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
        if digest in known:
            raise RowError(f"line {line} repeats the id {label!r}", hint="give every row an id of its own", line=line)
        known.add(digest)
        return label


def _read_text(row: dict[str, Any], name: str, line: int) -> str:
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        is_there = "is null" if name in row else "is missing"
        raise RowError(f"line {line}: column {name!r} {is_there}", hint=f"it has: {', '.join(row)}", line=line)
    # Parquet has values that JSON does not have: dates are filled in as they print.
    if isinstance(value, bytes):
        return _decode(value, name, line)
    is_json = isinstance(value, bool | int | float | list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)


def _decode(value: bytes, name: str, line: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RowError(f"line {line}: column {name!r} is not UTF-8", hint="store it as a text", line=line) from error


def _build_layout(prompt: str | None, template: str | None, label: str | None) -> _Layout:
    if template is None:
        return _Layout(("", ""), (_PROMPT if prompt is None else prompt,), label)
    if prompt is not None:
        raise ConfigurationError("prompt and template are both given", hint="leave one of them out")
    return _Layout(*_parse_template(template), label)


def _parse_template(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts around the columns of a template, and the columns."""
    try:
        fields = [*Formatter().parse(template)]
    except ValueError as error:
        raise ConfigurationError(
            f"the template cannot be read: {error}", hint="write {column}, and {{ or }} for a brace itself"
        ) from error
    texts, columns = [""], []
    for text, name, spec, conversion in fields:
        texts[-1] += text
        if name is None:
            continue
        if not name or spec or conversion:
            raise ConfigurationError(
                "a field of the template is not the name of a column alone", hint="write each field as {column}"
            )
        columns.append(name)
        texts.append("")
    if not columns:
        raise ConfigurationError("the template names no column", hint='write for example "Translate {text}"')
    return tuple(texts), tuple(columns)
