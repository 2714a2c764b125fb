"""Streamed answers over the core's HTTP client."""

from __future__ import annotations

from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from pollux_sync.wire.sse import ByteStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.response import BaseHTTPResponse

    from pollux_sync.data.provider import HttpResponse

_CHUNK_BYTES = 64 * 1024
#: After a complete answer the body ends at once, or the connection is not worth waiting for.
TAIL_S = 0.05
#: The usage follows an answer within moments, if at all.
HURRY_S = 5.0


class HttpStream(ByteStream):
    """The events of an answer over one of the client's connections."""

    def __init__(self, response: HttpResponse, raw: BaseHTTPResponse, timeout_s: float) -> None:
        super().__init__(response)
        self._raw = raw
        self._timeout_s = timeout_s
        # Read below urllib3, which only adds cost to an answer that is not compressed.
        self._answer: Any = vars(raw)["_original_response"]
        self._reader = self._answer.reader
        self.renew()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks as they arrive."""
        read = self._answer.read1
        if "content-encoding" in self.response.headers:
            read = partial(self._raw.read1, decode_content=True)
        try:
            while chunk := read(_CHUNK_BYTES):
                yield chunk
        except HTTPException as error:
            raise ConnectionError(f"the stream broke off: {type(error).__name__}") from error
        if self._answer.length:  # for a body of known length; it is None for a chunked one
            raise ConnectionError(f"the stream broke off {self._answer.length} bytes before its end")

    def renew(self) -> None:
        """Restart the time limit for the next event."""
        self._reader.renew(self._timeout_s)

    def hurry(self) -> None:
        """Wait at most a few seconds for what may follow the answer."""
        self._timeout_s = min(self._timeout_s, HURRY_S)
        self.renew()

    def finish(self) -> None:
        """Keep the connection if the body ends at once, else close it."""
        self._reader.renew(TAIL_S)
        try:
            while self._answer.read1(_CHUNK_BYTES):
                pass
            is_over = not self._answer.length
        except (HTTPException, OSError, ValueError):
            is_over = False
        if is_over:
            self._raw.release_conn()
        else:
            self.close()

    def wake(self) -> None:
        """Make a reader that waits for the next event fail at once."""
        self._reader.wake()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()
