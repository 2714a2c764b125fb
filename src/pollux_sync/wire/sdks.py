"""Vendors' SDKs as carriers: of files and jobs beside the core's client, of every request for a client handed over.

Answers and exceptions of an SDK are converted to those of the core's client, so that both ways behave alike.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pollux_sync.data.clients import FileStore
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.bodies import decode_response, read_body, read_sdk_headers
from pollux_sync.wire.sdkerrors import convert_body_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.handles import Asset
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import EventStream
    from pollux_sync.wire.http import HttpClient

Store = TypeVar("Store", bound=FileStore)


class SDKCarrier(ABC):
    """Sends calls and files through a vendor's SDK client, without its retries.

    Each method raises HttpError, ReplyError, ConnectionError or TimeoutError.
    """

    @property
    def files(self) -> Self:
        """The carrier of files and jobs, which is this one; a `DirectCarrier` has another."""
        return self

    @abstractmethod
    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""

    @abstractmethod
    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events.

        Each event must arrive within ``timeout_s`` seconds of the one before. Reading the events raises the same.
        """

    @abstractmethod
    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed. Raises OSError too, for a file that cannot be read."""

    @abstractmethod
    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""

    def close(self) -> None:  # noqa: B027 - inherited unchanged on purpose
        """Do nothing: a client that was handed over belongs to its owner."""


class DirectCarrier(Generic[Store]):
    """Sends calls through the core's client; opens the SDK's client when the first file is to be stored.

    ``make_files`` returns the carrier of files and the function that closes its client.
    """

    def __init__(self, client: HttpClient, make_files: Callable[[], tuple[Store, Callable[[], object]]]) -> None:
        self._client = client
        self._make_files = make_files
        self._lock = threading.Lock()
        self._files: Store | None = None
        self._close_files: Callable[[], object] | None = None
        self.send = client.send
        self.stream = client.stream

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        return self.files.upload(source, timeout_s, name, lifetime_s)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        self.files.delete(asset, timeout_s)

    def close(self) -> None:
        """Close both clients."""
        self._client.close()
        with self._lock:
            if self._close_files is not None:
                self._close_files()

    @property
    def files(self) -> Store:
        """The carrier of files and jobs, which uses the SDK."""
        # Opened late: a script that stores no file does not pay for importing the SDK. The lock keeps it to one client.
        with self._lock:
            if self._files is None:
                self._files, self._close_files = self._make_files()
            return self._files


def read_response(response: Any, deadline: float) -> HttpResponse:
    """Read the body of an SDK's raw response and convert it to that of the core's client.

    ``deadline`` is a reading of `time.monotonic`: the SDK's own limit starts anew with each chunk, so that a server
    that drips would never be late. Raises ReplyError for a body that is too large or not JSON, ConnectionError or
    TimeoutError.
    """
    headers = read_sdk_headers(response)
    # iter_raw skips the decoder; a response whose body the SDK has read already has no raw bytes left.
    is_plain = "content-encoding" not in headers and not response.is_stream_consumed
    chunks = response.iter_raw() if is_plain else response.iter_bytes()
    try:
        with convert_body_errors():
            content = read_body(chunks, deadline=deadline)
    finally:
        response.close()
    return decode_response(response.status_code, headers, content)


def open_sdk_stream(response: Any, timeout_s: float) -> EventStream:
    """Open an SDK's raw response, its body unread, as a stream of events.

    The request must have been sent with `wire.http.STREAM_HEADERS`. Raises ReplyError, ConnectionError or
    TimeoutError, and so does reading the events.
    """
    from pollux_sync.wire.sdkstreams import SDKStream

    head = HttpResponse(status=response.status_code, headers=read_sdk_headers(response))
    stream = SDKStream(head, response, timeout_s)
    try:
        return stream.detect_format()
    except BaseException:
        stream.close()
        raise
