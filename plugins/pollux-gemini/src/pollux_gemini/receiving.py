"""Streamed answers through requests, the library that the SDK uses when it shows a client certificate."""

from __future__ import annotations

import time
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import ByteStream, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pollux_sync.plugin import EventStream

    Errors = Callable[[], AbstractContextManager[None]]


def open_requests_stream(raw: Any, timeout_s: float, convert_errors: Errors) -> EventStream:
    """Open an unread answer as a stream of events, as `wire.sdks.open_sdk_stream` does for other libraries.

    ``convert_errors`` is a context manager that converts what reading raises for the core's classifier.
    """
    stream = _RequestsStream(raw, timeout_s, convert_errors)
    try:
        return stream.detect_format()
    except BaseException:
        stream.close()
        raise


class _RequestsStream(ByteStream):
    """The events of an answer over a connection of requests."""

    def __init__(self, raw: Any, timeout_s: float, convert_errors: Errors) -> None:
        super().__init__(HttpResponse(status=200, headers={name.lower(): raw.headers[name] for name in raw.headers}))
        self._raw = raw
        self._timeout_s = timeout_s
        self._convert_errors = convert_errors
        self.renew()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks. requests bounds the wait for each chunk, the deadline that for each event."""
        with self._convert_errors():
            for chunk in self._raw.iter_content(None):
                # A server that drips bytes without completing an event would never be late for requests.
                if time.monotonic() > self._deadline:
                    raise TimeoutError("no event came within the time limit")
                yield chunk

    def renew(self) -> None:
        """Restart the time limit for the next event."""
        self._deadline = time.monotonic() + min(self._timeout_s, self.left_s)

    def wake(self) -> None:
        """Make a reader that waits for the next event fail at once."""
        # AttributeError: the answer has ended, and its connection went back to the pool.
        with suppress(OSError, AttributeError):
            self._raw.raw.connection.sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, unless the answer was read to its end and the pool has it again."""
        self._raw.close()
