"""Streamed answers through requests, with which the SDK shows a client certificate."""

from __future__ import annotations

import time
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.sse import ByteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pollux_sync.data.streaming import EventStream

    Errors = Callable[[], AbstractContextManager[None]]


def open_requests_stream(raw: Any, timeout_s: float, as_wire_errors: Errors) -> EventStream:
    """Open the unread answer as a stream of events, as `wire.sdks.open_sdk_stream` does for other libraries.

    ``as_wire_errors`` converts what reading it raises to errors that the core's classifier knows.
    """
    stream = _RequestsStream(raw, timeout_s, as_wire_errors)
    try:
        return stream.detect_format()
    except BaseException:
        stream.close()
        raise


class _RequestsStream(ByteStream):
    """An answer's events as they come over one of requests' connections."""

    def __init__(self, raw: Any, timeout_s: float, as_wire_errors: Errors) -> None:
        super().__init__(HttpResponse(status=200, headers={name.lower(): raw.headers[name] for name in raw.headers}))
        self._raw = raw
        self._timeout_s = timeout_s
        self._as_wire_errors = as_wire_errors
        self.renew()

    def iter_chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes. requests bounds the wait for each, the deadline that for events."""
        with self._as_wire_errors():
            for piece in self._raw.iter_content(None):
                if time.monotonic() > self._deadline:
                    raise TimeoutError("no event came within the time limit")
                yield piece

    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
        self._deadline = time.monotonic() + self._timeout_s

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once."""
        with suppress(OSError, AttributeError):  # the answer has ended, and others may have the socket
            self._raw.raw.connection.sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, unless the answer was read to its end."""
        self._raw.close()
