"""Answers: a head, and a body that is read within a deadline while it arrives.

http.client splits the body into what the server sent; zlib inflates what was compressed as every client asks for it,
urllib3 the rest.
"""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import suppress
from socket import SHUT_RDWR
from ssl import SSLError
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from pollux_sync.wire.heads import Head, parse_head, read_fields

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from pollux_sync.wire.inflating import Readable

#: No body is longer than a number of so many digits can say.
_MAX_DIGITS = 19
#: More than any file holds. A larger chunk is announced by mistake.
_MAX_CHUNK_BYTES = 2**63
_CHUNK_BYTES = 64 * 1024
#: How far the time-out of a socket may be from what is left. To set it costs a system call.
_TOLERANCE_S = 0.005
#: The longest wait at a stretch in the main thread. Python acts on a signal between two of its own steps: one that
#: comes in the moment before a wait begins would be noticed only at its end.
_STRETCH_S = 0.5


def limit_wait(sock: socket.socket, deadline: float, late: str, *, longest_s: float = math.inf) -> None:
    """Let the next wait for a socket end at the deadline, or after ``longest_s``.

    Raises TimeoutError, with the text ``late``, after the deadline.
    """
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError(late)
    left_s = min(left_s, longest_s)
    # Looked at before each wait, since a socket gives every read its whole time-out.
    current_s = sock.gettimeout()
    if current_s is None or abs(current_s - left_s) > _TOLERANCE_S:
        sock.settimeout(left_s)


class BrokenExchangeError(ConnectionError):
    """The answer breaks off, or is no HTTP."""


def convert_error(error: BaseException) -> Exception | None:
    """Return what to raise in place of an error of an exchange, or None for one that says what it is."""
    if isinstance(error, (SSLError, TimeoutError, ConnectionError)):
        return None
    if isinstance(error, (OSError, http.client.HTTPException)):
        return BrokenExchangeError(f"the connection failed: {error}")
    return None


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, each read within what is left until ``deadline``, which a stream moves with every event."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that http.client asks its socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        longest_s = _STRETCH_S if current_thread() is main_thread() else math.inf
        while True:
            limit_wait(
                self._sock, self.deadline, "the answer did not arrive within the time limit", longest_s=longest_s
            )
            # The end of a stretch; after the deadline the next turn says so.
            with suppress(TimeoutError):
                return self._sock.recv_into(buffer)

    def wake(self) -> None:
        """Make a thread that is reading fail at once."""
        # shutdown, since closing a socket does not wake a thread that waits for it.
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)


class Answer(http.client.HTTPResponse):
    """The answer to one request. Read it to its end, which keeps its connection, or close it.

    ``fields`` are the header fields by lower-case name. ``length`` is the number of bytes that are still to come, None
    where nobody knows.
    """

    _read_status: Callable[[], tuple[str, int, str]]
    _check_close: Callable[[], bool]
    _method: str | None
    will_close: bool
    fields: dict[str, str]

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        self.reader = _DeadlineReader(sock, deadline)
        #: Called once, at the end of the exchange, with ``is_reusable``: whether the connection can carry another.
        self.release: Callable[..., None] | None = None
        super().__init__(self.reader, *args, **kwargs)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read the head."""
        head = self._read_head()
        # 100 Continue and 103 Early Hints are interim answers, which the final one follows on the same connection.
        while head.status < http.client.OK:
            head = self._read_head()
        self.fields = head.fields
        # The attributes that http.client and urllib3 read.
        self.headers = self.msg = head.fields  # type: ignore[assignment]
        self.code = self.status = head.status
        self.version = 10 + head.minor
        self.chunked = head.fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = self._read_length()
        # Without a length or chunks, the body ends only where the server closes the connection.
        self.will_close = self._check_close() or not (self.chunked or self.length is not None)

    def _read_head(self) -> Head:
        head = parse_head(self.fp)
        if head is None:
            version, status, _ = self._read_status()
            if not version.startswith("HTTP/1."):
                raise http.client.UnknownProtocol(version)
            head = Head(0 if version == "HTTP/1.0" else 1, status, read_fields(self.fp))
        return head

    def _read_length(self) -> int | None:
        # These answers have no body, even if they name its length (RFC 9110).
        if self.status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED} or self._method == "HEAD":
            return 0
        # With chunks, a length means nothing and must be ignored (RFC 9112).
        declared = self.fields.get("content-length", "")
        if self.chunked or not declared.isdecimal():
            return None
        # int() refuses thousands of digits with an error that is not of the protocol.
        if len(declared) > _MAX_DIGITS:
            raise http.client.HTTPException(f"the content length has {len(declared)} digits")
        return int(declared)

    def _read_next_chunk_size(self) -> int:
        size_bytes: int = super()._read_next_chunk_size()  # type: ignore[misc]
        # http.client reads "-1" as a number too, and then everything up to the end at once.
        if not 0 <= size_bytes < _MAX_CHUNK_BYTES:
            raise http.client.HTTPException(f"a chunk claims a size of {size_bytes} bytes")
        return size_bytes

    @property
    def is_complete(self) -> bool:
        """True if nothing is missing of a body that has been read until nothing came any more."""
        # http.client reports only of chunks that they ended early.
        return not self.length

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks, inflated if it is compressed; keep the connection at its end.

        Raises TimeoutError, ConnectionError, SSLError, or zlib's error and urllib3's DecodeError.
        """
        is_plain = "content-encoding" not in self.fields
        read: Callable[[int], bytes] = self.read if is_plain else self.open_inflated().read
        try:
            while chunk := read(_CHUNK_BYTES):
                yield chunk
                # Without one more read, which would be one more call.
                if is_plain and self.isclosed():
                    break
            if not self.is_complete:
                raise http.client.IncompleteRead(b"", self.length)
        except (OSError, http.client.HTTPException) as error:
            if converted := convert_error(error):
                raise converted from error
            raise
        self.keep()

    def open_inflated(self) -> Readable:
        """Return the body as a file that is inflated while it is read."""
        # Imported here, as each that follows: many answers are not compressed.
        from pollux_sync.wire.inflating import inflate

        inflated = inflate(self, self.fields["content-encoding"])
        if inflated is not None:
            return inflated
        # Encodings that we do not ask for, such as br.
        from urllib3.response import HTTPResponse

        return HTTPResponse(
            body=self,
            headers=self.fields,
            status=self.status,
            preload_content=False,
            original_response=self,
            request_method=self._method,
        )

    def keep(self) -> None:
        """Keep the connection for another request, if the server keeps it too. The body must have been read."""
        self._end(is_reusable=not self.will_close)

    def drop(self) -> None:
        """Close the connection, unless it has been kept already."""
        self._end(is_reusable=False)

    def __del__(self) -> None:
        # For an answer that was left in the middle, such as a stream that failed.
        self.drop()
        super().__del__()

    def _end(self, *, is_reusable: bool) -> None:
        release, self.release = self.release, None
        if release is not None:
            release(is_reusable=is_reusable)
