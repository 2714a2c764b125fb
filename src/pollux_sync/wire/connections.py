"""Connections that keep a deadline over the whole answer and say when they were stale.

A socket's time-out starts anew with every read, so a server that drips a byte a second is never late. Here
every read of headers and body gets what is left of the attempt's time. And a kept connection that the
server closed in the meantime fails with `StaleConnectionError`, told apart from one that broke under a request.
"""

from __future__ import annotations

import http.client
import io
import time
from contextlib import contextmanager, suppress
from functools import partial
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


#: A server that takes longer to accept a connection is not there.
_MAX_CONNECT_S = 30.0


_SMALL_BYTES = 64 * 1024
#: As http.client bounds them.
_MAX_LINE_BYTES = 65_536
_MAX_FIELDS = 100
_BLANK_LINES = {b"\r\n", b"\n", b""}
#: A socket's time-out of 0 would mean: do not block.
_NEXT_TO_NOTHING_S = 0.001


class StaleConnectionError(ConnectionError):
    """A reused connection was closed by the server before any byte of this answer came."""


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, each read within what is left until the deadline."""

    def __init__(self, raw: Any, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing more came within the time limit")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def renew(self, left_s: float) -> None:
        """Read on for so many seconds from now."""
        self._deadline = time.monotonic() + left_s

    def wake(self) -> None:
        """Let whoever is reading fail at once."""
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer with a deadline; its fields are read ten times as fast as by http.client's email parser."""

    _read_status: Any
    _check_close: Any
    _method: Any

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.reader = _DeadlineReader(self.fp.detach(), sock, deadline)
        self.fp = io.BufferedReader(self.reader)

    def begin(self) -> None:
        version, status, reason = self._read_status()
        self.msg = self._read_fields()
        while 100 <= status < 200:  # noqa: PLR2004 - interim answers: the real one follows
            version, status, reason = self._read_status()
            self.msg = self._read_fields()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.headers, self.reason = self.msg, reason.strip()
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.chunked = self.msg.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = self._read_length()
        self.will_close = self._check_close() or not (self.chunked or self.length is not None)

    def _read_length(self) -> int | None:
        if self.status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED} or self._method == "HEAD":
            return 0
        declared = (self.msg.get("content-length") or "").strip()
        return int(declared) if declared.isdecimal() and not self.chunked else None

    def _read_fields(self) -> http.client.HTTPMessage:
        """The header fields, up to the blank line. A line that begins with a space goes on with the one before."""
        fields: list[list[str]] = []
        while (line := self.fp.readline(_MAX_LINE_BYTES + 1)) not in _BLANK_LINES:
            if len(line) > _MAX_LINE_BYTES:
                raise http.client.LineTooLong("header line")
            if len(fields) == _MAX_FIELDS:
                raise http.client.HTTPException(f"got more than {_MAX_FIELDS} headers")
            text = line.decode("iso-8859-1").rstrip("\r\n")
            name, colon, value = text.partition(":")
            if text[:1] in {" ", "\t"} and fields:
                fields[-1][1] += " " + text.strip()
            elif colon:
                fields.append([name.strip(), value.strip()])
        message = http.client.HTTPMessage()
        for name, value in fields:
            message.set_raw(name, value)
        return message


class _DeadlineMixin:
    """Mixed into urllib3's connections: one deadline for connecting, sending and reading the answer."""

    timeout: Any  # seconds
    sock: socket.socket
    response_class: Any
    answer_count = 0
    deadline = 0.0
    is_new = False
    is_abandoned = False
    held: list[bytes] | None = None

    def connect(self) -> None:
        allowed = self.timeout
        self.deadline = time.monotonic() + allowed
        self.timeout = min(allowed, _MAX_CONNECT_S)
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self.timeout = allowed
        if self.is_abandoned:
            self.close()
            raise ConnectionAbortedError("this client has been closed")
        self.is_new = True
        self.sock.settimeout(max(self.deadline - time.monotonic(), _NEXT_TO_NOTHING_S))

    def request(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_new:  # the clock of a new connection runs since it was opened: TLS counts
            self.deadline = time.monotonic() + self.timeout
        held = self.held = []
        with self._detect_stale():
            try:
                super().request(*args, **kwargs)  # type: ignore[misc]
                held = self.held
            finally:
                self.held = None  # a tunnel that is opened later must not be held back
            super().send(b"".join(held))  # type: ignore[misc]

    def send(self, data: Any) -> None:
        """Keep head and small body for one packet; a large body goes as it comes."""
        if self.held is None or not isinstance(data, bytes):
            super().send(data)  # type: ignore[misc]
        elif len(data) > _SMALL_BYTES:
            held, self.held = self.held, []
            super().send(b"".join(held))  # type: ignore[misc]
            super().send(data)  # type: ignore[misc]
        else:
            self.held.append(data)

    def getresponse(self) -> Any:
        self.response_class = partial(_DeadlineResponse, deadline=self.deadline)
        self.is_new = False
        with self._detect_stale():
            response = super().getresponse()  # type: ignore[misc]
        self.answer_count += 1
        return response

    def close(self) -> None:
        self.answer_count = 0
        super().close()  # type: ignore[misc]

    @contextmanager
    def _detect_stale(self) -> Iterator[None]:
        was_used = self.answer_count  # a failing http.client closes, which sets it to 0
        try:
            yield
        except ConnectionError as error:
            if was_used:
                raise StaleConnectionError(*error.args) from error
            raise


class _DeadlineHTTPConnection(_DeadlineMixin, HTTPConnection):
    pass


class _DeadlineHTTPSConnection(_DeadlineMixin, HTTPSConnection):
    pass


class _ClosingPoolMixin:
    """Mixed into urllib3's pools: closing ends the exchanges in flight too, so that nobody waits for them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._live: WeakSet[Any] = WeakSet()
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        self._live.add(connection)
        return connection

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        for connection in list(self._live):
            connection.is_abandoned = True  # should it be connecting just now
            with suppress(OSError, AttributeError):  # it has no socket (any more)
                connection.sock.shutdown(SHUT_RDWR)


class _DeadlineHTTPPool(_ClosingPoolMixin, HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _DeadlineHTTPSPool(_ClosingPoolMixin, HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


#: What a urllib3 pool manager takes as ``pool_classes_by_scheme``.
POOL_CLASSES = {"http": _DeadlineHTTPPool, "https": _DeadlineHTTPSPool}
