"""The XML of OpenDocument: paragraphs, lists and tables -> Markdown."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from pollux_convert import archives
from pollux_convert.markdown import heading, iter_table, list_item
from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_NAMESPACES = "{urn:oasis:names:tc:opendocument:xmlns:"
OFFICE, TABLE, TEXT = (f"{_NAMESPACES}{name}:1.0}}" for name in ("office", "table", "text"))
#: What is in the text of a document but not part of it: deleted text, comments, the numbers of notes.
_LEFT_OUT = frozenset({f"{TEXT}tracked-changes", f"{OFFICE}annotation", f"{TEXT}note-citation"})


def load_body(data: bytes, kind: str) -> Element:
    """Return the element with the content of a document of this kind. Raises ReadError for an encrypted one."""
    with archives.open_archive(data) as archive:
        if b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise ReadError("it is encrypted", hint="save a copy without a password")
        body = archives.parse_xml(archive.read("content.xml"), "content.xml").find(f"{OFFICE}body/{OFFICE}{kind}")
    if body is None:
        raise ReadError("its content.xml has no body", hint="open it in its program, and save it again")
    return body


def iter_element(element: Element, depth: int = 0) -> Iterator[str]:
    """Yield the blocks of an element; ``depth`` is that of the list around it."""
    if element.tag == f"{TEXT}h":
        yield heading(int(element.get(f"{TEXT}outline-level", "1")), join_text(element))
    elif element.tag == f"{TEXT}p":
        text = join_text(element).strip()
        yield from [text] * bool(text)
    elif element.tag == f"{TEXT}list":
        for item in element:
            yield from _iter_item(item, depth)
    elif element.tag == f"{TABLE}table":
        yield from iter_table(iter_rows(element))
    elif element.tag not in _LEFT_OUT:
        for inner in element:
            yield from iter_element(inner, depth)


def _iter_item(item: Element, depth: int) -> Iterator[str]:
    mark = "-"
    for inner in item:
        if inner.tag == f"{TEXT}list":
            yield from iter_element(inner, depth + 1)
            continue
        for block in iter_element(inner, depth):
            yield list_item(depth, mark, block)
            mark = " "


def join_text(element: Element) -> str:
    """Return the text of a paragraph, with spaces, tabs, line breaks and notes in their places."""
    pieces = [element.text or ""]
    for inner in element:
        if inner.tag == f"{TEXT}s":
            pieces.append(" " * int(inner.get(f"{TEXT}c", "1")))
        elif inner.tag in {f"{TEXT}tab", f"{TEXT}line-break"}:
            pieces.append("\t" if inner.tag == f"{TEXT}tab" else "\n")
        elif inner.tag == f"{TEXT}note":
            pieces.append(f" [note: {join_text(inner).strip()}]")
        elif inner.tag not in _LEFT_OUT:
            pieces.append(join_text(inner))
        pieces.append(inner.tail or "")
    return "".join(pieces)


def iter_rows(table: Element) -> Iterator[list[str]]:
    """Yield the rows of a table, without the empty cells at their ends and without empty rows."""
    for row in table.iter(f"{TABLE}table-row"):
        cells = _read_cells(row)
        if cells:
            yield from repeat(cells, _read_count(row, "rows"))


def _read_cells(row: Element) -> list[str]:
    cells: list[str] = []
    gap = 0
    for cell in row:
        text = "\n".join(join_text(paragraph) for paragraph in cell.iter(f"{TEXT}p")).strip()
        count = _read_count(cell, "columns")
        if text:
            cells += [""] * gap + [text] * count
        gap = 0 if text else gap + count
    return cells


def _read_count(element: Element, name: str) -> int:
    return int(element.get(f"{TABLE}number-{name}-repeated", "1"))
