"""Streamed answers over a vendor's SDK, which hands its raw response over unread."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.sdks import body_errors
from pollux_sync.wire.sse import ByteStream
from pollux_sync.wire.streams import HURRY_S, TAIL_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.provider import HttpResponse


class SDKStream(ByteStream):
    """An answer's events as they come over an SDK's HTTP client: ``raw`` is a response of httpx or httpx2."""

    def __init__(self, response: HttpResponse, raw: Any, timeout_s: float) -> None:
        super().__init__(response)
        self._raw = raw
        self._pieces: Iterator[bytes] = raw.iter_bytes()
        self._socket = _socket_of(raw)
        self._timeout_s = timeout_s
        self.renew()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes. The client bounds the wait for each, the deadline that for events."""
        with body_errors():
            for piece in self._pieces:
                if time.monotonic() > self._deadline:
                    raise TimeoutError("no event came within the time limit")
                yield piece

    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
        self._deadline = time.monotonic() + self._timeout_s

    def hurry(self) -> None:
        """Wait for what may follow the answer a few seconds at most, as far as the client lets us."""
        self._timeout_s = min(self._timeout_s, HURRY_S)
        self.renew()

    def finish(self) -> None:
        """Keep the connection where the body ends at once, else close it."""
        if self._socket is None:
            self.close()
            return
        timer = threading.Timer(TAIL_S, self.wake)
        timer.daemon = True
        timer.start()
        try:
            with body_errors():
                for _ in self._pieces:
                    pass
        except (ReplyError, OSError):
            self.close()
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


def _socket_of(raw: Any) -> Any:
    """What carries this answer and no other; None for what is not known, or is shared, as in HTTP/2."""
    way = raw.extensions.get("network_stream")
    is_shared = raw.http_version == "HTTP/2"
    return None if way is None or is_shared else way.get_extra_info("socket")
