"""Streamed answers over the core's HTTP client."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import TYPE_CHECKING

from pollux_sync.wire.sse import ByteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.wire.answers import Answer

_CHUNK_BYTES = 64 * 1024
#: After a complete answer the body ends at once. A connection whose body does not end then is not worth waiting for.
TAIL_S = 0.05
#: The usage follows a complete answer within moments, if at all. It must not hold the answer back for the time-out.
HURRY_S = 5.0


class HttpStream(ByteStream):
    """The events of an answer over one of the client's connections."""

    def __init__(self, response: HttpResponse, answer: Answer, timeout_s: float) -> None:
        super().__init__(response)
        self._answer = answer
        self._timeout_s = timeout_s
        self._reader = answer.reader
        self.renew()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks as they arrive."""
        # read1 returns what has arrived; read would wait until the chunk is full, and hold events back.
        is_plain = "content-encoding" not in self.response.headers
        read: Callable[[int], bytes] = self._answer.read1 if is_plain else self._answer.open_inflated().read1
        try:
            while chunk := read(_CHUNK_BYTES):
                yield chunk
        except HTTPException as error:
            # http.client's exceptions are not among those that SDK streams raise; a caller sees one kind for both.
            raise ConnectionError(f"the stream broke off: {type(error).__name__}") from error
        if not self._answer.is_complete:
            raise ConnectionError(f"the stream broke off {self._answer.length} bytes before its end")

    def renew(self) -> None:
        """Restart the time limit for the next event."""
        # Not by `left_s`: this is done for every event, and a second look at the clock would show in its cost.
        self._reader.deadline = min(time.monotonic() + self._timeout_s, self._ends_at)

    def hurry(self) -> None:
        """Wait a few seconds at most for the rest of the stream."""
        self._timeout_s = min(self._timeout_s, HURRY_S)
        self.renew()

    def finish(self) -> None:
        """Keep the connection if the body ends at once, else close it."""
        # Only a connection whose body was read to its end can carry another request.
        self._reader.deadline = time.monotonic() + TAIL_S
        try:
            while self._answer.read1(_CHUNK_BYTES):
                pass
            is_over = self._answer.is_complete
        except (HTTPException, OSError, ValueError):
            is_over = False
        if is_over:
            self._answer.keep()
        else:
            self.close()

    def wake(self) -> None:
        """Make a reader that waits for the next event fail at once."""
        self._reader.wake()

    def close(self) -> None:
        """Close the connection."""
        self._answer.drop()
