"""PowerPoint presentations, by python-pptx: slide by slide, with titles, lists, tables, charts and notes."""

from __future__ import annotations

from io import BytesIO
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pptx

from pollux_convert.markdown import heading, iter_table, list_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the slides in order."""
    for number, slide in enumerate(pptx.Presentation(BytesIO(data)).slides, start=1):
        title = slide.shapes.title
        name = title.text_frame.text if title is not None else ""
        yield heading(2, f"Slide {number}: {name}" if name.strip() else f"Slide {number}")
        for shape in slide.shapes:
            if title is None or shape.shape_id != title.shape_id:
                yield from _iter_shape(shape)
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
            yield f"Notes: {notes.text.strip()}"


def _iter_shape(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _iter_shape(inner)
    elif getattr(shape, "has_table", False):
        yield from iter_table([cell.text for cell in row.cells] for row in shape.table.rows)
    elif getattr(shape, "has_chart", False):
        yield from _iter_chart(shape.chart)
    elif shape.has_text_frame:
        yield from _iter_paragraphs(shape)
    elif description := shape._element._nvXxPr.cNvPr.get("descr"):  # noqa: SLF001 - python-pptx has no name for it
        yield f"[picture: {description}]"


def _iter_paragraphs(shape: Any) -> Iterator[str]:
    # Placeholders are lists, unless they hold one paragraph; boxes of text are not.
    paragraphs = [paragraph for paragraph in shape.text_frame.paragraphs if paragraph.text.strip()]
    is_list = shape.is_placeholder and len(paragraphs) > 1
    for paragraph in paragraphs:
        text = paragraph.text.replace("\v", "\n").strip()
        yield list_item(paragraph.level, "-", text) if is_list or paragraph.level else text


def _iter_chart(chart: Any) -> Iterator[str]:
    if chart.has_title and chart.chart_title.has_text_frame:
        yield f"Chart: {chart.chart_title.text_frame.text}"
    for plot in chart.plots:
        columns = [[series.name or "", *map(str, series.values)] for series in plot.series]
        yield from iter_table(zip_longest(["", *map(str, plot.categories)], *columns, fillvalue=""))
