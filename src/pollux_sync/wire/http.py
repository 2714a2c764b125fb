"""HTTP exchanges without redirects, netrc, cookies or hidden retries, each with one deadline.

The client asks requests' adapter once for proxies and TLS settings. Requests then go straight to the adapter's
connections, which costs less than half the CPU of ``Session.post``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.util import Retry, Timeout

from pollux_sync._version import VERSION
from pollux_sync.data.config import CA_BUNDLE_VARIABLES, REDACTED
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.bodies import decode_response, is_success, read_body
from pollux_sync.wire.connections import POOL_CLASSES
from pollux_sync.wire.faults import HttpError, is_stale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import BaseHTTPResponse

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, ProviderInfo
    from pollux_sync.data.streaming import EventStream

#: The least number of connections kept per host: calls of several threads may share one client.
_MIN_POOL = 16
#: A connection that was closed before the request fails at once. One that fails later may have carried the request to
#: the server, and sending that again could cost money.
_STALE_WITHIN_S = 0.5
_CHUNK_BYTES = 64 * 1024
#: Ask for events without compression: a compressor holds small events back until its block is full.
STREAM_HEADERS = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
#: urllib3 retries by default. The engine owns retries, so that the ledger of attempts is complete.
_NO_RETRIES = Retry(0, read=False)


class SecretHeader(str):
    """A header value that does not show in reprs or in the locals of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{REDACTED}'"


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that keep deadlines."""

    # Direct connections and those through a proxy come from different managers; both need our pools.

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager

    def close(self) -> None:
        # PoolManager.clear, which requests calls, drops the pools without closing connections in use.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - its own container, which does not iterate
                manager.pools[key].close()
        super().close()

    def resolve_route(self, base_url: str) -> tuple[HTTPConnectionPool, str]:
        """Return the connection pool for ``base_url``, and the prefix of every request path.

        Proxies and the CA bundle come from the environment, as requests reads it.
        """
        proxies = get_environ_proxies(base_url)
        # requests reads these variables in its Session, which is not used here.
        verify = next(filter(None, map(os.environ.get, CA_BUNDLE_VARIABLES)), True)
        request = PreparedRequest()
        request.prepare_url(base_url, {})
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies=proxies)
        self.cert_verify(pool, base_url, verify, None)  # type: ignore[no-untyped-call]
        return pool, self.request_url(request, proxies).rstrip("/")


class HttpClient:
    """Sends requests to one base url; many threads may use it at once.

    ``headers`` go with every request; hand the key over as a `SecretHeader`. Proxies and the CA bundle
    are read from the environment once. ``pool_size`` connections are kept per host. With ``resends_stale`` a request is
    sent once more if a kept connection was closed before any byte of the answer arrived.
    """

    def __init__(
        self, base_url: str, *, headers: Mapping[str, str], pool_size: int = 10, resends_stale: bool = False
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": f"pollux-sync/{VERSION}", "Accept": "application/json"}
        self._headers |= {"Accept-Encoding": "gzip, deflate"} | dict(headers)
        self._resends_stale = resends_stale
        self._is_closed = False
        self._adapter = _Adapter(pool_connections=4, pool_maxsize=pool_size, max_retries=0)
        self._pool, self._target = self._adapter.resolve_route(self._base_url)

    def __repr__(self) -> str:
        return f"HttpClient({self._base_url!r})"

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer, within ``timeout_s`` seconds from connecting to the last byte.

        Raises HttpError for a status other than 2xx, ReplyError for a body that is not JSON, and
        requests' and urllib3's exceptions for the rest; `faults.classify_error` reads them all.
        """
        raw = self._open_response(request, timeout_s, self._headers)
        try:
            content = read_body(_iter_chunks(raw))
        except BaseException:
            # The rest of the body is still on its way: a connection with unread bytes must not be used again.
            raw.close()
            raise
        response = decode_response(raw.status, _read_headers(raw), content)
        if not is_success(response.status):
            raise HttpError(response)
        return response

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events.

        Each event must arrive within ``timeout_s`` seconds of the one before. Raises what `send` raises, and so does
        reading the events.
        """
        raw = self._open_response(request, timeout_s, self._headers | STREAM_HEADERS)
        try:
            return _open_stream(raw, timeout_s)
        except BaseException:
            raw.close()
            raise

    def close(self) -> None:
        """Close all connections, also those in use, whose exchanges fail at once."""
        self._is_closed = True
        self._adapter.close()

    def _open_response(self, request: HttpRequest, timeout_s: float, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Send the request and read the head of its answer.

        A kept connection that the server has closed fails within moments. The request is then sent once more with the
        time that is left, so that the deadline holds for both.
        """
        if self._is_closed:
            raise ConnectionAbortedError("this client has been closed")
        body = request.content
        started = time.monotonic()
        try:
            return self._request(request, body, timeout_s, headers)
        except Exception as error:
            took_s = time.monotonic() - started
            # Only where the provider declares it, as local servers do: elsewhere a repeated request may cost money.
            if not (self._resends_stale and took_s < _STALE_WITHIN_S and is_stale(error)):
                raise
        return self._request(request, body, timeout_s - took_s, headers)

    def _request(
        self, request: HttpRequest, body: bytes | None, timeout_s: float, common: Mapping[str, str]
    ) -> BaseHTTPResponse:
        headers = {**common, **request.headers, "Content-Length": str(len(body or b""))}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._pool.urlopen(
            request.method,
            self._target + request.path,
            body=body,
            headers=headers,
            timeout=Timeout(connect=timeout_s, read=timeout_s),
            retries=_NO_RETRIES,
            # A redirect would carry prompt and key to an address that the user has not named.
            redirect=False,
            # The path may be a whole address, for a proxy.
            assert_same_host=False,
            # Read later, in chunks and within limits.
            preload_content=False,
            decode_content=False,
        )


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
    key = config.api_key or info.placeholder_key
    return HttpClient(
        base_url or config.base_url or info.base_url or "",
        headers=dict(headers or {}) | ({header: SecretHeader(template.format(key=key))} if key else {}),
        pool_size=max(config.request_concurrency, _MIN_POOL),
        resends_stale=info.resends_stale,
    )


def _open_stream(raw: BaseHTTPResponse, timeout_s: float) -> EventStream:
    from pollux_sync.wire.streams import HttpStream

    if is_success(raw.status):
        response = HttpResponse(status=raw.status, headers=_read_headers(raw))
        return HttpStream(response, raw, timeout_s).detect_format()
    raise HttpError(decode_response(raw.status, _read_headers(raw), read_body(_iter_chunks(raw))))


def _read_headers(raw: BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in raw.headers.items()}


def _iter_chunks(raw: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the decoded body in chunks as they arrive."""
    # A plain body of known length is at its end without one more read, which would cost a call into urllib3.
    is_plain = "content-encoding" not in raw.headers
    while chunk := raw.read(_CHUNK_BYTES, decode_content=True):
        yield chunk
        if is_plain and raw.length_remaining == 0:
            return
