"""Connections that keep one deadline over the whole answer and detect when they were stale.

A socket's time-out starts anew with every read, so a server that drips a byte a second is never late. Here every read
of headers and body gets the time that is left of the attempt. A kept connection that the server has closed in the
meantime raises `StaleConnectionError`; one that breaks during a request raises another error.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from functools import partial
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IPPROTO_TCP,
    SHUT_RDWR,
    SOCK_STREAM,
    TCP_NODELAY,
    gaierror,
    getaddrinfo,
    socket,
)
from ssl import SSLSocket
from threading import Lock, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from pollux_sync.wire.answers import Answer, convert_error, limit_wait
from pollux_sync.wire.outbox import SLICE_BYTES, Outbox, limit_size, skip_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from socket import AddressFamily
    from ssl import SSLContext
    from typing import TypeAlias

    from pollux_sync.wire.addresses import ServerAddress

    #: Host and port of an IP address; of one of version 6, flow and scope too.
    Address: TypeAlias = tuple[Any, ...]

#: A server that takes longer to accept a connection is not there: there is no need to wait for the whole time-out.
_MAX_CONNECT_S = 30.0
#: The least time-out of a socket. 0 would mean "do not block".
_MIN_TIMEOUT_S = 0.001
#: Characters of one label of a name (RFC 1035).
_MAX_LABEL = 63


class StaleConnectionError(ConnectionError):
    """A reused connection was closed by the server before any byte of this answer came."""


class NoConnectionError(ConnectionError):
    """No address of the host could be connected to: nothing was sent."""


class NoConnectionInTimeError(TimeoutError):
    """No address of the host could be connected to within the time limit: nothing was sent."""


class TunnelError(ConnectionError):
    """A proxy did not connect to the server."""


class UnusableHostError(ValueError):
    """The name of a host cannot be one."""


class DeadlineMixin:
    """Mixin of connections: one deadline for connecting, sending and reading the answer.

    Its base connects with the socket of `_new_conn`: our `_Connection`, or one of urllib3's through a proxy.

    ``answer_count`` counts the answers since it connected. ``is_client_closed`` is set by another thread, when the
    client is closed.
    """

    timeout: Any  # seconds
    sock: Any  # a socket, None before the connection is open
    host: Any
    port: Any
    source_address: Any
    socket_options: Any
    _dns_host: Any
    answer_count = 0
    deadline = 0.0
    is_new = False
    is_client_closed = False

    def connect(self) -> None:
        """Connect, TLS included, and start the clock of the request that follows."""
        self.deadline = time.monotonic() + self.timeout
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
                self.limit_socket(sock)
                return sock
        if isinstance(failure, TimeoutError):
            raise NoConnectionInTimeError(f"no connection to {self.host}: {failure}") from failure
        raise NoConnectionError(f"no connection to {self.host}: {failure}") from failure

    def _resolve_peer(self) -> list[Address]:
        try:
            host, port = self.find_peer()
            found = getaddrinfo(_encode_host(host), port, AF_UNSPEC, SOCK_STREAM)
        except gaierror as error:
            raise NoConnectionError(f"the name {host!r} cannot be resolved: {error}") from error
        except UnicodeError as error:
            raise UnusableHostError(f"{host!r}: a label of the name is empty or too long") from error
        return [address for *_, address in found]

    def find_peer(self) -> tuple[str, int]:
        """Return host and port of the server to connect to, which may be a proxy."""
        return self._dns_host, self.port

    def open_socket(self, address: Address, timeout_s: float) -> socket:
        """Connect to one address. Raises OSError."""
        # urllib3's way would look the address up again.
        sock = socket(find_family(address), SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout_s)
            if self.source_address:
                sock.bind(self.source_address)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def _left_s(self) -> float:
        return self.deadline - time.monotonic()

    def limit_socket(self, sock: socket) -> None:
        """Let each wait for the socket, while it is connecting, end at the deadline."""
        sock.settimeout(min(max(self._left_s, _MIN_TIMEOUT_S), _MAX_CONNECT_S))

    def send_request(self, outbox: Outbox, body: Iterable[bytes]) -> None:
        """Send what is in the outbox, then the body, within the time-out."""
        # The clock of a new connection has been running since `connect`, so that TLS counts.
        if not self.is_new:
            self.deadline = time.monotonic() + self.timeout
        # A server that refuses a request early answers, then closes: that answer is read, as urllib3 does. Without one,
        # `read_answer` detects the stale connection.
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in body:
                if outbox.is_full:
                    self._send_pieces(outbox.take())
                # Together with the head, so that a small request takes one system call and one packet.
                outbox.add(piece)
            self._send_pieces(outbox.take())

    def _send_pieces(self, pieces: list[memoryview]) -> None:
        """Send all pieces, however slowly the server reads."""
        # Not sendall: over TLS it gives each packet the whole time-out, so a server that reads slowly is never late.
        while pieces:
            limit_wait(self.sock, self.deadline, "the request could not be sent within the time limit")
            count = self._send_some(pieces)
            # The usual request is sent at once.
            pieces = [] if len(pieces) == 1 and count == len(pieces[0]) else skip_bytes(pieces, count)

    def _send_some(self, pieces: list[memoryview]) -> int:
        """Send as much as the socket takes; return the number of bytes."""
        # One system call for all, where it exists: not on Windows, nor over TLS.
        if len(pieces) > 1 and hasattr(self.sock, "sendmsg") and not isinstance(self.sock, SSLSocket):
            count: int = self.sock.sendmsg(limit_size(pieces, SLICE_BYTES))
        else:
            count = self.sock.send(pieces[0][:SLICE_BYTES])
        return count

    def read_answer(self, method: str) -> Answer:
        """Read the head of the answer within the time that is left."""
        self.is_new = False
        answer = Answer(self.sock, method=method, deadline=self.deadline)
        answer.begin()
        self.answer_count += 1
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens it anew."""
        self.answer_count = 0
        super().close()  # type: ignore[misc]


def find_family(address: Address) -> AddressFamily:
    """Return the family of sockets for an address."""
    return AF_INET6 if len(address) > 2 else AF_INET  # noqa: PLR2004


def _encode_host(host: str) -> bytes:
    """Return a name as `getaddrinfo` takes it. Raises UnicodeError for one that cannot be a name.

    It would do this itself, with a codec that takes several milliseconds to load, which a usual name does not need.
    """
    is_usual = host.isascii() and all(0 < len(label) <= _MAX_LABEL for label in host.split("."))
    return host.encode("ascii" if is_usual else "idna")


class _Connection:
    """A connection to a server, with TLS if the pool has a context for it."""

    socket_options = ((IPPROTO_TCP, TCP_NODELAY, 1),)
    source_address = None

    def __init__(self, address: ServerAddress, tls: SSLContext | None) -> None:
        self.host = address.host
        self._dns_host = address.host.strip("[]")
        self.port = address.actual_port
        self.timeout = 0.0
        self.sock: Any = None
        self._tls = tls

    def connect(self) -> None:
        """Open the socket."""
        self.sock = self._new_conn()  # type: ignore[attr-defined]
        if self._tls is not None:
            # Without the zone of an IPv6 address and the dot of a complete name, which are in no certificate.
            name = self._dns_host.partition("%")[0].rstrip(".")
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)

    def close(self) -> None:
        """Close the socket, if there is one."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()


class _DirectConnection(DeadlineMixin, _Connection):
    pass


class ClosingPoolMixin:
    """Mixin of pools: closing also ends the exchanges in flight, so that no thread waits for them.

    Its base makes, keeps and hands out connections: our `_Pool`, or one of urllib3's for a proxy.
    """

    #: Headers that go with every request over these connections.
    request_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Pools keep idle connections only; weak, so that a dropped connection can be collected.
        self._connections: WeakSet[Any] = WeakSet()
        self._is_closed = False
        self._lock = Lock()
        self._early: Thread | None = None
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        with self._lock:
            self._connections.add(connection)
            # A thread that found the pool open may get here after it was closed.
            connection.is_client_closed = self._is_closed
        return connection

    def connect_early(self, timeout_s: float) -> None:
        """Open a connection in the background, unless one is open or being opened."""
        with self._lock:
            if self._is_closed or self._early is not None or any(one.sock is not None for one in self._connections):
                return
            early = Thread(target=self._open_early, args=(timeout_s,), daemon=True)
            # Without a thread to spare the request connects itself.
            with suppress(RuntimeError):
                early.start()
                self._early = early

    def _open_early(self, timeout_s: float) -> None:
        # Whatever fails here fails again for the request that follows, which reports it.
        with suppress(Exception):
            connection = self._get_conn()  # type: ignore[attr-defined]
            connection.timeout = timeout_s
            try:
                self._connect(connection)
            except Exception:  # noqa: BLE001
                connection.close()
            # The clock of the request starts with the request.
            connection.is_new = False
            self._put_conn(connection)  # type: ignore[attr-defined]

    def _wait_for_early(self, timeout_s: float) -> float:
        """Wait for a connection that is being opened, unless another request does; return the seconds that are left."""
        # Without the lock, which every request would take. Two requests that find it both wait, which does no harm.
        early, self._early = self._early, None
        if early is None:
            return timeout_s
        started = time.monotonic()
        early.join(timeout_s)
        return timeout_s - (time.monotonic() - started)

    def exchange(self, method: str, outbox: Outbox, body: Iterable[bytes], timeout_s: float) -> Answer:
        """Send a request, whose head is in the outbox, and return its answer with the head read.

        Raises StaleConnectionError, another ConnectionError, TimeoutError, SSLError, or, through a proxy, exceptions of
        urllib3.
        """
        timeout_s = self._wait_for_early(timeout_s)
        connection = self._get_conn()  # type: ignore[attr-defined]
        n_answers = connection.answer_count
        try:
            connection.timeout = timeout_s
            if connection.sock is None:
                self._connect(connection)
            connection.send_request(outbox, body)
            answer: Answer = connection.read_answer(method)
        except BaseException as error:
            connection.close()
            # On a connection that has been used before.
            if n_answers and isinstance(error, ConnectionError):
                raise StaleConnectionError(*error.args) from error
            if converted := convert_error(error):
                raise converted from error
            raise
        answer.release = partial(self._release, connection)
        return answer

    def _connect(self, connection: Any) -> None:
        connection.connect()

    def _release(self, connection: Any, *, is_reusable: bool) -> None:
        if not is_reusable:
            connection.close()
        self._put_conn(connection)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close all connections, also those in use."""
        # Said first: a connection that is given back from now on is closed, and not kept.
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        super().close()  # type: ignore[misc]
        for connection in connections:
            # For a connection that is just being opened, and has no socket yet.
            connection.is_client_closed = True
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(SHUT_RDWR)


class _Pool:
    """Connections to one server, of which ``size`` are kept for the next requests, the newest first."""

    def __init__(self, address: ServerAddress, bundle: str | None, size: int) -> None:
        self._address = address
        self._bundle = bundle
        self._size = size
        self._tls: SSLContext | None = None
        self._tls_lock = Lock()
        # Read and changed by single steps of the interpreter, so that no thread needs a lock.
        self._idle: list[_DirectConnection] = []
        # A client that nobody has closed leaves no socket behind.
        finalize(self, _close_all, self._idle)

    def _new_conn(self) -> _DirectConnection:
        return _DirectConnection(self._address, self._share_tls() if self._address.scheme == "https" else None)

    def _share_tls(self) -> SSLContext:
        """Return the context of all connections: to read the certificates takes longer than a handshake."""
        # Imported here: only an address with TLS needs it.
        from pollux_sync.wire.certificates import build_tls

        # The first of several threads reads them, and the others wait for it.
        with self._tls_lock:
            self._tls = self._tls or build_tls(self._bundle)
            return self._tls

    def _get_conn(self) -> _DirectConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._new_conn()
        if connection.sock is not None and _is_readable(connection.sock):
            # Nobody has asked: the server has closed it, or says what no request waits for.
            connection.close()
        return connection

    def _put_conn(self, connection: _DirectConnection) -> None:
        self._idle.append(connection)
        if len(self._idle) > self._size or self._is_closed:  # type: ignore[attr-defined]
            with suppress(IndexError):
                self._idle.pop(0).close()

    def close(self) -> None:
        """Close the connections that no request uses."""
        _close_all(self._idle)


def _close_all(idle: list[_DirectConnection]) -> None:
    with suppress(IndexError):
        while True:
            idle.pop().close()


class DirectPool(ClosingPoolMixin, _Pool):
    """The connections to the server of an address, without a proxy.

    ``bundle`` is a file or folder of trusted certificates, None for those of certifi.
    """


def _is_readable(sock: socket) -> bool:
    """Return whether something has come from the other side, be it the end of the connection."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    # On Windows, where it takes any number of sockets.
    return bool(select.select([sock], [], [], 0)[0])
