"""OpenDocument texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_convert import opendocument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the blocks in order."""
    for element in opendocument.load_body(data, "text"):
        yield from opendocument.iter_element(element)
