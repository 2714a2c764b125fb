"""Bodies that are read line by line, such as the results of a deferred job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.wire.bodies import MAX_BODY_BYTES, check_value_count
from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body that arrives in chunks, without blank ones and without their ends.

    Only one line is in memory at a time. Raises ReplyError for one that is larger than `MAX_BODY_BYTES`, and as
    `check_value_count` does.
    """
    # Only a line feed ends a line. Line readers of HTTP libraries split at U+2028 and the like too, which JSON text may
    # hold unescaped. Chunks are joined once a line ends: joining at each chunk would cost quadratic time.
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending.append(first)
        size += len(first)
        for other in others:
            yield from _join_unless_blank(pending)
            pending, size = [other], len(other)
        if size > MAX_BODY_BYTES:
            raise ReplyError(f"a line of the answer is larger than {MAX_BODY_BYTES} bytes", hint="check base_url")
    # The last line may lack its line feed.
    yield from _join_unless_blank(pending)


def _join_unless_blank(pieces: list[bytes]) -> Iterator[bytes]:
    line = b"".join(pieces).strip()
    # The pieces are forgotten before the line is decoded: both in memory would double its size.
    pieces.clear()
    if line:
        check_value_count(line)
        yield line
