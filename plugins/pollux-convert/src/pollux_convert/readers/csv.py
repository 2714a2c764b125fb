"""CSV and TSV in UTF-16, as Excel writes them: the same rows in UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the rows as one block."""
    yield data.decode("utf-16")
