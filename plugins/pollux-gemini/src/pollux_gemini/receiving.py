"""Streamed answers through the SDK's HTTP library."""

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


class SDKStream(ByteStream):
    """An answer's events as they come over one of the SDK's connections.

    ``raw`` is the answer, unread, in httpx' form or, where the SDK shows a client certificate, in that of requests.
    ``as_wire_errors`` makes what reading it raises errors that the core's classifier knows.
    """

    def __init__(
        self,
        headers: dict[str, str],
        raw: Any,
        timeout_s: float,
        as_wire_errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(HttpResponse(status=200, headers=headers))
        self._raw = raw
        self._timeout_s = timeout_s
        self._as_wire_errors = as_wire_errors
        self._deadline = 0.0
        self.renew()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        pieces = self._raw.iter_bytes() if hasattr(self._raw, "iter_bytes") else self._raw.iter_content(None)
        with self._as_wire_errors():
            for piece in pieces:
                yield piece
                if time.monotonic() > self._deadline:  # the library's own limit begins anew with every byte
                    raise TimeoutError("no event came within the time limit")

    def renew(self) -> None:
        """Let the time limit for the next event begin anew."""
        self._deadline = time.monotonic() + self._timeout_s

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once."""
        with suppress(OSError, AttributeError):  # the answer has ended, or comes over no socket
            _socket_of(self._raw).shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, unless the answer was read to its end."""
        self._raw.close()


def _socket_of(raw: Any) -> Any:
    """The socket that the answer comes over; None when it has ended, for then others may have it."""
    if not hasattr(raw, "extensions"):
        return raw.raw.connection.sock
    return None if raw.is_closed else raw.extensions.get("network_stream").get_extra_info("socket")
