"""Server-sent events out of bytes that may be cut anywhere."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

from pollux_sync.data.streaming import EventStream, ServerEvent
from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.http import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.provider import HttpResponse

#: With this in place of JSON servers say that nothing more comes.
_DONE = b"[DONE]"


class EventParser:
    """Feed it bytes as they come. ``is_done`` once the server said so; ``blocks`` counts events and comments.

    ``error`` is about an event that is not JSON, after which nothing more is read.
    """

    def __init__(self) -> None:
        self.is_done = False
        self.error: ReplyError | None = None
        self.blocks = 0
        self._is_begun = False
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that ``chunk`` makes whole."""
        lines = (self._rest + chunk).splitlines(keepends=True)
        # A carriage return may be half a line end.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return self._read(lines) if lines else []

    def end(self) -> list[ServerEvent]:
        """The event that lacks nothing but the blank line after it; half an event is dropped."""
        lines, self._rest = self._rest.splitlines(keepends=True), b""
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
    """

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(response)
        self._parser = EventParser()

    def __iter__(self) -> Iterator[ServerEvent]:
        parser, size, blocks = self._parser, 0, 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ReplyError(f"the answer is larger than {MAX_BODY_BYTES} bytes", response=self.response)
            yield from parser.feed(chunk)
            if parser.error:
                raise parser.error
            if parser.is_done:
                return
            if parser.blocks > blocks:
                blocks = parser.blocks
                self.renew()
        yield from parser.end()

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""

    @abstractmethod
    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
