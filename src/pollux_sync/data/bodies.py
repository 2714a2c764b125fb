"""Parts of the bodies of requests: files as texts in JSON, and content that is sent in chunks."""

from __future__ import annotations

import json
import os
import threading
from binascii import b2a_base64
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class InlineText:
    """A file in base64 after a prefix, as a text in the body of a request; ``str()`` returns the text.

    It is written into the JSON as bytes, encoded once for all requests: as a Python text, 20 MB would be escaped and
    joined in three times the time and twice the memory.
    """

    __slots__ = ("_base64", "_data", "_prefix")

    def __init__(self, data: bytes, prefix: str = "") -> None:
        self._data = data
        self._prefix = prefix
        self._base64 = b""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InlineText):
            return NotImplemented
        return (self._data, self._prefix) == (other._data, other._prefix)

    def __hash__(self) -> int:
        return hash((self._data, self._prefix))

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
