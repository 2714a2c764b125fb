"""OpenDocument spreadsheets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_convert import opendocument
from pollux_convert.markdown import heading, iter_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the sheets in order."""
    for table in opendocument.load_body(data, "spreadsheet").iter(f"{opendocument.TABLE}table"):
        yield heading(2, f"Sheet: {table.get(f'{opendocument.TABLE}name', '')}")
        yield from iter_table(opendocument.iter_rows(table))
