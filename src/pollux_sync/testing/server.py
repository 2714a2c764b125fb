"""A scripted HTTP/1.1 server on the loopback interface: it answers, stalls and breaks exactly as told.

It works on bare sockets, so that every byte and every close is the script's own choice.
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

_RECEIVED_BYTES = 256 * 1024
_INFLATED_PIECE = b" " * (1024 * 1024)
#: Deflated, without a name or a time.
_GZIP_HEAD = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
_NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_CLOSING_GRACE_S = 0.5


class Headers(Mapping[str, str]):
    """Header fields, looked up in any case and listed in lower case; a repeated field is joined by commas."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            first = self._values.get(name.lower())
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
    """One request as it came over the wire, body read to its end.

    `body` is empty when the server was told not to keep bodies; size and hash are always there. `connection`
    numbers the TCP connections from 1 in order of arrival; `at` is on the clock of `time.monotonic`.
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
        """Return the body read as JSON."""
        return json.loads(self.body)


class Step(Protocol):
    """What the server does with one request. Any object with this method is a step."""

    def play(self, wire: Wire) -> None:
        """Answer `wire.request`, or break the connection it came on."""


Handler: TypeAlias = Callable[[RecordedRequest], Step]


@attrs.frozen(kw_only=True)
class Answer:
    """A whole answer, `delay_s` after the request; the connection stays open unless a header says close."""

    status: int = 200
    json: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    delay_s: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.json is not None and self.body is not None:
            raise ValueError("an answer takes json or body, not both")

    def play(self, wire: Wire) -> None:
        """Send everything in one piece."""
        wire.pause(self.delay_s)
        wire.send(self.head(wire) + self.content(wire))
        if _asks_to_close(Headers(self.headers.items())):
            wire.close()

    def head(self, wire: Wire) -> bytes:
        """Return status line and header fields."""
        kind = "application/octet-stream" if self.json is None else "application/json"
        return wire.head(self.status, self.headers, {"Content-Type": kind, "Content-Length": str(len(self._whole))})

    def content(self, wire: Wire) -> bytes:
        """Return the body which goes over the wire: none for HEAD."""
        return b"" if wire.request.method == "HEAD" else self._whole

    @property
    def _whole(self) -> bytes:
        return self.body or b"" if self.json is None else json.dumps(self.json).encode()


@attrs.frozen(kw_only=True)
class Drip:
    """A slow body: the headers at once, then every `interval_s` one piece of `chunk_bytes`."""

    status: int = 200
    body: bytes
    interval_s: float
    chunk_bytes: int = 1
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def play(self, wire: Wire) -> None:
        """Send piece after piece."""
        wire.send(_head_of(self.body, wire, self.headers, self.status))
        wire.drip(self.body, self.interval_s, self.chunk_bytes)


@attrs.frozen
class Events:
    """A streamed answer: the pieces as chunks of its body, each `interval_s` after the one before, then its ending.

    "end" is an orderly one, "close" (FIN) and "reset" (RST) break off, "hang" waits until the client leaves.
    """

    pieces: Iterable[bytes]
    ending: Literal["end", "close", "reset", "hang"] = attrs.field(default="end", kw_only=True)
    interval_s: float = attrs.field(default=0.0, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send chunk after chunk."""
        coding = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        wire.send(wire.head(200, self.headers, coding))
        for piece in self.pieces:
            wire.pause(self.interval_s)
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        endings = {"close": wire.close, "reset": wire.reset, "hang": wire.wait_for_leave}
        endings.get(self.ending, lambda: wire.send(b"0\r\n\r\n"))()


@attrs.frozen(kw_only=True)
class DripHeaders:
    """Slow headers: one byte of them every `interval_s`, then the body at once."""

    interval_s: float
    answer: Answer = attrs.field(factory=Answer)

    def play(self, wire: Wire) -> None:
        """Send byte after byte."""
        wire.drip(self.answer.head(wire), self.interval_s, 1)
        wire.send(self.answer.content(wire))


@attrs.frozen
class ResetBeforeBody:
    """A connection reset (RST) when the request is read, before any byte of an answer."""

    def play(self, wire: Wire) -> None:
        """Reset the connection."""
        wire.reset()


@attrs.frozen
class ResetInsideBody:
    """A connection reset (RST) after the headers and `after_bytes` of the body they announced."""

    body: bytes
    after_bytes: int
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send the part, then reset."""
        wire.send(_head_of(self.body, wire, self.headers) + self.body[: self.after_bytes])
        wire.reset()


@attrs.frozen
class Truncated:
    """An orderly close (FIN) after the headers and `after_bytes` of the body they announced."""

    body: bytes
    after_bytes: int
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    def play(self, wire: Wire) -> None:
        """Send the part, then close."""
        wire.send(_head_of(self.body, wire, self.headers) + self.body[: self.after_bytes])
        wire.close()


@attrs.frozen
class CloseWithoutAnswer:
    """An orderly close (FIN) when the request is read, before any byte of an answer."""

    def play(self, wire: Wire) -> None:
        """Close the connection."""
        wire.close()


@attrs.frozen
class CloseAfter:
    """An answer which promises to keep the connection alive, and a close right behind it."""

    answer: Answer

    def play(self, wire: Wire) -> None:
        """Answer, then break the promise."""
        self.answer.play(wire)
        wire.close()


@attrs.frozen
class CloseOnNextRequest:
    """An answer; the next request on the same connection is read and recorded, then met with a close.

    That next request takes no step from the queue.
    """

    answer: Answer

    def play(self, wire: Wire) -> None:
        """Answer, and leave the close to the next request."""
        self.answer.play(wire)
        wire.next_step = CloseWithoutAnswer()


@attrs.frozen
class GzipBomb:
    """A small gzip body which inflates to `size_bytes` of blanks; compressed while it is sent."""

    size_bytes: int

    def play(self, wire: Wire) -> None:
        """Send the compressed pieces as they come."""
        coding = {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
        wire.send(wire.head(200, {"Content-Type": "application/json", **coding}, {}))
        for piece in _gzip_blanks(self.size_bytes):
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")


@attrs.frozen
class Hang:
    """Silence until `ScriptedServer.release()`, then the answer, or a close when there is none.

    Closing the server ends the silence too, with a close.
    """

    answer: Answer | None = None

    def play(self, wire: Wire) -> None:
        """Wait to be released."""
        wire.wait_for_release()
        (self.answer or CloseWithoutAnswer()).play(wire)


_NOTHING_SCRIPTED = Answer(status=404, json={"error": {"message": "nothing is scripted for this request"}})


@attrs.define
class _Signals:
    """What a server tells all its connections."""

    closing: threading.Event = attrs.field(factory=threading.Event)
    released: threading.Event = attrs.field(factory=threading.Event)


class Wire:
    """One accepted connection, as steps see it: the request which waits, and ways to answer or break.

    Every method raises OSError when the client is gone or the server closes; steps let it pass.
    """

    request: RecordedRequest
    """The request which is to be answered."""
    next_step: Step | None = None
    """Answers the next request on this connection in place of the queue."""

    def __init__(self, connection: socket.socket, number: int, signals: _Signals) -> None:
        self.number = number
        self._connection = connection
        self._reader = _Reader(connection)
        self._signals = signals

    @property
    def is_open(self) -> bool:
        """Whether neither a step nor the server has closed the connection."""
        return self._connection.fileno() != -1

    def head(self, status: int, headers: Mapping[str, str], defaults: Mapping[str, str]) -> bytes:
        """Return status line and header fields: `headers`, and of the defaults those it does not name."""
        given = {name.lower() for name in headers}
        keeping = {"Connection": "close" if _asks_to_close(self.request.headers) else "keep-alive"}
        added = {name: value for name, value in {**defaults, **keeping}.items() if name.lower() not in given}
        lines = [f"{name}: {value}\r\n" for name, value in {**added, **headers}.items()]
        return f"HTTP/1.1 {status} {http.client.responses.get(status, '')}\r\n{''.join(lines)}\r\n".encode("latin-1")

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._connection.sendall(data)

    def drip(self, data: bytes, interval_s: float, chunk_bytes: int) -> None:
        """Send `data` in pieces, with a pause before each."""
        for start in range(0, len(data), chunk_bytes):
            self.pause(interval_s)
            self.send(data[start : start + chunk_bytes])

    def pause(self, duration_s: float) -> None:
        """Wait, but no longer than the server lives."""
        if self._signals.closing.wait(duration_s):
            raise ConnectionAbortedError("the scripted server is closing")

    def wait_for_release(self) -> None:
        """Wait for `ScriptedServer.release()`."""
        self._signals.released.wait()
        self.pause(0.0)

    def wait_for_leave(self) -> None:
        """Wait until the client closes the connection, or sends more."""
        self._connection.recv(1)
        self.close()

    def reset(self) -> None:
        """Close with RST: what was sent and not yet delivered is lost."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._connection.close()

    def close(self) -> None:
        """Close with FIN."""
        self.hang_up()
        self._connection.close()

    def hang_up(self) -> None:
        """End both directions, which wakes whoever reads or writes here, and keep the socket."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def read_request(self, *, keep_body: bool) -> RecordedRequest:
        """Wait for the next request and read it whole."""
        method, path, _ = self._reader.line().split(" ")
        headers = Headers(self._reader.fields())
        if headers.get("Expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept: list[bytes] = []
        size, digest = 0, hashlib.sha256()
        for piece in self._reader.body(headers):
            size += len(piece)
            digest.update(piece)
            if keep_body:
                kept.append(piece)
        self.request = RecordedRequest(
            method=method,
            path=path,
            headers=headers,
            body=b"".join(kept),
            body_size=size,
            body_sha256=digest.hexdigest(),
            connection=self.number,
            at=time.monotonic(),
        )
        return self.request


class _Reader:
    """Requests from a socket, in lines and pieces."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def line(self) -> str:
        while b"\n" not in self._received:
            self._received += self._receive()
        line, _, self._received = self._received.partition(b"\n")
        return line.decode("latin-1").rstrip("\r")

    def fields(self) -> Iterator[tuple[str, str]]:
        while line := self.line():
            name, _, value = line.partition(":")
            yield name, value.strip()

    def body(self, headers: Headers) -> Iterator[bytes]:
        if "chunked" in headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        return self._pieces(int(headers.get("Content-Length", "0")))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.line().partition(";")[0], base=16):
            yield from self._pieces(size)
            self.line()
        deque(self.fields(), maxlen=0)

    def _pieces(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            received = self._received or self._receive()
            piece, self._received = received[:size_bytes], received[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def _receive(self) -> bytes:
        received = self._connection.recv(_RECEIVED_BYTES)
        if not received:
            raise ConnectionAbortedError("the client has closed the connection")
        return received


class ScriptedServer:
    """A real server for tests: it listens at `url` from the start, until `close()` or the end of `with`.

    Every request takes the next step from the queue filled by `reply()`; when that is empty, `handler` is
    asked for one; without a handler the step is `default`, at first a 404. A handler which raises answers 500
    and shows its traceback. With `keep_bodies=False` bodies of any size are hashed and forgotten.
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
        """Where the server listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def open_connections(self) -> int:
        """How many connections neither side has closed; one whose step still plays counts as open."""
        with self._changed:
            return len(self._threads)

    def reply(self, *steps: Step) -> None:
        """Append steps to the queue: one for each request."""
        with self._changed:
            self._steps.extend(steps)

    def release(self) -> None:
        """End the silence of every `Hang`, of those to come too."""
        self._signals.released.set()

    def wait_for_requests(self, count: int, timeout_s: float = 5.0) -> list[RecordedRequest]:
        """Return the requests as soon as there are `count`; raise TimeoutError when they do not come."""
        self._wait_until(lambda: len(self._requests) >= count, f"{count} requests", timeout_s)
        return self.requests

    def wait_for_open_connections(self, count: int, timeout_s: float = 5.0) -> None:
        """Return as soon as exactly `count` connections are open; raise TimeoutError when that never is."""
        self._wait_until(lambda: len(self._threads) == count, f"{count} open connections", timeout_s)

    def close(self) -> None:
        """Stop listening and cut every connection; closing twice is fine.

        A handler which does not return is left behind on its daemon thread.
        """
        self._signals.closing.set()
        self._signals.released.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=_CLOSING_GRACE_S).close()
        self._accepting.join(_CLOSING_GRACE_S)
        self._listener.close()
        self._cut_connections()

    def _cut_connections(self) -> None:
        with self._changed:
            threads = dict(self._threads)
        for wire in threads:
            wire.hang_up()
        deadline = time.monotonic() + _CLOSING_GRACE_S
        for wire, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            wire.close()

    def _wait_until(self, is_reached: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(is_reached, timeout_s):
                state = f"{len(self._requests)} requests, {len(self._threads)} open connections"
                raise TimeoutError(f"waited {timeout_s} s for {what}; there are {state}")

    def _accept(self) -> None:
        for number in itertools.count(1):
            connection, _ = self._listener.accept()
            if self._signals.closing.is_set():  # this is close() itself, to wake us
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(Wire(connection, number, self._signals))

    def _start(self, wire: Wire) -> None:
        name = f"scripted-server-{wire.number}"
        thread = threading.Thread(target=self._serve, args=(wire,), name=name, daemon=True)
        with self._changed:
            self._threads[wire] = thread
            self._changed.notify_all()
        thread.start()

    def _serve(self, wire: Wire) -> None:
        try:
            with contextlib.suppress(OSError):
                while wire.is_open:
                    self._answer_one(wire)
        finally:
            wire.close()
            with self._changed:
                del self._threads[wire]
                self._changed.notify_all()

    def _answer_one(self, wire: Wire) -> None:
        request = wire.read_request(keep_body=self._keep_bodies)
        step = self._record(request, wire) or self._ask_handler(request, wire)
        step.play(wire)
        if _asks_to_close(request.headers):
            wire.close()

    def _record(self, request: RecordedRequest, wire: Wire) -> Step | None:
        """Note the request and take its step, in one go: so both are in the same order."""
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
            Answer(status=500, json={"error": {"message": repr(error)}}).play(wire)
            raise RuntimeError(f"the handler failed on {request.method} {request.path}") from error


def _head_of(body: bytes, wire: Wire, headers: Mapping[str, str], status: int = 200) -> bytes:
    return Answer(status=status, body=body, headers=headers).head(wire)


def _asks_to_close(headers: Mapping[str, str]) -> bool:
    return headers.get("Connection", "").lower() == "close"


def _gzip_blanks(size_bytes: int) -> Iterator[bytes]:
    """Yield a gzip file of blanks. All its blocks but the last are one and the same, compressed once."""
    yield _GZIP_HEAD
    checksum = 0
    for start in range(0, size_bytes, len(_INFLATED_PIECE)):
        piece = _INFLATED_PIECE[: size_bytes - start]
        checksum = zlib.crc32(piece, checksum)
        yield _deflate(piece)
    yield zlib.compressobj(wbits=-zlib.MAX_WBITS).flush() + struct.pack("<II", checksum, size_bytes % 2**32)


@lru_cache(maxsize=2)
def _deflate(piece: bytes) -> bytes:
    """Return a block that stands alone: it refers to nothing before it."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH)
