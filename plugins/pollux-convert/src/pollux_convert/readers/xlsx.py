"""Excel workbooks, by openpyxl: a table for each sheet, with the values as they are stored."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from io import BytesIO
from itertools import repeat
from typing import TYPE_CHECKING, Any

import openpyxl

from pollux_convert import archives
from pollux_convert.markdown import heading, iter_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_convert.tasks import Task

_FORMULA = re.compile(rb"<(\w+:)?f[ />]")
_CHUNK_BYTES = 1_000_000


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the sheets in order, hidden ones too. Empty cells at the end of a row, and empty rows, are left out."""
    values = openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=True)
    formulas = openpyxl.load_workbook(BytesIO(data), read_only=True) if _has_formulas(data) else None
    for sheet in values.worksheets:
        hidden = "" if sheet.sheet_state == "visible" else " (hidden)"
        yield heading(2, f"Sheet: {sheet.title}{hidden}")
        rows = _iter_rows(sheet)
        # Programs that write sheets without computing them store no values.
        others = _iter_rows(formulas[sheet.title]) if formulas else repeat(())
        yield from iter_table([*map(_format, *_pad(row, other))] for row, other in zip(rows, others, strict=False))


def _has_formulas(data: bytes) -> bool:
    with archives.open_archive(data) as archive:
        return any(_mentions_formula(archive.open(name)) for name in archive.namelist() if "/worksheets/" in name)


def _mentions_formula(stream: Any) -> bool:
    before = b""
    while piece := stream.read(_CHUNK_BYTES):
        if _FORMULA.search(before + piece):
            return True
        before = piece[-20:]
    return False


def _iter_rows(sheet: Any) -> Iterable[tuple[Any, ...]]:
    # The size that a sheet declares may be that of the largest sheet possible.
    sheet.reset_dimensions()
    rows: Iterable[tuple[Any, ...]] = sheet.iter_rows(values_only=True)
    return rows


def _pad(row: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    width = max(len(row), len(other))
    return (*row, *repeat(None, width - len(row))), (*other, *repeat(None, width - len(other)))


def _format(value: Any, formula: Any) -> str:
    value = formula if value is None else value
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case date() | time():
            return value.isoformat()
        case float():
            return f"{value:.15g}"
    # The text of a formula over several cells.
    return str(getattr(value, "text", value))
