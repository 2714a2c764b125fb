"""Blocks of Markdown, as readers yield them, and the text that they make together."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pollux_convert.tasks import Part, Task

#: The width of a table is that of the widest of these rows: a sheet often begins with a title in one cell.
_ROWS_TO_MEASURE = 200


class ListItem(str):
    """An item of a list; no blank line stands between two of them."""

    __slots__ = ()


class TableRow(str):
    """A row of a table after its head; no blank line stands before it."""

    __slots__ = ()


def heading(level: int, text: str) -> str:
    """Return a heading on one line; level 1 is the highest of six."""
    return f"{'#' * min(max(level, 1), 6)} {squeeze(text)}"


def list_item(depth: int, mark: str, text: str) -> ListItem:
    """Return an item of a list on one line; the outermost list has depth 0."""
    return ListItem(f"{'  ' * depth}{mark} {squeeze(text)}")


def squeeze(text: str) -> str:
    """Return the text on one line, with single spaces."""
    return " ".join(text.split())


def iter_table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the blocks of a table, whose first row is its head. Rows without any text are left out."""
    filled = (row for row in rows if any(cell.strip() for cell in row))
    first = list(islice(filled, _ROWS_TO_MEASURE))
    if not first:
        return
    width = max(map(len, first))
    yield f"{_format_row(first[0], width)}\n|{' --- |' * width}"
    for row in chain(first[1:], filled):
        yield TableRow(_format_row(row, width))


def _format_row(row: Sequence[str], width: int) -> str:
    cells = [squeeze(cell).replace("|", "\\|") for cell in row]
    return f"| {' | '.join(cells + [''] * (width - len(cells)))} |"


def join_blocks(blocks: Iterable[Part], task: Task) -> list[Part]:
    """Return the texts and pictures of a document in order. Raises ReadError as soon as the text is too long."""
    parts: list[Part] = []
    pieces: list[str] = []
    before, left = "", task.max_output_chars
    for block in blocks:
        if isinstance(block, bytes):
            parts += ["".join(pieces)] * bool(pieces) + [block]
            pieces = []
            continue
        left -= len(block)
        if left < 0:
            raise ReadError(
                f"it has more than {task.max_output_chars:,} characters of text",
                hint="pass a part of it, or raise Convert(max_output_chars=...)",
            )
        pieces += [_choose_gap(before, block) if pieces else "", block]
        before = block
    return parts + ["".join(pieces)] * bool(pieces)


def _choose_gap(before: str, block: str) -> str:
    is_close = isinstance(block, TableRow) or (isinstance(block, ListItem) and isinstance(before, ListItem))
    return "\n" if is_close else "\n\n"
