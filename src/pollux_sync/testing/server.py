"""An HTTP/1.1 server on the loopback interface that answers, stalls and breaks off as a script says.

It works on bare sockets, so that the script decides every byte and every close.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

import attrs

if TYPE_CHECKING:
    from types import TracebackType

_RECEIVE_BYTES = 256 * 1024
#: One block of the gzip bomb before compression: the bomb never stands in memory as a whole.
_BLANKS = b" " * (1024 * 1024)
#: The header of a gzip file: deflated, without a name or a time.
_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
#: SO_LINGER with a timeout of 0 makes close() send RST instead of FIN. Windows has 16-bit fields in this struct.
_NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
#: How long `ScriptedServer.close` waits for its threads: a stuck handler must not hold up the test run.
_CLOSING_GRACE_S = 0.5


class Headers(Mapping[str, str]):
    """Header fields. Lookup ignores case, iteration returns lower case; repeated fields are joined by commas."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            first = self._values.get(name.lower())
            # RFC 9110, 5.3: repeated fields mean the same as one field with the values joined.
            self._values[name.lower()] = value if first is None else f"{first}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One request as it arrived, with its complete body.

    `body` is empty on a server with `keep_bodies=False`; size and hash are always set. `connection` numbers the TCP
    connections from 1 in order of arrival. `at` is a reading of `time.monotonic`.
    """

    method: str
    path: str
    headers: Headers
    body: bytes = attrs.field(repr=False)
    body_size: int
    body_sha256: str
    connection: int
    at: float

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.body)


class Step(Protocol):
    """The reaction of the server to one request. Any object with this method is a step."""

    def play(self, wire: Wire) -> None:
        """Answer `wire.request`, or break its connection."""


Handler: TypeAlias = Callable[[RecordedRequest], Step]


@attrs.frozen(kw_only=True)
class Answer:
    """A complete answer, `delay_s` after the request. The connection stays open unless a header says close."""

    status: int = 200
    json: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    delay_s: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.json is not None and self.body is not None:
            raise ValueError("an answer takes json or body, not both")

    def play(self, wire: Wire) -> None:
        """Send head and body at once."""
        wire.pause(self.delay_s)
        wire.send(self.head(wire) + self.content(wire))
        if _has_close_header(Headers(self.headers.items())):
            wire.close()

    def head(self, wire: Wire) -> bytes:
        """Return status line and header fields as bytes."""
        kind = "application/octet-stream" if self.json is None else "application/json"
        return wire.head(self.status, self.headers, {"Content-Type": kind, "Content-Length": str(len(self._body))})

    def content(self, wire: Wire) -> bytes:
        """Return the body to send; it is empty for a HEAD request."""
        # RFC 9110, 9.3.2: the answer to HEAD announces the length of the body that it leaves out.
        return b"" if wire.request.method == "HEAD" else self._body

    @property
    def _body(self) -> bytes:
        return self.body or b"" if self.json is None else json.dumps(self.json).encode()


@attrs.frozen(kw_only=True)
class Drip:
    """A slow body: the headers at once, then `chunk_bytes` of the body every `interval_s`."""

    status: int = 200
    body: bytes
    interval_s: float
    chunk_bytes: int = 1
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def play(self, wire: Wire) -> None:
        """Send the headers, then the body chunk by chunk."""
        wire.send(_build_head(self.body, wire, self.headers, self.status))
        wire.drip(self.body, self.interval_s, self.chunk_bytes)


@attrs.frozen
class Events:
    """A streamed answer: the pieces as chunks of its body, with `interval_s` before each, then its ending.

    "end" ends the body in order. "close" (FIN) and "reset" (RST) break off. "hang" waits until the client leaves.
    """

    pieces: Iterable[bytes]
    ending: Literal["end", "close", "reset", "hang"] = attrs.field(default="end", kw_only=True)
    interval_s: float = attrs.field(default=0.0, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send the pieces, then end as `ending` says."""
        # Chunked, because the client can then tell an orderly end from a close, which leaves the last chunk out.
        coding = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        wire.send(wire.head(200, self.headers, coding))
        for piece in self.pieces:
            wire.pause(self.interval_s)
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        endings = {"close": wire.close, "reset": wire.reset, "hang": wire.wait_for_leave}
        endings.get(self.ending, lambda: wire.send(b"0\r\n\r\n"))()


@attrs.frozen(kw_only=True)
class DripHeaders:
    """Slow headers: one byte every `interval_s`, then the body at once."""

    interval_s: float
    answer: Answer = attrs.field(factory=Answer)

    def play(self, wire: Wire) -> None:
        """Send the headers byte by byte, then the body."""
        wire.drip(self.answer.head(wire), self.interval_s, 1)
        wire.send(self.answer.content(wire))


@attrs.frozen
class ResetBeforeBody:
    """A connection reset (RST) after the request, before any byte of an answer."""

    def play(self, wire: Wire) -> None:
        """Reset the connection."""
        wire.reset()


@attrs.frozen
class ResetInsideBody:
    """A connection reset (RST) after the headers and the first `after_bytes` of the announced body."""

    body: bytes
    after_bytes: int
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send the first part, then reset."""
        wire.send(_build_head(self.body, wire, self.headers) + self.body[: self.after_bytes])
        wire.reset()


@attrs.frozen
class Truncated:
    """An orderly close (FIN) after the headers and the first `after_bytes` of the announced body."""

    body: bytes
    after_bytes: int
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send the first part, then close."""
        wire.send(_build_head(self.body, wire, self.headers) + self.body[: self.after_bytes])
        wire.close()


@attrs.frozen
class CloseWithoutAnswer:
    """An orderly close (FIN) after the request, before any byte of an answer."""

    def play(self, wire: Wire) -> None:
        """Close the connection."""
        wire.close()


@attrs.frozen
class CloseAfter:
    """An answer that announces keep-alive, followed by a close at once."""

    answer: Answer

    def play(self, wire: Wire) -> None:
        """Answer, then close."""
        self.answer.play(wire)
        wire.close()


@attrs.frozen
class CloseOnNextRequest:
    """An answer. The next request on the same connection is recorded, then the connection is closed.

    That next request takes no step from the queue.
    """

    answer: Answer

    def play(self, wire: Wire) -> None:
        """Answer, and close on the next request."""
        self.answer.play(wire)
        wire.next_step = CloseWithoutAnswer()


@attrs.frozen
class GzipBomb:
    """A small gzip body that inflates to `size_bytes` of blanks. It is compressed while it is sent."""

    size_bytes: int
    status: int = 200

    def play(self, wire: Wire) -> None:
        """Send the compressed chunks."""
        # Chunked, since the compressed size is not known before the end.
        coding = {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
        wire.send(wire.head(self.status, {"Content-Type": "application/json", **coding}, {}))
        for piece in _iter_gzip_blanks(self.size_bytes):
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")


@attrs.frozen
class Hang:
    """Silence until `ScriptedServer.release()`, then the answer, or a close without one.

    When the server closes, the connection closes too.
    """

    answer: Answer | None = None

    def play(self, wire: Wire) -> None:
        """Wait for the release, then answer or close."""
        wire.wait_for_release()
        (self.answer or CloseWithoutAnswer()).play(wire)


_NOTHING_SCRIPTED = Answer(status=404, json={"error": {"message": "nothing is scripted for this request"}})


@attrs.define
class _Signals:
    """The events that a server sets for all its connections."""

    closing: threading.Event = attrs.field(factory=threading.Event)
    released: threading.Event = attrs.field(factory=threading.Event)


class Wire:
    """One accepted connection, as steps see it: its request, and the ways to answer or break off.

    Every method raises OSError when the client has left or the server closes. Steps let it pass: the server ends the
    connection then.
    """

    request: RecordedRequest
    """The request to answer."""
    next_step: Step | None = None
    """The step for the next request on this connection, instead of one from the queue."""

    def __init__(self, connection: socket.socket, number: int, signals: _Signals) -> None:
        self.number = number
        self._connection = connection
        self._reader = _Reader(connection)
        self._signals = signals

    @property
    def is_open(self) -> bool:
        """True until a step or the server closes the connection."""
        return self._connection.fileno() != -1

    def head(self, status: int, headers: Mapping[str, str], defaults: Mapping[str, str]) -> bytes:
        """Return status line and header fields: `headers`, and those defaults that `headers` does not name."""
        names = {name.lower() for name in headers}
        connection = {"Connection": "close" if _has_close_header(self.request.headers) else "keep-alive"}
        added = {name: value for name, value in {**defaults, **connection}.items() if name.lower() not in names}
        lines = [f"{name}: {value}\r\n" for name, value in {**added, **headers}.items()]
        return f"HTTP/1.1 {status} {http.client.responses.get(status, '')}\r\n{''.join(lines)}\r\n".encode("latin-1")

    def send(self, data: bytes) -> None:
        """Send `data` completely."""
        self._connection.sendall(data)

    def drip(self, data: bytes, interval_s: float, chunk_bytes: int) -> None:
        """Send `data` in chunks, with a pause before each."""
        for start in range(0, len(data), chunk_bytes):
            self.pause(interval_s)
            self.send(data[start : start + chunk_bytes])

    def pause(self, duration_s: float) -> None:
        """Wait for `duration_s`. Raises ConnectionAbortedError as soon as the server closes."""
        if self._signals.closing.wait(duration_s):
            raise ConnectionAbortedError("the scripted server is closing")

    def wait_for_release(self) -> None:
        """Wait for `ScriptedServer.release()`."""
        self._signals.released.wait()
        self.pause(0.0)  # `close` releases too: raise then, instead of answering

    def wait_for_leave(self) -> None:
        """Wait until the client closes the connection, or sends more."""
        self._connection.recv(1)
        self.close()

    def reset(self) -> None:
        """Close with RST. Data that was sent but not delivered is lost."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._connection.close()

    def close(self) -> None:
        """Close with FIN."""
        self.hang_up()
        self._connection.close()

    def hang_up(self) -> None:
        """Shut down both directions and keep the socket open."""
        # A plain close() from another thread would not wake a recv() that blocks; shutdown() does.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def read_request(self, *, keep_body: bool) -> RecordedRequest:
        """Wait for the next request, and return it with its body."""
        method, path, _ = self._reader.read_line().split(" ")
        headers = Headers(self._reader.iter_fields())
        # A client that sends this header waits for the interim answer before it sends the body.
        if headers.get("Expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks: list[bytes] = []
        size, digest = 0, hashlib.sha256()
        # Chunk by chunk: with keep_bodies=False a body may be larger than the memory.
        for piece in self._reader.iter_body(headers):
            size += len(piece)
            digest.update(piece)
            if keep_body:
                chunks.append(piece)
        self.request = RecordedRequest(
            method=method,
            path=path,
            headers=headers,
            body=b"".join(chunks),
            body_size=size,
            body_sha256=digest.hexdigest(),
            connection=self.number,
            at=time.monotonic(),
        )
        return self.request


class _Reader:
    """Reads requests from a socket, by lines and chunks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def read_line(self) -> str:
        while b"\n" not in self._received:
            self._received += self._receive()
        # What follows the line belongs to the body or to the next request, so it is kept.
        line, _, self._received = self._received.partition(b"\n")
        # latin-1 decodes every byte, and a header field may contain any.
        return line.decode("latin-1").rstrip("\r")

    def iter_fields(self) -> Iterator[tuple[str, str]]:
        while line := self.read_line():
            name, _, value = line.partition(":")
            yield name, value.strip()

    def iter_body(self, headers: Headers) -> Iterator[bytes]:
        if "chunked" in headers.get("Transfer-Encoding", "").lower():
            return self._iter_chunked()
        return self._iter_bytes(int(headers.get("Content-Length", "0")))

    def _iter_chunked(self) -> Iterator[bytes]:
        while size := int(self.read_line().partition(";")[0], base=16):
            yield from self._iter_bytes(size)
            self.read_line()
        deque(self.iter_fields(), maxlen=0)  # trailers after the last chunk: read them, or they begin the next request

    def _iter_bytes(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            # Bytes that arrived together with the headers come first.
            received = self._received or self._receive()
            piece, self._received = received[:size_bytes], received[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def _receive(self) -> bytes:
        received = self._connection.recv(_RECEIVE_BYTES)
        if not received:
            raise ConnectionAbortedError("the client has closed the connection")
        return received


class ScriptedServer:
    """A real server for tests. It listens at `url` until `close()` or the end of its `with` block.

    Every request takes the next step from the queue that `reply()` fills. When the queue is empty, `handler` returns
    the step; without a handler it is `default`, which is a 404 unless set. When a handler raises, the answer is a 500
    and its traceback is printed. With `keep_bodies=False` bodies of any size are hashed and discarded.
    """

    def __init__(self, *, default: Step = _NOTHING_SCRIPTED, keep_bodies: bool = True) -> None:
        self.handler: Handler | None = None
        self._default = default
        self._keep_bodies = keep_bodies
        self._steps: deque[Step] = deque()
        self._requests: list[RecordedRequest] = []
        self._threads: dict[Wire, threading.Thread] = {}
        self._changed = threading.Condition()
        self._signals = _Signals()
        # Port 0: the system chooses a free one, so that tests may run in parallel.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="scripted-server", daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in order of arrival."""
        with self._changed:
            # A copy: the list grows while a test reads it.
            return list(self._requests)

    @property
    def open_connections(self) -> int:
        """The number of connections that neither side has closed. One whose step still runs counts as open."""
        with self._changed:
            return len(self._threads)

    def reply(self, *steps: Step) -> None:
        """Append steps to the queue, one per request."""
        with self._changed:
            self._steps.extend(steps)

    def release(self) -> None:
        """End the silence of every `Hang`, including later ones."""
        self._signals.released.set()

    def wait_for_requests(self, count: int, timeout_s: float = 5.0) -> list[RecordedRequest]:
        """Return the requests as soon as there are `count`. Raises TimeoutError."""
        self._wait_until(lambda: len(self._requests) >= count, f"{count} requests", timeout_s)
        return self.requests

    def wait_for_open_connections(self, count: int, timeout_s: float = 5.0) -> None:
        """Return as soon as exactly `count` connections are open. Raises TimeoutError."""
        self._wait_until(lambda: len(self._threads) == count, f"{count} open connections", timeout_s)

    def close(self) -> None:
        """Stop listening and end every connection. Calling it again does nothing.

        A handler that does not return is abandoned on its daemon thread.
        """
        self._signals.closing.set()
        self._signals.released.set()
        # Closing a listening socket does not wake accept() everywhere; a connection of our own does.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=_CLOSING_GRACE_S).close()
        self._accepting.join(_CLOSING_GRACE_S)
        self._listener.close()
        self._close_connections()

    def _close_connections(self) -> None:
        with self._changed:
            threads = dict(self._threads)
        for wire in threads:
            wire.hang_up()
        deadline = time.monotonic() + _CLOSING_GRACE_S
        for wire, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            wire.close()

    def _wait_until(self, is_reached: Callable[[], bool], description: str, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(is_reached, timeout_s):
                state = f"{len(self._requests)} requests, {len(self._threads)} open connections"
                raise TimeoutError(f"waited {timeout_s} s for {description}; there are {state}")

    def _accept(self) -> None:
        for number in itertools.count(1):
            connection, _ = self._listener.accept()
            if self._signals.closing.is_set():  # this is the connection of close()
                connection.close()
                return
            # Without it Nagle's algorithm would join the small writes of a drip into one packet.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(Wire(connection, number, self._signals))

    def _start(self, wire: Wire) -> None:
        name = f"scripted-server-{wire.number}"
        # A daemon, so that a handler which never returns does not keep the test run alive.
        thread = threading.Thread(target=self._serve, args=(wire,), name=name, daemon=True)
        with self._changed:
            # Registered before it runs, so that `open_connections` never misses a connection that was accepted.
            self._threads[wire] = thread
            self._changed.notify_all()
        thread.start()

    def _serve(self, wire: Wire) -> None:
        try:
            with contextlib.suppress(OSError):
                while wire.is_open:
                    self._answer_request(wire)
        finally:
            wire.close()
            with self._changed:
                del self._threads[wire]
                self._changed.notify_all()

    def _answer_request(self, wire: Wire) -> None:
        request = wire.read_request(keep_body=self._keep_bodies)
        step = self._record(request, wire) or self._ask_handler(request, wire)
        step.play(wire)
        if _has_close_header(request.headers):
            wire.close()

    def _record(self, request: RecordedRequest, wire: Wire) -> Step | None:
        """Record the request and return its step, or None."""
        # Under one lock, so that steps are taken in the order in which `requests` lists them.
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            return wire.next_step or (self._steps.popleft() if self._steps else None)

    def _ask_handler(self, request: RecordedRequest, wire: Wire) -> Step:
        if self.handler is None:
            return self._default
        try:
            return self.handler(request)
        except Exception as error:
            # The client alone would only see a 500, so the error is raised too: its traceback shows where it failed.
            Answer(status=500, json={"error": {"message": repr(error)}}).play(wire)
            raise RuntimeError(f"the handler failed on {request.method} {request.path}") from error


def _build_head(body: bytes, wire: Wire, headers: Mapping[str, str], status: int = 200) -> bytes:
    return Answer(status=status, body=body, headers=headers).head(wire)


def _has_close_header(headers: Mapping[str, str]) -> bool:
    return headers.get("Connection", "").lower() == "close"


def _iter_gzip_blanks(size_bytes: int) -> Iterator[bytes]:
    """Yield a gzip file of blanks. All its blocks but the last are one and the same, compressed once."""
    yield _GZIP_HEADER
    checksum = 0
    for start in range(0, size_bytes, len(_BLANKS)):
        block = _BLANKS[: size_bytes - start]
        checksum = zlib.crc32(block, checksum)
        yield _deflate(block)
    # RFC 1952: a gzip file ends with the CRC-32 and the size of its content, modulo 2**32.
    yield zlib.compressobj(wbits=-zlib.MAX_WBITS).flush() + struct.pack("<II", checksum, size_bytes % 2**32)


# Two entries: the full block, and the shorter one at the end.
@lru_cache(maxsize=2)
def _deflate(block: bytes) -> bytes:
    """Return a compressed block that refers to nothing before it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
