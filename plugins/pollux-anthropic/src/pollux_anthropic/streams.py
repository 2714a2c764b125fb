"""Streamed answers through the SDK."""

from __future__ import annotations

import time
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.sse import ByteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from httpx2 import Response


class SDKStream(ByteStream):
    """An answer's events from the SDK's raw response, which nobody has read yet.

    ``errors`` makes the HTTP client's exceptions those that the core knows. The client bounds the wait for each next
    bytes; that they make an event in time is seen to whenever some come.
    """

    def __init__(self, raw: Response, timeout_s: float, errors: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(HttpResponse(status=raw.status_code, headers=dict(raw.headers.items())))
        self._raw = raw
        self._timeout_s = timeout_s
        self._errors = errors
        self.renew()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        with self._errors():
            for piece in self._raw.iter_bytes():
                if time.monotonic() > self._deadline:
                    raise TimeoutError("no event came within the time limit")
                yield piece

    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
        self._deadline = time.monotonic() + self._timeout_s

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once."""
        carrier = self._raw.extensions.get("network_stream")  # a transport of the caller's may have none
        sock = carrier and carrier.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the response, and its connection where the answer is not at its end."""
        self._raw.close()
