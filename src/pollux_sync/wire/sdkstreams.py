"""Streamed answers over a vendor's SDK, from its raw response whose body is unread."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.sdkerrors import convert_body_errors
from pollux_sync.wire.sse import ByteStream
from pollux_sync.wire.streams import HURRY_S, TAIL_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.provider import HttpResponse


class SDKStream(ByteStream):
    """The events of an answer over an SDK's HTTP client; ``raw`` is a response of httpx or httpx2."""

    def __init__(self, response: HttpResponse, raw: Any, timeout_s: float) -> None:
        super().__init__(response)
        self._raw = raw
        self._chunks: Iterator[bytes] = raw.iter_bytes()
        self._socket = _find_socket(raw)
        self._timeout_s = timeout_s
        self.renew()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks. The client bounds the wait for each chunk, the deadline that for each event."""
        with convert_body_errors():
            for chunk in self._chunks:
                # The client's own limit starts anew with each chunk, so that a server that drips would never be late.
                if time.monotonic() > self._deadline:
                    raise TimeoutError("no event came within the time limit")
                yield chunk

    def renew(self) -> None:
        """Restart the time limit for the next event."""
        self._deadline = time.monotonic() + min(self._timeout_s, self.left_s)

    def hurry(self) -> None:
        """Wait a few seconds at most for the rest of the stream, as far as the client allows."""
        # The client's limit for one chunk was set with the request and cannot be shortened any more.
        self._timeout_s = min(self._timeout_s, HURRY_S)
        self.renew()

    def finish(self) -> None:
        """Keep the connection if the body ends at once, else close it."""
        if self._socket is None:
            self.close()
            return
        # The client offers no shorter limit for a read that is under way; shutting its socket down ends it.
        timer = threading.Timer(TAIL_S, self.wake)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the system has no more threads, and the read cannot be bounded
            self.close()
            return
        try:
            with convert_body_errors():
                for _ in self._chunks:
                    pass
        except (ReplyError, OSError):
            self.close()
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Make a reader that waits for the next event fail at once."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


def _find_socket(raw: Any) -> Any:
    """Return the socket that carries this answer alone; None when it is unknown, or shared as in HTTP/2."""
    # Shutting down a shared socket would end other requests too.
    network_stream = raw.extensions.get("network_stream")
    is_shared = raw.http_version == "HTTP/2"
    return None if network_stream is None or is_shared else network_stream.get_extra_info("socket")
