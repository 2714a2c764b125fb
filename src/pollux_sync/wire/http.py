"""HTTP exchanges without redirects, netrc, cookies or hidden retries, each with one deadline.

What is sent over a connection and read from it is our own, at a fifth of the CPU of ``Session.post`` of requests. The
adapter of requests is loaded, and asked for its connections, only where there is a proxy.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pollux_sync._version import VERSION
from pollux_sync.data.config import SecretText, SecretUrl, read_password, redact_secret
from pollux_sync.data.headers import merge_headers
from pollux_sync.data.provider import HttpResponse
from pollux_sync.errors import SourceError
from pollux_sync.wire.addresses import read_address
from pollux_sync.wire.bodies import (
    MAX_KEPT_BYTES,
    build_not_json,
    decode_error,
    decode_response,
    is_success,
    read_beginning,
    read_body,
)
from pollux_sync.wire.connections import DirectPool
from pollux_sync.wire.faults import HttpError, ReplyError, is_stale
from pollux_sync.wire.heads import encode_fields, encode_first_line
from pollux_sync.wire.lines import split_lines
from pollux_sync.wire.outbox import Outbox
from pollux_sync.wire.routes import resolve_route

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
    from urllib.parse import SplitResult

    from pollux_sync.data.bodies import Payload
    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, ProviderInfo
    from pollux_sync.data.streaming import EventStream
    from pollux_sync.wire.addresses import ServerAddress
    from pollux_sync.wire.answers import Answer
    from pollux_sync.wire.connections import ClosingPoolMixin
    from pollux_sync.wire.routes import Route

#: The least number of connections kept per host: calls of several threads may share one client.
_MIN_POOL = 16
#: A connection that was closed before the request fails at once. One that fails later may have carried the request to
#: the server, and sending that again could cost money.
_STALE_WITHIN_S = 0.5
#: How long a connection that no request waits for yet may take.
_MAX_EARLY_S = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Each body has its own.
_FRAMING = {"content-type", "content-length"}
#: Ask for events without compression: a compressor holds small events back until its block is full.
STREAM_HEADERS = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}


class SecretHeader(SecretText):
    """A header value that does not show in reprs or in the locals of a traceback."""

    __slots__ = ()


class HttpClient:
    """Sends requests to one base url; many threads may use it at once.

    ``headers`` go with every request; hand the key over as a `SecretHeader`. ``proxy`` and ``ca_bundle`` default to
    what the environment names, which is read once; ``proxy`` is "" for a direct way. Of ``list_headers``, named in
    lower case, a request's values go behind those of the client. ``secrets`` are removed from answers that report an
    error. ``pool_size`` connections are kept per host. With ``resends_stale`` a request is sent once more if a kept
    connection was closed before any byte of the answer arrived.
    Raises ConfigurationError for a proxy or a bundle that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        pool_size: int = 10,
        resends_stale: bool = False,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        list_headers: Collection[str] = (),
        secrets: tuple[str, ...] = (),
    ) -> None:
        # Replaced before anything can fail, so that no traceback shows them.
        secrets, proxy = tuple(map(SecretText, secrets)), proxy and SecretUrl(proxy)
        #: The address that the paths of requests continue.
        self.base_url = base_url.rstrip("/")
        self._resends_stale = resends_stale
        self._is_closed = False
        self._route = resolve_route(self.base_url, proxy=proxy, ca_bundle=ca_bundle)
        # That of a proxy of the environment is in no configuration.
        password = read_password(self._route.proxy)
        self._secrets = _Secrets((*secrets, *([password] if password else ())))
        address = read_address(self.base_url)
        self._connections, self._pool, self._target = _open_connections(address, self.base_url, self._route, pool_size)
        usual = {
            "Host": address.header,
            "User-Agent": f"pollux-sync/{VERSION}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        }
        proxy_headers = {name: SecretHeader(value) for name, value in self._pool.request_headers.items()}
        self._headers = _CommonHeaders(merge_headers(usual, headers, proxy_headers), list_headers)

    def __repr__(self) -> str:
        return f"HttpClient({self.base_url!r})"

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer, within ``timeout_s`` seconds from connecting to the last byte.

        Raises HttpError for a status other than 2xx, ReplyError for a body that is not JSON, and
        requests' and urllib3's exceptions for the rest; `faults.classify_error` reads them all.
        """
        raw = self._open_response(request, timeout_s, self._headers)
        try:
            return self._read_response(raw, request)
        except BaseException:
            # The rest of the body may still be on its way: a connection with unread bytes must not be used again.
            # One whose body was read to its end is in the pool again, and stays open.
            raw.drop()
            raise

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events.

        Each event must arrive within ``timeout_s`` seconds of the one before. Raises what `send` raises, and so does
        reading the events.
        """
        raw = self._open_response(request, timeout_s, self._headers.replace(STREAM_HEADERS))
        try:
            if not is_success(raw.status):
                self._read_response(raw, request)
            return _open_stream(raw, timeout_s)
        except BaseException:
            raw.drop()
            raise

    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer as they arrive, all within ``timeout_s`` seconds.

        Blank lines are left out. One line is in memory at a time, of 64 MiB at most. Closing the generator closes the
        connection. Raises what `send` raises.
        """
        raw = self._open_response(request, timeout_s, self._headers.replace({"Accept": "*/*"}))
        try:
            if not is_success(raw.status):
                self._read_response(raw, request)
            yield from split_lines(raw.iter_chunks())
        finally:
            # A connection whose body was read to its end is in the pool again, and stays open.
            raw.drop()

    def connect_early(self) -> None:
        """Connect in the background, for a request that is still being prepared: the next one waits for that."""
        self._pool.connect_early(_MAX_EARLY_S)

    def close(self) -> None:
        """Close all connections, also those in use, whose exchanges fail at once."""
        self._is_closed = True
        self._connections.close()

    def _open_response(self, request: HttpRequest, timeout_s: float, headers: _CommonHeaders) -> Answer:
        """Send the request and read the head of its answer.

        A kept connection that the server has closed fails within moments. The request is then sent once more with the
        time that is left, so that the deadline holds for both.
        """
        if self._is_closed:
            raise ConnectionAbortedError("this client has been closed")
        started = time.monotonic()
        try:
            return self._request(request, timeout_s, headers)
        except Exception as error:
            took_s = time.monotonic() - started
            # Only where the provider declares it, as local servers do: elsewhere a repeated request may cost money.
            if not (self._resends_stale and took_s < _STALE_WITHIN_S and is_stale(error)):
                raise
        return self._request(request, timeout_s - took_s, headers)

    def _request(self, request: HttpRequest, timeout_s: float, common: _CommonHeaders) -> Answer:
        body, framing = _open_body(request)
        outbox = Outbox()
        outbox.add(encode_first_line(request.method, self._resolve_target(request.path)))
        outbox.add(common.encode(request.headers, framing))
        try:
            return self._pool.exchange(request.method, outbox, body, timeout_s)
        except Exception as error:
            self._route.check_proxy_fault(error)
            raise

    def _resolve_target(self, path: str) -> str:
        """Return what the request line names: a path, or a whole address for a proxy."""
        if not path.startswith(("http://", "https://")):
            return self._target + path
        # A whole address, which an answer named: it must lead to the same server, to which alone the key may go.
        try:
            parts = urlsplit(path)
            origin = _read_origin(parts)
        except ValueError as error:
            raise ReplyError(f"the server refers to what is no address: {error}", hint="check base_url") from error
        if origin != _read_origin(urlsplit(self.base_url)):
            raise ReplyError(f"the server refers to another host: {parts.hostname!r}", hint="check base_url")
        target = urlsplit(self._target)
        prefix = f"{target.scheme}://{target.netloc}" if target.scheme else ""
        return prefix + parts.path + (f"?{parts.query}" if parts.query else "")

    def _read_response(self, raw: Answer, request: HttpRequest) -> HttpResponse:
        """Read the rest of an answer and decode it. Raises HttpError for a status other than 2xx."""
        headers = raw.fields
        if is_success(raw.status):
            content = read_body(raw.iter_chunks())
            if not content and request.is_answer_optional:
                return HttpResponse(status=raw.status, headers=headers)
            with suppress(ReplyError):
                return decode_response(raw.status, headers, content)
            if streamed := _read_events(raw.status, headers, content):
                return streamed
        else:
            content = read_beginning(raw.iter_chunks())
        # Some servers quote the key that they refuse. The variables are replaced, so that no traceback shows it.
        response = HttpResponse(status=raw.status, headers=headers, content=content[:MAX_KEPT_BYTES])
        del headers, content
        if is_success(raw.status):
            response = response.scrub(self._secrets.remove)
            raise build_not_json(response)
        response = decode_error(response, self._secrets.remove)
        raise HttpError(response)


def _open_connections(
    address: ServerAddress, base_url: str, route: Route, size: int
) -> tuple[_Connections, ClosingPoolMixin, str]:
    """Return what closes all connections, the pool that makes them, and the prefix of every request path.

    Raises ConfigurationError for a route that cannot be used.
    """
    if not route.proxy:
        pool = DirectPool(address, route.bundle, size)
        return pool, pool, address.path
    # Imported here: requests takes a quarter of the time that a script needs to start.
    from pollux_sync.wire.proxies import ProxyAdapter

    adapter = ProxyAdapter(pool_connections=4, pool_maxsize=size, max_retries=0)
    return adapter, *adapter.open_pool(base_url, route)


class _Connections(Protocol):
    """The connections of a client."""

    def close(self) -> None:
        """Close all of them, also those in use."""


class _CommonHeaders:
    """The header fields of every request of a client, encoded once. The class has no repr of them."""

    def __init__(self, fields: Mapping[str, str], lists: Collection[str] = ()) -> None:
        self._lists = lists
        self._fields = {name: value for name, value in fields.items() if name.lower() not in _FRAMING}
        self._encoded = encode_fields(self._fields)

    def replace(self, fields: Mapping[str, str]) -> _CommonHeaders:
        """Return these fields with others in place of those that have the same name."""
        return _CommonHeaders(merge_headers(self._fields, fields), self._lists)

    def encode(self, own: Mapping[str, str], framing: Mapping[str, str]) -> bytes:
        """Return them with those of one request and of its body, and the blank line after them."""
        # Names are compared only where a request has headers of its own, since that costs every call some time.
        if own:
            return encode_fields(merge_headers(self._fields, own, framing, lists=self._lists)) + b"\r\n"
        return self._encoded + encode_fields(framing) + b"\r\n"


class _Secrets:
    """Texts that no error may show. The class has no repr of them."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts

    def remove(self, text: str) -> str:
        """Return the text with each secret replaced."""
        for secret in self._texts:
            text = redact_secret(text, secret)
        return text


def open_client(
    config: ConfigValues,
    info: ProviderInfo,
    *,
    base_url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpClient:
    """Open the client that the declaration describes; ``base_url`` overrides those of config and declaration.

    ``headers`` go with every request, beside that of the key.
    """
    header, template = info.auth
    # A local server may want some key, whichever.
    key = SecretText(config.api_key or info.placeholder_key or "")
    auth = {header: SecretHeader(template.format(key=key))} if key else {}
    own = {name: SecretHeader(value) for name, value in config.headers.items()}
    return HttpClient(
        base_url or info.resolve_base_url(config.base_url),
        headers=merge_headers(headers or {}, auth, own),
        pool_size=max(config.request_concurrency, _MIN_POOL),
        resends_stale=info.resends_stale,
        proxy=config.proxy,
        ca_bundle=config.ca_bundle,
        list_headers=info.list_headers,
        secrets=config.secrets,
    )


def _open_body(request: HttpRequest) -> tuple[Iterable[bytes], dict[str, str]]:
    """Return the body of one attempt, and the headers that describe it."""
    if request.payload is not None:
        payload = request.payload
        return _iter_exactly(payload), {
            "Content-Type": payload.content_type,
            "Content-Length": str(payload.size_bytes),
        }
    pieces = request.split_content()
    if not pieces:
        return (), {"Content-Length": "0"}
    return pieces, {"Content-Type": "application/json", "Content-Length": str(sum(map(len, pieces)))}


def _iter_exactly(payload: Payload) -> Iterator[bytes]:
    """Yield a payload, whose length is sent ahead. Raises SourceError for one that has another length.

    On a connection that is kept, the server would take what is too much for the next request.
    """
    left = payload.size_bytes
    for chunk in payload.iter_chunks():
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise SourceError(
            f"the content to send is {'longer' if left < 0 else 'shorter'} than its {payload.size_bytes} bytes",
            hint="send it again, if it is a file that has changed just now",
        )


def _read_events(status: int, headers: dict[str, str], content: bytes) -> HttpResponse | None:
    # Imported here: no answer that is JSON needs it.
    from pollux_sync.wire.sse import read_events

    return read_events(status, headers, content)


def _open_stream(raw: Answer, timeout_s: float) -> EventStream:
    from pollux_sync.wire.streams import HttpStream

    response = HttpResponse(status=raw.status, headers=raw.fields)
    return HttpStream(response, raw, timeout_s).detect_format()


def _read_origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
