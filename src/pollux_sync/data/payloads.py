"""Bodies of requests that are not JSON. They are sent in chunks, so that a large file is never in memory."""

from __future__ import annotations

import json
import os
import threading
from binascii import b2a_base64
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@cache
def _keep_freed_memory() -> None:
    """Make glibc's malloc keep up to 2 MiB that was freed, in place of 128 KiB.

    It would return the memory of each image to the system, and fetch it anew for the next one, which takes longer than
    the base64. Its limits follow the largest block that was ever freed: see M_MMAP_THRESHOLD in mallopt(3).
    """
    bytes(2**20)


#: One for all texts: the interpreter encodes only one at a time anyway, and a lock in each would not survive pickling.
_encoding_lock = threading.Lock()


def _renew_lock() -> None:
    """Make a new lock in a forked child, whose copy a thread of the parent may hold."""
    global _encoding_lock  # noqa: PLW0603
    _encoding_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@attrs.define(repr=False)
class InlineText:
    """A file in base64 after a prefix, as a text in the body of a request; ``str()`` returns the text.

    It is written into the JSON as bytes, encoded once for all requests: as a Python text, 20 MB would be escaped and
    joined in three times the time and twice the memory.
    """

    _data: bytes
    _prefix: str = ""
    _base64: bytes = attrs.field(default=b"", init=False, eq=False)

    def __str__(self) -> str:
        return self._prefix + self._encode().decode()

    def __repr__(self) -> str:
        return f"InlineText({self._prefix!r}, {len(self._data)} bytes)"

    @property
    def json(self) -> tuple[bytes, bytes]:
        """The text between the quotes of its JSON, in two pieces that are not copied."""
        # Base64 needs no escaping.
        return json.dumps(self._prefix, ensure_ascii=False)[1:-1].encode(), self._encode()

    def _encode(self) -> bytes:
        if not self._base64 and self._data:
            # One thread encodes it, and not each of the threads that share it: it may be megabytes.
            with _encoding_lock:
                if not self._base64:
                    _keep_freed_memory()
                    self._base64 = b2a_base64(self._data, newline=False)
        return self._base64


def expand_texts(value: Any) -> Any:
    """Return JSON-ready data: every `InlineText` in ``value`` as a text. Without any it is not copied."""
    return _expand(value) if _holds_inline_text(value) else value


def _holds_inline_text(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_inline_text, value.values()))
    return isinstance(value, InlineText) or (isinstance(value, list | tuple) and any(map(_holds_inline_text, value)))


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _expand(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_expand(inner) for inner in value]
    return str(value) if isinstance(value, InlineText) else value


class Readable(Protocol):
    """Content that is read in chunks. It is read from its beginning each time, so that it can be sent again."""

    @property
    def size_bytes(self) -> int:
        """The exact length."""
        ...

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the content. Raise an error of our tree if it can no longer be read as it was."""
        ...


class Payload(Protocol):
    """A body with its length, which is sent ahead, and its type."""

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""
        ...

    @property
    def size_bytes(self) -> int:
        """The exact length of the body."""
        ...

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body."""
        ...


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
