"""Compressed bodies, inflated while they are read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: For zlib: a gzip file, a zlib stream, and deflated bytes without a head, which some servers send as "deflate".
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}
_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 16 * 1024


class Readable(Protocol):
    """A file that is read to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""

    def read1(self, size: int, /) -> bytes:
        """Do the same with as few reads below as possible."""


class Body(Readable, Protocol):
    """A body as it comes from the server."""

    @property
    def is_complete(self) -> bool:
        """False if something is missing, once nothing comes any more."""


def inflate(body: Body, encoding: str) -> Readable | None:
    """Return a body without its content encoding, None for an encoding that is not known here."""
    formats = _FORMATS.get(encoding.strip().lower())
    return _Inflated(body, formats) if formats else None


class _Inflated:
    """Inflates what it reads; of a small body that becomes a large one, no more than is asked for."""

    def __init__(self, body: Body, formats: tuple[int, ...]) -> None:
        self._body = body
        # The last one is to be tried first.
        self._formats = [*reversed(formats)]
        self._inflater = zlib.decompressobj(self._formats.pop())
        self._has_begun = False
        self._left = self._unproven = b""

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end. Raises zlib.error for bytes that are not compressed."""
        return self._inflate(self._body.read, size)

    def read1(self, size: int) -> bytes:
        """Do the same with what has arrived. Only what makes no byte yet is read on."""
        return self._inflate(self._body.read1, size)

    def _inflate(self, read: Callable[[int], bytes], size: int) -> bytes:
        while not self._inflater.eof or self._begin_member(read):
            data = self._left or read(_READ_BYTES)
            inflated = self._take(data, size)
            if inflated:
                return inflated
            if not data:
                break
        # What follows a file means nothing. It is read, so that the connection can be kept.
        while read(_READ_BYTES):
            pass
        if self._has_begun and not self._inflater.eof and self._body.is_complete:
            raise zlib.error("the compressed body is not complete")
        return b""

    def _begin_member(self, read: Callable[[int], bytes]) -> bool:
        """Begin the next of several gzip files, which together are one (RFC 1952); return whether there is one."""
        rest = self._inflater.unused_data
        while len(rest) < len(_GZIP_MAGIC) and (more := read(_READ_BYTES)):
            rest += more
        if not rest.startswith(_GZIP_MAGIC):
            return False
        self._inflater, self._left = zlib.decompressobj(_GZIP), rest
        return True

    def _take(self, data: bytes, size: int) -> bytes:
        try:
            inflated = self._inflater.decompress(data, size)
        except zlib.error:
            if not self._formats:
                raise
            self._inflater = zlib.decompressobj(self._formats.pop())
            inflated = self._inflater.decompress(self._unproven + data, size)
        self._has_begun = self._has_begun or bool(data)
        self._left = self._inflater.unconsumed_tail
        if self._formats:
            # Its first bytes prove a format; they may come one by one.
            self._unproven += data
            if inflated:
                self._formats = []
        return inflated
