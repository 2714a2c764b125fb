"""Bodies of requests that are not JSON. They are sent in chunks, so that a large file is never in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.data.bodies import Readable


@attrs.frozen(eq=False, repr=False)
class RawPayload(Value):
    """A body of pieces that are sent one after the other, without being joined."""

    content_type: str
    pieces: tuple[bytes | Readable, ...] = attrs.field(repr=False)

    @property
    def size_bytes(self) -> int:
        """The length of all pieces."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.size_bytes for piece in self.pieces)

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the pieces, those that are not bytes in chunks."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece.iter_chunks()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FormPayload(Value):
    """A multipart form (RFC 7578): text fields, and one file called ``file_name`` in the field ``file_field``."""

    fields: Mapping[str, str] = attrs.field(factory=dict)
    file_field: str = "file"
    file_name: str
    file_type: str
    content: Readable = attrs.field(repr=False)
    # Random, so that no file holds it.
    boundary: str = attrs.field(factory=lambda: f"pollux-{os.urandom(16).hex()}", repr=False)

    @property
    def content_type(self) -> str:
        """The type of the form, with the text between its parts."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def size_bytes(self) -> int:
        """The length of the whole form."""
        return len(self._head) + self.content.size_bytes + len(self._tail)

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the form, the file in chunks."""
        yield self._head
        yield from self.content.iter_chunks()
        yield self._tail

    @property
    def _head(self) -> bytes:
        fields = [f"{self._open_part(name)}\r\n\r\n{value}\r\n" for name, value in self.fields.items()]
        file = f'{self._open_part(self.file_field)}; filename="{_escape(self.file_name)}"'
        return "".join([*fields, f"{file}\r\nContent-Type: {self.file_type}\r\n\r\n"]).encode()

    def _open_part(self, name: str) -> str:
        return f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_escape(name)}"'

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def make_printable(name: str) -> str:
    """Return a name with an underscore for each character that no form, header or JSON should hold.

    These are control characters, for which some servers refuse a whole request, and lone surrogates, which stand for
    bytes of a file name that are not UTF-8.
    """
    return "".join(char if char.isprintable() else "_" for char in name)


def _escape(text: str) -> str:
    """Return a name as it can stand in a form: a quote or line break would end it."""
    return make_printable(text).replace('"', "%22")
