"""Vendors' SDKs as carriers of every request, for a client that the caller hands over.

Answers and exceptions of an SDK are converted to those of the core's client, so that both ways behave alike.
"""

from __future__ import annotations

import io
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pollux_sync.data.payloads import FormPayload
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.bodies import (
    MAX_KEPT_BYTES,
    build_not_json,
    decode_response,
    is_success,
    read_beginning,
    read_body,
    read_sdk_headers,
)
from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.http import STREAM_HEADERS
from pollux_sync.wire.lines import split_lines
from pollux_sync.wire.sdkerrors import convert_body_errors, convert_sdk_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import ModuleType

    from pollux_sync.data.bodies import Payload, Readable
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.streaming import EventStream


_HEADERS_OF_BODY = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class SDKCarrier(ABC):
    """Sends requests through a vendor's SDK client, without its retries.

    Each method raises HttpError, ReplyError, ConnectionError or TimeoutError.
    """

    @abstractmethod
    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""

    @abstractmethod
    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events.

        Each event must arrive within ``timeout_s`` seconds of the one before. Reading the events raises the same.
        """

    @abstractmethod
    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer, all within ``timeout_s`` seconds, without blank ones."""

    def close(self) -> None:  # noqa: B027 - inherited unchanged on purpose
        """Do nothing: a client that was handed over belongs to its owner."""


class StainlessCarrier(SDKCarrier):
    """The carrier of an SDK that Stainless generated, as those of several vendors are. ``sdk`` is its module.

    Redirects are not followed, and answers are read within the deadline and the size limits of the core's client, those
    that report an error too. The wait for the head of an answer is bounded by the SDK alone, whose limit starts anew
    with each byte.
    """

    def __init__(self, client: Any, sdk: ModuleType) -> None:
        import httpx2

        self._raw = httpx2.Response
        self._sdk = sdk
        # The core's retry policy is the only one: two layers would multiply the attempts and hide them.
        # A copy, which is ours; the caller's client stays as it is.
        self._client = client.with_options(max_retries=0)
        self._client._client = _ErrorReader(self._client._client)  # noqa: SLF001

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""
        deadline = time.monotonic() + timeout_s
        raw = self._execute(request, timeout_s, {})
        return read_response(raw, deadline, is_optional=request.is_answer_optional)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events."""
        # Our parser reads the raw response: it is several times as fast as the SDK's typed events.
        return open_sdk_stream(self._execute(request, timeout_s, STREAM_HEADERS), timeout_s)

    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer."""
        deadline = time.monotonic() + timeout_s
        # The SDKs' own Accept for files: a JSON one is answered with an error by some services.
        with closing(self._execute(request, timeout_s, {"Accept": "application/binary"})) as raw:
            yield from read_sdk_lines(raw, deadline)

    def build_headers(self, request: HttpRequest) -> dict[str, str]:
        """Return the headers of a request that go beside those of the client."""
        return request.headers

    def convert_errors(self) -> AbstractContextManager[None]:
        """Return a context that converts the SDK's exceptions to those that the core knows."""
        return convert_sdk_errors(self._sdk)

    def _execute(self, request: HttpRequest, timeout_s: float, headers: Mapping[str, str]) -> Any:
        """Send a request and return the raw response, its body unread."""
        sent = self.build_headers(request) | dict(headers)
        fields: dict[str, Any] = {}
        if request.payload is not None:
            fields = _build_fields(request.payload)
            sent |= _describe_payload(request.payload)
        elif request.method == "POST":
            fields = {"body": request.body}
        path, _, query = request.path.partition("?")
        options: Any = {"timeout": timeout_s, "headers": sent, "params": dict(parse_qsl(query))}
        # An idempotency key serves to repeat a request, which is never done here.
        options |= {"idempotency_key": "", "follow_redirects": False}
        with convert_body_errors(), self.convert_errors():
            # Unread, so that it is read within the deadline and the size limit.
            if request.method == "DELETE":
                # The SDKs' own delete() reads the answer whole; beneath it is the call that all methods share.
                shared = self._sdk._models.FinalRequestOptions.construct(method="delete", url=path, **options)  # noqa: SLF001
                return self._client.request(self._raw, shared, stream=True)
            call = getattr(self._client, request.method.lower())
            return call(path, cast_to=self._raw, options=options, stream=True, **fields)


class _ErrorReader:
    """An SDK's HTTP client, of httpx or httpx2, that reads the bodies of errors within limits. All else it passes on.

    The SDKs read such a body whole, however large it is and however long it takes.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    # The SDKs tell the two libraries apart by it.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._client)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request. Return the response, with its body read if it reports an error."""
        deadline = time.monotonic() + (request.extensions.get("timeout", {}).get("read") or inf)
        response = self._client.send(request, **options)
        if response.is_success or response.is_closed:
            return response
        content = _read_content(response, deadline)
        # As it is decoded and cut off, these are true of it no more.
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _HEADERS_OF_BODY]
        return type(response)(response.status_code, headers=headers, content=content, request=request)


class _PayloadFile(io.RawIOBase):
    """Content as the file object that an SDK's HTTP library sends as part of a form."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._rewind()

    def _rewind(self) -> None:
        self._chunks = self._content.iter_chunks()
        self._rest = b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    # Only to the beginning and to the end: the libraries measure a file so, and rewind it before they send it.
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._position = self._content.size_bytes + offset
        else:
            self._rewind()
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return one chunk, or less; b"" at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        end = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:end], self._rest[end:]
        self._position += len(piece)
        return piece


def _build_fields(payload: Payload) -> dict[str, Any]:
    """Return the arguments by which an SDK sends a payload."""
    if isinstance(payload, FormPayload):
        file = (payload.file_name, _PayloadFile(payload.content), payload.file_type)
        return {"body": dict(payload.fields), "files": {payload.file_field: file}}
    return {"content": _Body(payload)}


def _describe_payload(payload: Payload) -> dict[str, str]:
    # The HTTP library writes the boundary and the length of a form itself.
    if isinstance(payload, FormPayload):
        return {"Content-Type": "multipart/form-data"}
    return {"Content-Type": payload.content_type, "Content-Length": str(payload.size_bytes)}


class _Body:
    """A payload as an iterable. Each iteration reads it anew, so that it can be sent again."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def __iter__(self) -> Iterator[bytes]:
        return self._payload.iter_chunks()


def read_sdk_lines(response: Any, deadline: float) -> Iterator[bytes]:
    """Yield the lines of an SDK's raw response, all before ``deadline``, a reading of `time.monotonic`."""
    with convert_body_errors():
        yield from split_lines(_check_deadline(response.iter_bytes(), deadline))


def _check_deadline(chunks: Iterable[bytes], deadline: float) -> Iterator[bytes]:
    for chunk in chunks:
        # The SDK's own limit starts anew with each chunk, so that a server that drips would never be late.
        if time.monotonic() > deadline:
            raise TimeoutError("the answer did not end within the time limit")
        yield chunk


def read_response(response: Any, deadline: float, *, is_optional: bool = False) -> HttpResponse:
    """Read the body of an SDK's raw response and convert it to that of the core's client.

    ``deadline`` is a reading of `time.monotonic`: the SDK's own limit starts anew with each chunk, so that a server
    that drips would never be late. ``is_optional`` admits an answer without a body. Of an error the beginning is read.
    Raises ReplyError for a body that is too large or not JSON, ConnectionError or TimeoutError.
    """
    headers = read_sdk_headers(response)
    content = _read_content(response, deadline)
    if is_optional and not content:
        return HttpResponse(status=response.status_code, headers=headers)
    with suppress(ReplyError):
        return decode_response(response.status_code, headers, content)
    # Imported here: no answer that is JSON needs it.
    from pollux_sync.wire.sse import read_events

    if streamed := read_events(response.status_code, headers, content):
        return streamed
    # Replaced, since the traceback of an error keeps what its frames hold: up to 64 MiB for each attempt.
    content = content[:MAX_KEPT_BYTES]
    raise build_not_json(HttpResponse(status=response.status_code, headers=headers, content=content))


def _read_content(response: Any, deadline: float) -> bytes:
    """Read the body of an SDK's raw response, or the beginning of an error's, and close the response."""
    # iter_raw skips the decoder; a response whose body the SDK has read already has no raw bytes left.
    is_plain = "content-encoding" not in response.headers and not response.is_stream_consumed
    chunks = response.iter_raw() if is_plain else response.iter_bytes()
    try:
        with convert_body_errors():
            if is_success(response.status_code):
                return read_body(chunks, deadline=deadline)
            return read_beginning(_check_deadline(chunks, deadline))
    finally:
        response.close()


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
