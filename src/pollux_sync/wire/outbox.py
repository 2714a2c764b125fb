"""The pieces of a request that wait to be sent: small ones leave together, large ones are not copied."""

from __future__ import annotations

from itertools import groupby

#: Pieces that are smaller are joined. Above it, a copy in fresh memory costs more than it saves.
_SMALL_BYTES = 64 * 1024
#: The most that is handed to a socket at once, so that the time that is left is looked at in between. Pieces wait for
#: the next one until they have this size together.
SLICE_BYTES = 256 * 1024


class Outbox:
    """The pieces of a request that have not been sent yet. No repr shows them: the head holds the key."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        """True if the pieces have to be sent before more are added."""
        return self._size_bytes >= SLICE_BYTES

    def add(self, piece: bytes) -> None:
        """Add a piece."""
        self._pieces.append(piece)
        self._size_bytes += len(piece)

    def take(self) -> list[memoryview]:
        """Return the pieces, small ones joined, and forget them. Views show no content in the locals of a traceback."""
        pieces, self._pieces = self._pieces, []
        n_bytes, self._size_bytes = self._size_bytes, 0
        # The usual request: its head and a short body.
        if n_bytes < _SMALL_BYTES:
            return [memoryview(b"".join(pieces))] if n_bytes else []
        # Large pieces are not copied: what comes before one, and what comes after it, is joined.
        groups = groupby(filter(None, pieces), lambda piece: len(piece) >= _SMALL_BYTES)
        return [memoryview(piece) for is_large, run in groups for piece in (run if is_large else [b"".join(run)])]


def limit_size(pieces: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return the pieces up to a size in all; what is beyond it is cut off."""
    limited: list[memoryview] = []
    for piece in pieces:
        limited.append(piece[:n_bytes])
        n_bytes -= len(limited[-1])
        if not n_bytes:
            break
    return limited


def skip_bytes(pieces: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return what of the pieces follows after so many bytes."""
    for number, piece in enumerate(pieces):
        if n_bytes < len(piece):
            return [piece[n_bytes:], *pieces[number + 1 :]]
        n_bytes -= len(piece)
    return []
