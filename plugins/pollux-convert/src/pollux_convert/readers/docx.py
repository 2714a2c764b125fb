"""Word documents, by way of mammoth, which knows their styles, lists, tables, footnotes and tracked changes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import mammoth

from pollux_convert import markup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the blocks in order."""
    # Titles have a style of their own, which mammoth takes for a plain paragraph.
    styles = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
    pages = mammoth.convert_to_html(
        BytesIO(data), style_map=styles, convert_image=mammoth.images.img_element(_describe)
    )
    yield from markup.iter_blocks(pages.value)


def _describe(_image: object) -> dict[str, str]:
    """Return no content of a picture: its description is all that is kept, and mammoth adds it."""
    return {}
