"""Vendors' SDKs beside the core's client: files go through them, and everything when the caller hands one over.

Answers and exceptions of an SDK leave here as those of the core's client, so that both ways tell the same.
"""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.http import read_answer, whole_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Asset
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import EventStream
    from pollux_sync.wire.http import HttpClient


class SDKCarrier(ABC):
    """Calls and files through a vendor's SDK client, without its retries.

    Each method raises HttpError, ReplyError, ConnectionError or TimeoutError.
    """

    @property
    def files(self) -> Self:
        """What carries files and jobs, here as in `DirectCarrier`: itself."""
        return self

    @abstractmethod
    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange."""

    @abstractmethod
    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """An exchange whose answer comes as server-sent events, each within ``timeout_s`` seconds of the one before.

        Reading the events raises the same.
        """

    @abstractmethod
    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed. Raises OSError too, for a file that cannot be read."""

    @abstractmethod
    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""

    def close(self) -> None:  # noqa: B027 - meant to be inherited as it is
        """Nothing: a client that was handed over is its owner's."""


class DirectCarrier:
    """Calls through the core's client; the SDK's client is made when the first file is to be stored.

    ``make_files`` gives the carrier of files and what closes its client.
    """

    def __init__(self, client: HttpClient, make_files: Callable[[], tuple[SDKCarrier, Callable[[], object]]]) -> None:
        self._client = client
        self._make_files = make_files
        self._lock = threading.Lock()
        self._files: SDKCarrier | None = None
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
    def files(self) -> SDKCarrier:
        """The carrier of files, through the SDK."""
        with self._lock:
            if self._files is None:
                self._files, self._close_files = self._make_files()
            return self._files


def received(response: Any) -> HttpResponse:
    """An SDK's raw response as the core's client would give it. Raises ReplyError for a body that is not JSON."""
    return read_answer(response.status_code, _fields(response), response.content)


def read_by(deadline: float, response: Any) -> HttpResponse:
    """An SDK's raw response, its body unread, as the core's client would give it.

    ``deadline`` is a reading of `time.monotonic`; the SDK's own limit is for each piece. Raises ReplyError for a body
    that is too large or not JSON, ConnectionError or TimeoutError.
    """
    fields = _fields(response)
    is_plain = "content-encoding" not in fields and not response.is_stream_consumed
    pieces = response.iter_raw() if is_plain else response.iter_bytes()
    try:
        with body_errors():
            content = whole_body(pieces, deadline=deadline)
    finally:
        response.close()
    return read_answer(response.status_code, fields, content)


def begun(response: Any, timeout_s: float) -> EventStream:
    """An SDK's raw response, its body unread, as the core's client would begin to read it.

    Asked for with `wire.http.STREAM_HEADERS`. Raises, as do its events, ReplyError, ConnectionError or TimeoutError.
    """
    from pollux_sync.wire.sdkstreams import SDKStream

    head = HttpResponse(status=response.status_code, headers=_fields(response))
    stream = SDKStream(head, response, timeout_s)
    try:
        return stream.told()
    except BaseException:
        stream.close()
        raise


def _fields(response: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}


@contextmanager
def wire_errors(sdk: ModuleType) -> Iterator[None]:
    """Exceptions of ``sdk`` become those that the core's classifier knows.

    For the SDKs whose module holds APIStatusError, APITimeoutError, APIConnectionError and
    APIResponseValidationError, as one generator of SDKs writes them for several vendors.
    """
    try:
        yield
    except sdk.APIStatusError as error:
        raise HttpError(received(error.response)) from error
    except sdk.APITimeoutError as error:
        raise TimeoutError("the SDK's request timed out") from error
    except sdk.APIConnectionError as error:
        raise ConnectionError(f"the SDK's request failed: {error.__cause__ or error}") from error
    except (sdk.APIResponseValidationError, ValueError) as error:  # ValueError: its JSON decoder's
        raise ReplyError("the answer is not valid JSON, perhaps cut off", retryable=True) from error


@contextmanager
def body_errors() -> Iterator[None]:
    """Exceptions of a body that is read as it comes, which the SDKs leave as they are, become the core's.

    For the SDKs that work with httpx, or with httpx2, which took its place.
    """
    try:
        yield
    except _http_errors("DecodingError") as error:
        raise ReplyError("the answer cannot be decompressed", retryable=True) from error
    except _http_errors("RequestError") as error:  # its cause tells a time-out from a broken connection
        raise ConnectionError(f"the SDK's request failed: {error}") from error


def _http_errors(name: str) -> tuple[type[Exception], ...]:
    """The exceptions of this name, as far as such a library is in use."""
    modules = map(sys.modules.get, ("httpx2", "httpx"))
    return tuple(getattr(module, name) for module in modules if module is not None)
