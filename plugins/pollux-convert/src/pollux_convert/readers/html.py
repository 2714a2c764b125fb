"""Saved web pages, by trafilatura: the main content, or all of a page in which it finds none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trafilatura

from pollux_convert import markup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the content as one block; of a page without main content, the blocks of all of it."""
    page = trafilatura.load_html(data)
    if page is not None and (main := _extract(page)):
        yield main
    else:
        yield from markup.iter_blocks(trafilatura.utils.decode_file(data))


def _extract(page: Any) -> str | None:
    return trafilatura.extract(page, output_format="markdown", include_comments=False, favor_recall=True)
