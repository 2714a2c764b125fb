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

_PIECE_BYTES = 64 * 1024
#: After a whole answer the end of the body is at hand, or the connection is not worth waiting for.
TAIL_S = 0.05
#: The usage follows an answer at once, if at all.
HURRY_S = 5.0


class HttpStream(ByteStream):
    """An answer's events as they come over one of the client's connections."""

    def __init__(self, response: HttpResponse, raw: BaseHTTPResponse, timeout_s: float) -> None:
        super().__init__(response)
        self._raw = raw
        self._timeout_s = timeout_s
        # Beneath urllib3, which adds nothing to an answer that is not compressed: as our connections make it.
        self._answer: Any = vars(raw)["_original_response"]
        self._reader = self._answer.reader
        self.renew()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        read = self._answer.read1
        if "content-encoding" in self.response.headers:
            read = partial(self._raw.read1, decode_content=True)
        try:
            while piece := read(_PIECE_BYTES):
                yield piece
        except HTTPException as error:
            raise ConnectionError(f"the stream broke off: {type(error).__name__}") from error
        if self._answer.length:  # of a body of known length; that of chunks is None
            raise ConnectionError(f"the stream broke off {self._answer.length} bytes before its end")

    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
        self._reader.renew(self._timeout_s)

    def hurry(self) -> None:
        """Wait for what may follow the answer a few seconds at most."""
        self._timeout_s = min(self._timeout_s, HURRY_S)
        self.renew()

    def finish(self) -> None:
        """Keep the connection where the body ends at once, else close it."""
        self._reader.renew(TAIL_S)
        try:
            while self._answer.read1(_PIECE_BYTES):
                pass
            is_over = not self._answer.length
        except (HTTPException, OSError, ValueError):
            is_over = False
        if is_over:
            self._raw.release_conn()
        else:
            self.close()

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once."""
        self._reader.wake()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()
