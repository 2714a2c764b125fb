"""The protocol of the clients that `pollux_open` returns. The core's hooks use nothing else of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.streaming import EventStream


class Client(Protocol):
    """A client that sends requests; many threads may use it at once.

    The core's `pollux_send`, `pollux_stream` and `pollux_close` need one. A provider that implements these hooks
    itself may return any object from `pollux_open`.
    """

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer, within ``timeout_s`` seconds. Raise for any status but 2xx."""
        ...

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as events, each within ``timeout_s`` seconds of the one before."""
        ...

    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer, all within ``timeout_s`` seconds, without blank ones."""
        ...

    def close(self) -> None:
        """Close the connections, also those in use, whose exchanges fail at once."""
        ...
