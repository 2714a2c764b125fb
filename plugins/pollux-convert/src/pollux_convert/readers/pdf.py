"""PDF, by pypdfium2: the text of each page; pages without text as pictures."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pypdfium2

from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Part, Task

_POINTS_PER_INCH = 72
#: The longest edge of a picture in pixels: a page may claim to be as large as a house.
_MAX_EDGE = 4000
#: What pdfium writes for a hyphen at the end of a line, between the two halves of a word.
_SOFT_HYPHENS = ("\ufffe\r\n", "\x02\r\n", "\ufffe", "\x02", "\x00")


def iter_blocks(data: bytes, task: Task) -> Iterator[Part]:
    """Yield the pages in order."""
    with _open_document(data) as document:
        _check_pages(len(document), task)
        has_content = False
        for number, page in enumerate(document, start=1):
            text = _read_text(page)
            picture = None if text or _is_blank(page) or not task.image_type else _draw(page, task)
            has_content = has_content or bool(text or picture)
            yield picture or f"[Page {number}]\n\n{text or _describe_textless(page)}"
        if not has_content:
            raise ReadError(
                "it has no text: its pages are pictures, and the provider takes none",
                hint="use a model that sees pictures, or recognize the text first, e.g. with ocrmypdf",
            )


def _open_document(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise ReadError("it is encrypted", hint="save a copy without a password") from error
        raise


def _check_pages(count: int, task: Task) -> None:
    if count > task.max_pages:
        raise ReadError(
            f"it has {count:,} pages, and max_pages is {task.max_pages:,}",
            hint="pass a part of it, or raise Convert(max_pages=...)",
        )


def _read_text(page: pypdfium2.PdfPage) -> str:
    text: str = page.get_textpage().get_text_bounded()
    for mark in _SOFT_HYPHENS:
        text = text.replace(mark, "")
    return text.replace("\r\n", "\n").strip()


def _is_blank(page: pypdfium2.PdfPage) -> bool:
    return next(iter(page.get_objects()), None) is None


def _describe_textless(page: pypdfium2.PdfPage) -> str:
    return "(blank)" if _is_blank(page) else "(a picture without text)"


def _draw(page: pypdfium2.PdfPage, task: Task) -> bytes:
    scale = min(task.image_dpi / _POINTS_PER_INCH, _MAX_EDGE / max(page.get_size()))
    image = page.render(scale=scale).to_pil()
    output = BytesIO()
    # A scan as JPEG is a fifth of what it is as PNG.
    image.convert("RGB").save(output, "PNG" if task.image_type == "image/png" else "JPEG")
    return output.getvalue()
