"""Server-sent events, parsed from bytes that may be cut anywhere."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from contextlib import suppress
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any

from pollux_sync.data.streaming import EventStream, ServerEvent, StreamedResponse
from pollux_sync.wire.bodies import (
    LARGE_BYTES,
    MAX_BODY_BYTES,
    MAX_KEPT_BYTES,
    check_value_count,
    decode_response,
    read_body,
)
from pollux_sync.wire.errorbodies import error_message
from pollux_sync.wire.faults import ReplyError, StreamLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.provider import HttpResponse

#: The limit of a stream in bytes (1 GiB); one event may be as large as a whole answer.
MAX_STREAM_BYTES = 16 * MAX_BODY_BYTES
#: The prefixes by which a line of server-sent events is recognised.
_LINE_PREFIXES = (b"data:", b"event:", b"error:", b"id:", b"retry:", b":")
#: The length of the longest prefix.
_MIN_HEAD_BYTES = 6
#: The data with which servers end a stream.
_DONE = b"[DONE]"
_BLANK_LINES = frozenset({b"\n", b"\r\n", b"\r"})
#: How JSON begins that a server writes without a field before it.
_JSON_STARTS = (b"{", b"[")
#: The fields of the standard that have no meaning here.
_IDLE_FIELDS = (b"id", b"retry")
#: How much of an event that is no JSON is shown.
_MAX_SHOWN_BYTES = 200
#: A page of a proxy names its problem within its beginning.
_MAX_STRAY_BYTES = 2000


class EventParser:
    """A parser of events from chunks of bytes, and of the errors that servers write among them in their own forms.

    ``is_done`` is set when the server has ended the stream. ``error`` is set by an event that is not JSON, after which
    nothing more is read. ``blocks`` counts events and comments, ``pending_bytes`` is the size of the next event so far.
    ``stray`` is the beginning of other bytes after the last event.
    """

    def __init__(self) -> None:
        self.pending_bytes = 0
        self.is_done = False
        self.error: ReplyError | None = None
        self.blocks = 0
        self.stray = b""
        self._has_begun = False
        self._rest: list[bytes] = []
        self._name = ""
        self._data: list[bytes] = []
        #: The lines of JSON without a field.
        self._bare: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that ``chunk`` completes."""
        self.pending_bytes += len(chunk)
        self._rest.append(chunk)
        # Joined once, when the line ends: joining at each chunk would make a long line cost quadratic time. A carriage
        # return may have ended the chunk before.
        if b"\n" not in chunk and b"\r" not in b"".join(self._rest[-2:]):
            return []
        lines = b"".join(self._rest).splitlines(keepends=True)
        # A carriage return at the end may be the first half of a line end whose line feed is in the next chunk.
        self._rest = [lines.pop()] if not lines[-1].endswith(b"\n") else []
        events = self._parse_lines(lines) if lines else []
        # Not the sum over all lines: an event of many lines would cost quadratic time.
        self.pending_bytes = sum(map(len, self._rest)) + self._data_bytes
        return events

    def end(self) -> list[ServerEvent]:
        """Return the event that lacks only the blank line after it. A partial event is dropped."""
        # The standard drops an event without the blank line. Here a server that leaves it out does not cost the answer.
        lines, self._rest = b"".join(self._rest).splitlines(keepends=True), []
        events = self._parse_lines([*lines, b"\n", b"\n"])
        # What does not parse here was cut off; the decoder finds out that the answer is not complete.
        self.error = None
        return events

    def _parse_lines(self, lines: list[bytes]) -> list[ServerEvent]:
        if not self._has_begun:
            self._has_begun, lines[0] = True, lines[0].removeprefix(BOM_UTF8)
        events: list[ServerEvent] = []
        for line in lines:
            if line.startswith(b"data:"):
                # The standard strips one space; white space around JSON has no meaning.
                self._data.append(line[5:].strip())
                self._data_bytes += len(line)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            # A comment: servers send them to show that they are alive.
            elif line.startswith(b":"):
                self.blocks += 1
            elif line in _BLANK_LINES:
                if not (self.is_done or self.error):
                    self._dispatch(events)
            else:
                self._add_other(line)
        return events

    def _add_other(self, line: bytes) -> None:
        """Keep a line without a known field if it may be of an error that a server wrote in a form of its own."""
        # llama.cpp writes "error: {...}" into its streams, as a field that the standard does not have.
        if line.startswith(b"error:"):
            self._name = "error"
            self._data.append(line[6:].strip())
        # Google and proxies write the body of an error as it is, often over several lines.
        elif self._bare or line.lstrip().startswith(_JSON_STARTS):
            self._bare.append(line)
        else:
            if not line.startswith(_IDLE_FIELDS):
                self._keep_stray(line)
            return
        self._data_bytes += len(line)

    def _keep_stray(self, text: bytes) -> None:
        # The standard demands that it is ignored. It may say why no more events come.
        self.stray += text[: _MAX_STRAY_BYTES - len(self.stray)]

    def _dispatch(self, events: list[ServerEvent]) -> None:
        if self._bare:
            bare, self._bare = self._bare, []
            self.blocks += 1
            values = _parse_bare(bare)
            events += (ServerEvent("", value) for value in values)
            if not values:
                self._keep_stray(b"".join(bare))
        data, name = b"\n".join(self._data), self._name
        self._data, self._data_bytes, self._name = [], 0, ""
        if not data:
            return
        self.blocks += 1
        self.stray = b""
        if data == _DONE:
            self.is_done = True
            return
        # Kept instead of raised: the events before this one are valid, and must be delivered first.
        try:
            # Looked at here, since a call would show in the cost of each event.
            if len(data) > LARGE_BYTES:
                check_value_count(data)
            events.append(ServerEvent(name, json.loads(data)))
        except ReplyError as refusal:
            self.error = refusal
        except (ValueError, RecursionError):
            text = data[:_MAX_SHOWN_BYTES].decode("utf-8", "replace")
            if name == "error":
                events.append(ServerEvent(name, text))
            else:
                self.error = ReplyError(f"an event of the stream is not valid JSON: {text}", retryable=True)


def _parse_bare(lines: list[bytes]) -> list[Any]:
    """Return the objects in lines of JSON: one over all lines, a list of them, or one in each line."""
    values = _parse_values(b"".join(lines)) or [value for line in lines for value in _parse_values(line)]
    return [value for value in values if isinstance(value, dict)]


def _parse_values(text: bytes) -> list[Any]:
    """Return the JSON value of a text, or its items if it is a list; nothing if the text is not JSON."""
    try:
        if len(text) > LARGE_BYTES:
            check_value_count(text)
        value = json.loads(text)
    # What is no JSON was ignored before it could be an error, as the standard demands.
    except (ReplyError, ValueError, RecursionError):
        return []
    return value if isinstance(value, list) else [value]


class ByteStream(EventStream, ABC):
    """The events of an answer whose bytes arrive in chunks.

    Reading raises ReplyError, ConnectionError or TimeoutError for an answer that breaks off. ``max_event_bytes``
    limits one event, ``max_bytes`` the whole stream, `limit` its time.
    """

    _limit_s = inf
    _ends_at = inf

    def __init__(
        self, response: HttpResponse, *, max_event_bytes: int = MAX_BODY_BYTES, max_bytes: int = MAX_STREAM_BYTES
    ) -> None:
        super().__init__(response)
        self._max_event_bytes = max_event_bytes
        self._max_bytes = max_bytes
        self._parser = EventParser()
        self._source: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[ServerEvent]:
        try:
            yield from self._iter_events()
        except TimeoutError as error:
            # The wait for the last event was cut to what was left of the whole.
            self._check_limit(error)
            raise

    def _iter_events(self) -> Iterator[ServerEvent]:
        parser, size, blocks = self._parser, 0, 0
        clock = time.monotonic
        for chunk in self._take_chunks():
            # Looked at here, since a chunk is often one event, and each call costs a percent of it.
            if clock() >= self._ends_at:
                self._check_limit()
            size += len(chunk)
            yield from parser.feed(chunk)
            if parser.error:
                raise parser.error
            if parser.is_done:
                self.is_done = True
                return
            if size > self._max_bytes:
                reason = f"the stream is larger than {self._max_bytes} bytes"
                raise ReplyError(reason, hint="check base_url", response=self.response)
            if parser.pending_bytes > self._max_event_bytes:
                raise ReplyError("an event has no end", hint="check base_url", response=self.response)
            # Only whole events and comments count: a server that drips bytes of a line must not be waited for.
            if parser.blocks > blocks:
                blocks = parser.blocks
                self.renew()
        yield from parser.end()
        if parser.stray:
            text = parser.stray.decode("utf-8", "replace")
            raise ReplyError(f"the stream ended with: {error_message(text)}", retryable=True)

    def _take_chunks(self) -> Iterator[bytes]:
        # Kept no longer: they refer to the stream, and as a circle both would keep the connection's answer open.
        chunks, self._source = self._source, None
        return self.iter_chunks() if chunks is None else chunks

    def limit(self, limit_s: float) -> None:
        """Limit the whole answer to ``limit_s`` seconds from now, however many events and comments come."""
        self._limit_s = limit_s
        self._ends_at = time.monotonic() + limit_s
        self.renew()

    @property
    def left_s(self) -> float:
        """The seconds that are left of the whole; a wait for an event must be no longer. Not below 0."""
        return max(0.0, self._ends_at - time.monotonic())

    def _check_limit(self, cause: Exception | None = None) -> None:
        if time.monotonic() >= self._ends_at:
            raise StreamLimitError(f"the stream did not end within stream_timeout_s={self._limit_s:g}") from cause

    def detect_format(self) -> EventStream:
        """Return this stream, or the whole answer in place of events when the server did not stream.

        The content type decides; servers that do not set it are recognised by the first bytes. Raises as
        `decode_response` does.
        """
        # Servers that do not stream, or fail before they do, send JSON although they were asked for events.
        if "event-stream" in self.response.headers.get("content-type", ""):
            return self
        head, chunks = self._peek(_MIN_HEAD_BYTES)
        if head.startswith(_LINE_PREFIXES):
            return self
        try:
            body = read_body(chunks)
            return EventStream(decode_response(self.response.status, self.response.headers, body))
        finally:
            self.finish()

    def read_whole(self) -> HttpResponse | None:
        """Return the answer of a server that calls it a stream but sent it as one JSON body; None for events.

        Waits for the first bytes. What is read stays part of the stream, unless it is returned.
        """
        # A stream that has been looked into already begins with an event.
        if self._source is not None:
            return None
        try:
            head, chunks = self._peek(1)
            if not head.startswith(_JSON_STARTS):
                return None
            body = read_body(chunks)
        except TimeoutError as error:
            self._check_limit(error)
            raise
        self._source = iter((bytes(body),))
        # Several values in place of one, or an error with lines of events after it, are for the parser.
        with suppress(ReplyError):
            return decode_response(self.response.status, self.response.headers, body)
        return None

    def _peek(self, min_bytes: int) -> tuple[bytes, Iterator[bytes]]:
        """Return the first bytes without a byte order mark, and all chunks, which stay those of the stream."""
        chunks = self.iter_chunks()
        head = _read_head(chunks, min_bytes)
        self._source = chain((head,), chunks)
        return head.removeprefix(BOM_UTF8), self._source

    @abstractmethod
    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks as they arrive."""

    @abstractmethod
    def renew(self) -> None:
        """Restart the time limit for the next event; it ends no later than in `left_s` seconds."""


def _read_head(chunks: Iterator[bytes], min_bytes: int) -> bytes:
    """Return the first bytes of a body, without the blanks before them. Raises ReplyError for blanks without end.

    Blanks are dropped as they arrive: keeping them and searching them again with every chunk would take minutes for a
    few megabytes.
    """
    head, size = b"", 0
    while len(head) < min_bytes and (chunk := next(chunks, b"")):
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ReplyError(f"the answer is larger than {MAX_BODY_BYTES} bytes", hint="check base_url")
        head = (head + chunk).lstrip()
    return head


def read_events(status: int, headers: dict[str, str], content: bytes) -> StreamedResponse | None:
    """Return the answer of a server that sent a stream unasked, from its whole content; None for other content."""
    if not content[:_MAX_SHOWN_BYTES].lstrip().removeprefix(BOM_UTF8).startswith(_LINE_PREFIXES):
        return None
    parser = EventParser()
    events = parser.feed(bytes(content))
    if parser.error:
        return None
    events += parser.end()
    return StreamedResponse(
        status=status,
        headers=headers,
        content=content[:MAX_KEPT_BYTES],
        events=tuple(events),
        is_done=parser.is_done,
    )


def read_until_complete(stream: EventStream, is_complete: Callable[[], bool]) -> Iterator[ServerEvent]:
    """Yield the events of a stream.

    Once the answer is complete, what follows is awaited for a few seconds only and may be missing or broken: the
    answer was paid for, and must not be lost over its usage.
    """
    has_hurried = False
    try:
        for event in stream:
            yield event
            if not has_hurried and is_complete():
                has_hurried = True
                stream.hurry()
    except (OSError, ReplyError):
        if not is_complete():
            raise
