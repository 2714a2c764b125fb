"""One HTTP exchange, honestly: no redirects, no netrc, no cookies, no hidden retries, one deadline.

requests' adapter finds the way once (proxies, TLS); the requests then go straight to its connections, which
costs less than half of ``Session.post``.
"""

from __future__ import annotations

import json
import os
import time
from math import inf
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.util import Retry, Timeout

from pollux_sync._version import VERSION
from pollux_sync.data.config import REDACTED
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.connections import POOL_CLASSES
from pollux_sync.wire.faults import HttpError, ReplyError, is_stale

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import BaseHTTPResponse

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, ProviderInfo
    from pollux_sync.data.streaming import EventStream

#: No answer of a model comes near this; more is a mistake or an attack (a gzip bomb).
MAX_BODY_BYTES = 64 * 1024 * 1024
#: Connections kept per host at the least, whatever one call's concurrency: several calls may share a client.
_MIN_POOL = 16
#: A connection that was closed before the request fails at once; one that fails later failed over the request.
_STALE_WITHIN_S = 0.5
_CHUNK_BYTES = 64 * 1024
_MAX_TEXT = 2000
#: They ask for events; compression would hold these back.
STREAM_HEADERS = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
_NO_RETRIES = Retry(0, read=False)
#: Where requests looks for trusted certificates, in this order.
_CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class SecretHeader(str):
    """A header's value that does not show in reprs and printed locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{REDACTED}'"


class _Adapter(HTTPAdapter):
    """requests' adapter, its connections with deadlines."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager

    def close(self) -> None:
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - its own container, which does not iterate
                manager.pools[key].close()
        super().close()

    def way_to(self, base_url: str) -> tuple[HTTPConnectionPool, str]:
        """The connections that lead to ``base_url``, and what stands before a path there.

        Proxies and the CA bundle are those of the environment, as requests reads them.
        """
        proxies = get_environ_proxies(base_url)
        verify = next(filter(None, map(os.environ.get, _CA_BUNDLES)), True)
        request = PreparedRequest()
        request.prepare_url(base_url, {})
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies=proxies)
        self.cert_verify(pool, base_url, verify, None)  # type: ignore[no-untyped-call]
        return pool, self.request_url(request, proxies).rstrip("/")


class HttpClient:
    """Sends requests to one base url; many threads may use it at once.

    ``headers`` go with every request; hand the key over as a `SecretHeader`. Proxies and the CA bundle
    are read from the environment once. ``pool_size`` connections are kept per host. ``resends_stale``
    sends a request once more when a kept connection proves closed before any byte of the answer.
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
        self._pool, self._target = self._adapter.way_to(self._base_url)

    def __repr__(self) -> str:
        return f"HttpClient({self._base_url!r})"

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange, within ``timeout_s`` seconds from the connection's first byte to the answer's last.

        Raises HttpError for a status other than 2xx, ReplyError for a body that is not JSON, and
        requests' and urllib3's exceptions for the rest; `faults.classify` knows them all.
        """
        raw = self._begun(request, timeout_s, self._headers)
        try:
            content = whole_body(_pieces(raw))
        except BaseException:
            raw.close()
            raise
        response = read_answer(raw.status, _fields(raw), content)
        if not _is_success(response.status):
            raise HttpError(response)
        return response

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """An exchange whose answer comes as server-sent events, each within ``timeout_s`` seconds of the one before.

        Raises what `send` raises; so does reading the events.
        """
        raw = self._begun(request, timeout_s, self._headers | STREAM_HEADERS)
        try:
            return _streamed(raw, timeout_s)
        except BaseException:
            raw.close()
            raise

    def close(self) -> None:
        """Close all connections, those in use too: their exchanges fail at once."""
        self._is_closed = True
        self._adapter.close()

    def _begun(self, request: HttpRequest, timeout_s: float, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The answer, its head read."""
        if self._is_closed:
            raise ConnectionAbortedError("this client has been closed")
        body = request.content
        started = time.monotonic()
        try:
            return self._asked(request, body, timeout_s, headers)
        except Exception as error:
            took_s = time.monotonic() - started
            if not (self._resends_stale and took_s < _STALE_WITHIN_S and is_stale(error)):
                raise
        return self._asked(request, body, timeout_s - took_s, headers)

    def _asked(
        self, request: HttpRequest, body: bytes | None, timeout_s: float, given: Mapping[str, str]
    ) -> BaseHTTPResponse:
        headers = {**given, **request.headers, "Content-Length": str(len(body or b""))}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._pool.urlopen(
            request.method,
            self._target + request.path,
            body=body,
            headers=headers,
            timeout=Timeout(connect=timeout_s, read=timeout_s),
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
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
    """The client that the declaration describes; ``base_url`` goes before those of config and declaration.

    ``headers`` go with every request, beside that of the key.
    """
    header, template = info.auth
    key = config.api_key or info.placeholder_key
    return HttpClient(
        base_url or config.base_url or info.base_url or "",
        headers=dict(headers or {}) | ({header: SecretHeader(template.format(key=key))} if key else {}),
        pool_size=max(config.request_concurrency, _MIN_POOL),
        resends_stale=info.resends_stale,
    )


def _streamed(raw: BaseHTTPResponse, timeout_s: float) -> EventStream:
    from pollux_sync.wire.streams import HttpStream

    if _is_success(raw.status):
        return HttpStream(HttpResponse(status=raw.status, headers=_fields(raw)), raw, timeout_s).told()
    raise HttpError(read_answer(raw.status, _fields(raw), whole_body(_pieces(raw))))


def _fields(raw: BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in raw.headers.items()}


def _pieces(raw: BaseHTTPResponse) -> Iterator[bytes]:
    """The decoded body as it comes."""
    is_plain = "content-encoding" not in raw.headers
    while piece := raw.read(_CHUNK_BYTES, decode_content=True):
        yield piece
        if is_plain and raw.length_remaining == 0:
            return


def whole_body(pieces: Iterable[bytes], *, deadline: float = inf) -> bytes:
    """The pieces of a body as one. Raises ReplyError as soon as they grow past `MAX_BODY_BYTES`.

    ``deadline`` is a reading of `time.monotonic` after which no piece may come: TimeoutError.
    """
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise ReplyError(f"the answer is larger than {MAX_BODY_BYTES} bytes", hint="check what is behind base_url")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer did not end within the time limit")
        parts.append(piece)
    return b"".join(parts)


def read_answer(status: int, headers: dict[str, str], content: bytes) -> HttpResponse:
    """An answer with its body decoded; a failed one's may be the beginning of a text.

    Raises ReplyError for a success that is not JSON.
    """
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        if _is_success(status):
            raise _not_json(HttpResponse(status=status, headers=headers), content) from None
        body = content[: _MAX_TEXT * 2].decode("utf-8", "replace")[:_MAX_TEXT]
    return HttpResponse(status=status, headers=headers, body=body)


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _not_json(response: HttpResponse, content: bytes) -> ReplyError:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    if not content.strip():
        return ReplyError("the answer is empty", retryable=True, response=response)
    if media_type and "json" not in media_type:
        return ReplyError(
            f"the answer is {media_type}, not JSON",
            hint="check base_url: does it end in /v1?",
            response=response,
        )
    return ReplyError("the answer is not valid JSON, perhaps cut off", retryable=True, response=response)
