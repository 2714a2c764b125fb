"""RTF, by striprtf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from striprtf.striprtf import rtf_to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the text as one block."""
    # Of seven bits, by its specification; some programs write the characters of Windows nevertheless.
    text: str = rtf_to_text(data.decode("latin-1"), errors="replace").strip()  # type: ignore[no-untyped-call]
    yield from [text] * bool(text)
