"""Server-sent events out of bytes that may be cut anywhere."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from itertools import chain
from typing import TYPE_CHECKING

from pollux_sync.data.streaming import EventStream, ServerEvent
from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.http import MAX_BODY_BYTES, read_answer, whole_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.provider import HttpResponse

#: All that a stream may be: more has no end. One event may be as large as a whole answer.
_MAX_BYTES = 16 * MAX_BODY_BYTES
#: How a line of server-sent events begins.
_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
_TELLING_BYTES = 6
#: With this in place of JSON servers say that nothing more comes.
_DONE = b"[DONE]"


class EventParser:
    """Feed it bytes as they come. ``is_done`` once the server said so; ``blocks`` counts events and comments.

    ``error`` is about an event that is not JSON, after which nothing more is read. ``held_bytes`` is the size of what
    has come of the next event.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self.is_done = False
        self.error: ReplyError | None = None
        self.blocks = 0
        self._is_begun = False
        self._rest: list[bytes] = []
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that ``chunk`` makes whole."""
        self.held_bytes += len(chunk)
        self._rest.append(chunk)
        if b"\n" not in chunk and b"\r" not in b"".join(self._rest[-2:]):  # joined once, when the line ends
            return []
        lines = b"".join(self._rest).splitlines(keepends=True)
        # A carriage return may be half a line end.
        self._rest = [lines.pop()] if not lines[-1].endswith(b"\n") else []
        events = self._read(lines) if lines else []
        self.held_bytes = sum(map(len, (*self._rest, *self._data)))
        return events

    def end(self) -> list[ServerEvent]:
        """The event that lacks nothing but the blank line after it; half an event is dropped."""
        lines, self._rest = b"".join(self._rest).splitlines(keepends=True), []
        events = self._read([*lines, b"\n", b"\n"])
        self.error = None
        return events

    def _read(self, lines: list[bytes]) -> list[ServerEvent]:
        if not self._is_begun:
            self._is_begun, lines[0] = True, lines[0].removeprefix(BOM_UTF8)
        events: list[ServerEvent] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())  # white space around JSON means nothing
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif line.startswith(b":"):
                self.blocks += 1
            elif line in {b"\n", b"\r\n", b"\r"} and not (self.is_done or self.error):
                self._dispatch(events)
        return events

    def _dispatch(self, events: list[ServerEvent]) -> None:
        data, name = b"\n".join(self._data), self._name
        self._data, self._name = [], ""
        if not data:
            return
        self.blocks += 1
        if data == _DONE:
            self.is_done = True
            return
        try:
            events.append(ServerEvent(name, json.loads(data)))
        except (ValueError, RecursionError):
            self.error = ReplyError("an event of the stream is not valid JSON", retryable=True)


class ByteStream(EventStream, ABC):
    """Events of an answer whose bytes come in pieces.

    What comes after the answer is broken off ends in ReplyError, ConnectionError or TimeoutError.
    ``max_event_bytes`` bounds one event, ``max_bytes`` the whole stream.
    """

    def __init__(
        self, response: HttpResponse, *, max_event_bytes: int = MAX_BODY_BYTES, max_bytes: int = _MAX_BYTES
    ) -> None:
        super().__init__(response)
        self._max_event_bytes = max_event_bytes
        self._max_bytes = max_bytes
        self._parser = EventParser()
        self._source: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[ServerEvent]:
        parser, size, blocks = self._parser, 0, 0
        for chunk in self._source or self.chunks():
            size += len(chunk)
            yield from parser.feed(chunk)
            if parser.error:
                raise parser.error
            if parser.is_done:
                self.is_done = True
                return
            if parser.held_bytes > self._max_event_bytes or size > self._max_bytes:
                raise ReplyError("the answer has no end", hint="check what is behind base_url", response=self.response)
            if parser.blocks > blocks:
                blocks = parser.blocks
                self.renew()
        yield from parser.end()

    def told(self) -> EventStream:
        """Itself; or the whole answer, where the server answers at once whatever it was asked for.

        Servers do not always say which it is: then the first bytes do. Raises as `read_answer` does.
        """
        if "event-stream" in self.response.headers.get("content-type", ""):
            return self
        pieces = self.chunks()
        head = _read_head(pieces)
        self._source = chain((head,), pieces)
        if head.removeprefix(BOM_UTF8).startswith(_BEGINNINGS):
            return self
        try:
            body = whole_body(self._source)
            return EventStream(read_answer(self.response.status, self.response.headers, body))
        finally:
            self.finish()

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""

    @abstractmethod
    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""


def _read_head(pieces: Iterator[bytes]) -> bytes:
    """Return the first bytes of a body, without the blanks before them. Raise ReplyError where there are only blanks.

    Blanks are dropped as they come: kept and looked through with every piece, megabytes of them cost minutes.
    """
    head, size = b"", 0
    while len(head) < _TELLING_BYTES and (piece := next(pieces, b"")):
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise ReplyError(f"the answer is larger than {MAX_BODY_BYTES} bytes", hint="check what is behind base_url")
        head = (head + piece).lstrip()
    return head


def until_whole(stream: EventStream, is_whole: Callable[[], bool]) -> Iterator[ServerEvent]:
    """The events. Once the answer is whole what follows is waited for a little, and may be missing or broken."""
    has_hurried = False
    try:
        for event in stream:
            yield event
            if not has_hurried and is_whole():
                has_hurried = True
                stream.hurry()
    except (OSError, ReplyError):
        if not is_whole():
            raise
