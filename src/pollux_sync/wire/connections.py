"""Connections that keep one deadline over the whole answer and detect when they were stale.

A socket's time-out starts anew with every read, so a server that drips a byte a second is never late. Here every read
of headers and body gets the time that is left of the attempt. A kept connection that the server has closed in the
meantime raises `StaleConnectionError`; one that breaks during a request raises another error.
"""

from __future__ import annotations

import http.client
import io
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from socket import SHUT_RDWR, SOCK_STREAM, gaierror, getaddrinfo
from ssl import SSLSocket
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)
from urllib3.util import connection as tcp
from urllib3.util import parse_url

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import TypeAlias

    #: Host and port of an IP address; of one of version 6, flow and scope too.
    Address: TypeAlias = tuple[Any, ...]

#: A server that takes longer to accept a connection is not there: there is no need to wait for the whole time-out.
_MAX_CONNECT_S = 30.0
#: Pieces of a request that are smaller are joined. Above it, a copy in fresh memory costs more than it saves.
_SMALL_BYTES = 64 * 1024
#: The most that is handed to a socket at once, so that the time that is left is looked at in between. Pieces wait for
#: the next one until they have this size together.
_SLICE_BYTES = 256 * 1024
#: The limits of http.client, whose parser is replaced here.
_MAX_LINE_BYTES = 65_536
_MAX_FIELDS = 100
#: No body is longer than a number of so many digits can say.
_MAX_DIGITS = 19
_BLANK_LINES = {b"\r\n", b"\n", b""}
#: The least time-out of a socket. 0 would mean "do not block".
_MIN_TIMEOUT_S = 0.001
#: More than any file holds. A larger chunk is announced by mistake.
_MAX_CHUNK_BYTES = 2**63


class StaleConnectionError(ConnectionError):
    """A reused connection was closed by the server before any byte of this answer came."""


class TunnelError(ProxyError):
    """A proxy did not connect to the server."""


class _Outbox:
    """The pieces of a request that have not been sent yet. No repr shows them: the head holds the key."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        """True if the pieces have to be sent before more are added."""
        return self._size_bytes >= _SLICE_BYTES

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


def _limit_size(pieces: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return the pieces up to a size in all; what is beyond it is cut off."""
    limited: list[memoryview] = []
    for piece in pieces:
        limited.append(piece[:n_bytes])
        n_bytes -= len(limited[-1])
        if not n_bytes:
            break
    return limited


def _skip_bytes(pieces: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return what of the pieces follows after so many bytes."""
    for number, piece in enumerate(pieces):
        if n_bytes < len(piece):
            return [piece[n_bytes:], *pieces[number + 1 :]]
        n_bytes -= len(piece)
    return []


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, each read within what is left until ``deadline``, which a stream moves with every event."""

    def __init__(self, raw: Any, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer did not arrive within the time limit")
        # Set before each read, since a socket gives every read its whole time-out.
        self._sock.settimeout(left_s)
        count: int | None = self._raw.readinto(buffer)
        return count

    def wake(self) -> None:
        """Make a thread that is reading fail at once."""
        # shutdown, since closing a socket does not wake a thread that waits for it.
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer with a deadline. Its header fields are read ten times as fast as by http.client's email parser."""

    _read_status: Any
    _check_close: Any
    _method: Any

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # http.client has put a buffer around the socket already; ours goes between the two.
        self.reader = _DeadlineReader(self.fp.detach(), sock, deadline)
        self.fp = io.BufferedReader(self.reader)

    def begin(self) -> None:
        version, status, reason = self._read_status()
        self.msg = self._read_fields()
        # 100 Continue and 103 Early Hints are interim answers, which the final one follows on the same connection.
        while 100 <= status < 200:  # noqa: PLR2004
            version, status, reason = self._read_status()
            self.msg = self._read_fields()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        # From here on as in http.client's own begin(), which urllib3 relies on.
        self.headers, self.reason = self.msg, reason.strip()
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.chunked = self.msg.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = self._read_length()
        # Without a length or chunks, the body ends only where the server closes the connection.
        self.will_close = self._check_close() or not (self.chunked or self.length is not None)

    def _read_length(self) -> int | None:
        # These answers have no body, even if they name its length (RFC 9110).
        if self.status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED} or self._method == "HEAD":
            return 0
        # With chunks, a length means nothing and must be ignored (RFC 9112).
        declared = (self.msg.get("content-length") or "").strip()
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

    def _read_fields(self) -> http.client.HTTPMessage:
        """Read the header fields up to the blank line. A line that begins with white space continues the one before."""
        fields: list[list[str]] = []
        # One byte more than allowed tells a line that is too long from one that just fits.
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
        # urllib3 reads the fields from this class. set_raw skips the parsing of values, which is what costs the time.
        for name, value in fields:
            message.set_raw(name, value)
        return message


class DeadlineMixin:
    """Mixin of urllib3's connections: one deadline for connecting, sending and reading the answer.

    ``outbox`` collects the pieces of a request that shall go in one packet, None while nothing is collected.
    ``is_client_closed`` is set by another thread, when the client is closed.
    """

    timeout: Any  # seconds
    sock: Any  # a socket, None before the connection is open
    host: Any
    port: Any
    source_address: Any
    socket_options: Any
    _dns_host: Any
    response_class: Any
    answer_count = 0
    deadline = 0.0
    is_new = False
    is_client_closed = False
    outbox: _Outbox | None = None

    def connect(self) -> None:
        """Connect, TLS included, and start the clock of the request that follows."""
        self.deadline = time.monotonic() + self.timeout
        # A proxy's answer to CONNECT is read in there, and may drip as any other.
        self.response_class = partial(_DeadlineResponse, deadline=self.deadline)
        super().connect()  # type: ignore[misc]
        # Closing the client found no socket to shut down while this thread was connecting.
        if self.is_client_closed:
            self.close()
            raise ConnectionAbortedError("this client has been closed")
        self.is_new = True
        self.sock.settimeout(max(self._left_s, _MIN_TIMEOUT_S))

    def _new_conn(self) -> Any:
        """Connect to the first address of the host that answers.

        urllib3 gives each the whole time-out. Here the addresses that are left share what is left until the deadline.
        """
        addresses = self._resolve_peer()
        failure: OSError = OSError("the name has no address")
        for number, address in enumerate(addresses):
            share_s = self._left_s / (len(addresses) - number)
            try:
                sock = self.open_socket(address, min(max(share_s, _MIN_TIMEOUT_S), _MAX_CONNECT_S))
            except OSError as error:
                failure = error
            else:
                # For the handshake of TLS.
                self._limit_socket(sock)
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host}: {failure}") from failure
        raise NewConnectionError(self, f"no connection: {failure}") from failure  # type: ignore[arg-type]

    def _resolve_peer(self) -> list[Address]:
        try:
            found = getaddrinfo(*self.find_peer(), tcp.allowed_gai_family(), SOCK_STREAM)
        except gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except UnicodeError as error:
            raise LocationParseError(f"{self.host!r}, a label of the name is empty or too long") from error
        return [address for *_, address in found]

    def find_peer(self) -> tuple[str, int]:
        """Return host and port of the server to connect to, which may be a proxy."""
        return self._dns_host, self.port

    def open_socket(self, address: Address, timeout_s: float) -> socket.socket:
        """Connect to one address. Raises OSError."""
        host, port = address[:2]
        return tcp.create_connection((host, port), timeout_s, self.source_address, self.socket_options)

    def _tunnel(self) -> None:
        try:
            super()._tunnel()  # type: ignore[misc]
        except (OSError, http.client.HTTPException) as error:
            raise TunnelError("the proxy did not connect to the server", error) from error
        # The proxy may have taken long to answer, and the handshake of TLS follows.
        self._limit_socket(self.sock)

    @property
    def _left_s(self) -> float:
        return self.deadline - time.monotonic()

    def _limit_socket(self, sock: socket.socket) -> None:
        sock.settimeout(min(max(self._left_s, _MIN_TIMEOUT_S), _MAX_CONNECT_S))

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request within the time-out."""
        # The clock of a new connection has been running since `connect`, so that TLS counts.
        if not self.is_new:
            self.deadline = time.monotonic() + self.timeout
        self.outbox = _Outbox()
        # A server that refuses a request early answers, then closes: that answer is read, as urllib3 does. Without one,
        # `getresponse` detects the stale connection.
        with self._detect_stale(), suppress(BrokenPipeError, ConnectionResetError):
            try:
                super().request(*args, **kwargs)  # type: ignore[misc]
                self._send_outbox()
            finally:
                # A proxy tunnel that is opened later, or after a failure, must send its request at once.
                self.outbox = None

    def send(self, data: Any) -> None:
        """Collect head and body, so that a small request goes in one packet; send when enough has come together."""
        # http.client sends them one by one, which costs a second system call and packet.
        if self.outbox is None:
            super().send(data)  # type: ignore[misc]
            return
        if self.outbox.is_full:
            self._send_outbox()
        self.outbox.add(data)

    def _send_outbox(self) -> None:
        """Send what was collected, however slowly the server reads."""
        pieces = self.outbox.take() if self.outbox else []
        if pieces and self.sock is None:
            self.connect()
        # Not sendall: over TLS it gives each packet the whole time-out, so a server that reads slowly is never late.
        while pieces:
            left_s = self._left_s
            if left_s <= 0:
                raise TimeoutError("the request could not be sent within the time limit")
            self.sock.settimeout(left_s)
            count = self._send_some(pieces)
            # The usual request is sent at once.
            pieces = [] if len(pieces) == 1 and count == len(pieces[0]) else _skip_bytes(pieces, count)

    def _send_some(self, pieces: list[memoryview]) -> int:
        """Send as much as the socket takes; return the number of bytes."""
        # One system call for all, where it exists: not on Windows, nor over TLS.
        if len(pieces) > 1 and hasattr(self.sock, "sendmsg") and not isinstance(self.sock, SSLSocket):
            count: int = self.sock.sendmsg(_limit_size(pieces, _SLICE_BYTES))
        else:
            count = self.sock.send(pieces[0][:_SLICE_BYTES])
        return count

    def getresponse(self) -> Any:
        """Read the head of the answer within the time that is left."""
        # http.client makes the response itself; this is the only way to hand it the deadline.
        self.response_class = partial(_DeadlineResponse, deadline=self.deadline)
        self.is_new = False
        with self._detect_stale():
            response = super().getresponse()  # type: ignore[misc]
        self.answer_count += 1
        return response

    def close(self) -> None:
        """Close the connection; the next request opens it anew."""
        self.answer_count = 0
        super().close()  # type: ignore[misc]

    @contextmanager
    def _detect_stale(self) -> Iterator[None]:
        """Raise StaleConnectionError in place of a ConnectionError on a connection that has been used before."""
        # Read before the request: http.client closes a connection that fails, which resets the count.
        was_used = self.answer_count
        try:
            yield
        except ConnectionError as error:
            if was_used:
                raise StaleConnectionError(*error.args) from error
            raise


class _DeadlineHTTPConnection(DeadlineMixin, HTTPConnection):
    pass


class _DeadlineHTTPSConnection(DeadlineMixin, HTTPSConnection):
    pass


class ClosingPoolMixin:
    """Mixin of urllib3's pools: closing also ends the exchanges in flight, so that no thread waits for them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # urllib3 keeps idle connections only; weak, so that a dropped connection can be collected.
        self._connections: WeakSet[Any] = WeakSet()
        self._is_closed = False
        self._lock = Lock()
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        with self._lock:
            self._connections.add(connection)
            # A thread that found the pool open may get here after it was closed.
            connection.is_client_closed = self._is_closed
        return connection

    def close(self) -> None:
        """Close all connections, also those in use."""
        super().close()  # type: ignore[misc]
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        for connection in connections:
            # For a connection that is just being opened, and has no socket yet.
            connection.is_client_closed = True
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(SHUT_RDWR)


class _DeadlineHTTPPool(ClosingPoolMixin, HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _DeadlineHTTPSPool(ClosingPoolMixin, HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


#: The pools by scheme, for ``pool_classes_by_scheme`` of a urllib3 pool manager.
POOL_CLASSES = {"http": _DeadlineHTTPPool, "https": _DeadlineHTTPSPool}


def open_direct_pool(base_url: str, bundle: str | None, size: int) -> tuple[HTTPConnectionPool, str]:
    """Return a pool of ``size`` kept connections to the server of ``base_url``, and the prefix of every request path.

    ``bundle`` is a file or folder of trusted certificates, None for those of certifi. Raises ConfigurationError for an
    address that cannot be used.
    """
    try:
        url = parse_url(base_url)
        pool_class = POOL_CLASSES[url.scheme or ""]
    except (LocationParseError, KeyError) as error:
        raise ConfigurationError(f"base_url cannot be used: {error}", hint="check its host") from error
    if not url.host or url.host.startswith(("*", ".")):
        raise ConfigurationError(f"base_url cannot be used: no server is called {url.host!r}", hint="check its host")
    options: dict[str, Any] = {}
    if url.scheme == "https":
        # Imported here: it looks for its file.
        from certifi import where

        trusted = bundle or where()
        options = {"cert_reqs": "CERT_REQUIRED", "ca_cert_dir" if Path(trusted).is_dir() else "ca_certs": trusted}
    return pool_class(url.host, url.port, maxsize=size, **options), url.request_uri.rstrip("/")
