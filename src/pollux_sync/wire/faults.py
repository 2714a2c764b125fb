"""Exceptions and error answers of the wire, classified as `Fault`."""

from __future__ import annotations

import sys
import time
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.config import CA_BUNDLE_VARIABLES
from pollux_sync.errors import Fault, FaultKind
from pollux_sync.wire.errorbodies import (
    error_code,
    error_message,
    find_error,
    iter_reasons,
    iter_statuses,
    read_details,
    read_refused_answer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.provider import HttpResponse

#: Statuses after which the same request may succeed. 529 is Anthropic's "overloaded"; 409 is a lock time-out,
#: which the vendors' SDKs retry too; 520 to 527 and 530 are Cloudflare's, whose server behind it failed
#: (developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors).
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, *range(520, 528), 529, 530})

_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})

_KINDS: dict[int, FaultKind] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    408: "timeout",
    429: "rate_limit",
}
_HINTS = {
    404: "check the model's name and the base url",
    413: "send less at once: fewer or smaller sources",
    429: "lower request_concurrency or raise RetryPolicy's limits",
}
#: The statuses of errors inside a 200, by words in their code or type, else at the beginning of their message. A stream
#: that fails has sent its 200 already, so vendors send an event in its place: Anthropic's has the type
#: "overloaded_error", "api_error" or "timeout_error", Google's one of the names of google.rpc.Code.
_NAMED_STATUSES = {
    "overloaded": 529,
    "rate_limit": 429,
    "rate limit": 429,
    "too many requests": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 429,
    "throttling": 429,
    "server_error": 500,
    "server error": 500,
    "internalservererror": 500,
    "api_error": 500,
    "unavailable": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
}
#: How much of a message is searched for such words; a long one quotes what was sent.
_MAX_NAMING_CHARS = 100


class HttpError(Exception):
    """An error answer: a status other than 2xx, or an error inside a 200."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"HTTP {response.status}: {error_message(response.body)}")
        self.response = response

    # Exceptions are pickled by their arguments, which are the message here, not the response.
    def __reduce__(self) -> tuple[type[HttpError], tuple[HttpResponse]]:
        return type(self), (self.response,)


class StreamLimitError(TimeoutError):
    """A streamed answer went on beyond the time that the whole of it may take."""


class ProxyUnusableError(ConnectionError):
    """A proxy could not be reached, or does not connect to the server. ``setting`` is what names the proxy."""

    def __init__(self, address: str, setting: str) -> None:
        super().__init__(address, setting)
        self.address = address
        self.setting = setting

    def __str__(self) -> str:
        return f"the proxy {self.address} of {self.setting} cannot be used"


class ReplyError(Exception):
    """An answer that cannot be used: not JSON, cut off, too large, or without content."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool = False,
        response: HttpResponse | None = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.retryable = retryable
        self.response = response


class SizeLimitError(ReplyError):
    """An answer that is larger than the core reads."""


def check_answer(response: HttpResponse, key: str) -> None:
    """Check that the body of a successful answer is an object with ``key``, or without an error in its place.

    Raises ReplyError or HttpError.
    """
    body = response.body
    if isinstance(body, dict) and body.get(key) and not body.get("error"):
        return
    error = find_error(body)
    if error:
        raise HttpError(attrs.evolve(response, body=error))
    if not isinstance(body, dict):
        raise ReplyError(f"the answer is a JSON {type(body).__name__}, not an object", response=response)


def classify_error(error: Exception) -> Fault | None:
    """Return the fault behind ``error``, or None for an exception that does not come from the wire.

    Call it outside of the handler that caught ``error``: see `_iter_chain`.
    """
    if isinstance(error, HttpError):
        return _build_response_fault(error.response)
    if isinstance(error, StreamLimitError):
        # Not retryable: the server did answer, and would take as long again.
        return Fault(kind="timeout", message=str(error), hint="raise stream_timeout_s, or ask for a shorter answer")
    if isinstance(error, ReplyError):
        response = error.response
        return Fault(
            kind="malformed",
            message=str(error),
            hint=error.hint,
            retryable=error.retryable,
            status_code=response.status if response else None,
            request_id=response.request_id if response else None,
            unread_answer=response.content if response else None,
        )
    return _find_transport_fault(error)


def _build_response_fault(response: HttpResponse) -> Fault:
    status = _read_error_status(response)
    message = error_message(response.body)
    if status in _REDIRECTS:
        return _build_redirect_fault(response)
    code = error_code(response.body)
    kind: FaultKind = _KINDS.get(status, "capacity" if status >= 500 else "invalid_request")  # noqa: PLR2004
    # Google answers 400 to a wrong key: "API key not valid. Please pass a valid API key."
    if status == 400 and "api key" in message.lower():  # noqa: PLR2004
        kind = "auth"
    # Some servers answer 400 with the code "model_not_found".
    if status == 400 and "not_found" in code:  # noqa: PLR2004
        kind = "not_found"
    fault = Fault(
        kind=kind,
        message=f"{'error inside a 200' if status == 200 else f'status {status}'}: {message}",  # noqa: PLR2004
        retryable=status in RETRYABLE_STATUSES,
        status_code=status,
        retry_after_s=read_retry_after(response),
        request_id=response.request_id,
        hint=_HINTS.get(status),
        provider_code=code.partition(" ")[0] or None,
        unread_answer=read_refused_answer(response.body),
    )
    # Imported here: their patterns take some 8 ms to compile, and most scripts meet no error.
    from pollux_sync.wire.overflow import detect_overflow
    from pollux_sync.wire.wordings import read_wording

    worded = read_wording(fault, " ".join((code, *iter_reasons(response.body), message)))
    return detect_overflow(worded, response.body, code)


def _build_redirect_fault(response: HttpResponse) -> Fault:
    # Without the query, which may hold a signature or a token.
    target = response.headers.get("location", "an unnamed address").partition("?")[0]
    return Fault(
        kind="refused",
        message=f"status {response.status}: the server redirects to {target}; neither prompt nor key was sent there",
        status_code=response.status,
        request_id=response.request_id,
        hint="if you trust that address, set base_url to it",
    )


def _read_error_status(response: HttpResponse) -> int:
    """Return the status of an answer, or the one that an error inside a 200 names."""
    if response.status >= 300:  # noqa: PLR2004
        return response.status
    body = response.body
    texts = (error_code(body), error_message(body)[:_MAX_NAMING_CHARS])
    named = (status for text in texts if (status := _find_named_status(text)))
    return next(chain(iter_statuses(body), named), response.status)


def _find_named_status(text: str) -> int | None:
    lowered = text.lower()
    return next((status for word, status in _NAMED_STATUSES.items() if word in lowered), None)


def _find_transport_fault(error: Exception) -> Fault | None:
    # Libraries wrap the exception that names the reason, so the whole chain is searched and its end is shown.
    links = list(_iter_chain(error))
    detail = f"{type(links[-1]).__name__}: {links[-1]}"
    for types, fault in _list_transport_faults():
        if any(isinstance(link, types) for link in links):
            named = _name_proxy(fault, links)
            return attrs.evolve(named, message=f"{named.message} ({detail})")
    return None


def _name_proxy(fault: Fault, chain: list[BaseException]) -> Fault:
    """Return the fault with the proxy that it is about, if there is one."""
    proxy = next((link for link in chain if isinstance(link, ProxyUnusableError)), None)
    if proxy is None:
        return fault
    return attrs.evolve(
        fault,
        message=f"{fault.message} at the proxy {proxy.address} of {proxy.setting}",
        hint=f"check that the proxy runs, and {proxy.setting}; Config(proxy='') does without",
    )


def is_proxy_fault(error: Exception) -> bool:
    """Return whether a request through a proxy failed before the proxy had connected to the server."""
    from pollux_sync.wire.connections import NoConnectionError, NoConnectionInTimeError, TunnelError

    # Not urllib3's ProxyError: to it, an answer that breaks off is the proxy's fault too.
    kinds = (NoConnectionInTimeError, NoConnectionError, TunnelError)
    return any(isinstance(e, kinds) for e in _iter_chain(error, follows_context=False))


# Cached as a function, so that requests and urllib3 are imported only when something has failed.
@cache
def _list_transport_faults() -> tuple[tuple[tuple[type[BaseException], ...], Fault], ...]:
    """Return the faults of exceptions of requests, urllib3 and Python. The first row that matches wins."""
    from ssl import SSLError
    from zlib import error as zlib_error

    from requests import exceptions as r
    from urllib3 import exceptions as u

    from pollux_sync.wire import connections as own

    unreachable = (
        "check that the server runs, base_url, and the proxy (Config(proxy), HTTPS_PROXY, HTTP_PROXY, NO_PROXY)"
    )
    late = "raise Config(timeout_s=...), or check the load of the server"
    tls = f"check the certificate, and the bundle of Config(ca_bundle) or {', '.join(CA_BUNDLE_VARIABLES)}"
    broken = Fault(kind="connection", message="the connection failed", retryable=True, hint=unreachable)
    return (
        (
            (SSLError, r.SSLError, u.SSLError),
            Fault(kind="connection", message="TLS failed", hint=tls),
        ),
        # Before the time-outs: urllib3 derives it from ConnectTimeoutError although no time has run out.
        ((own.NoConnectionError, u.NewConnectionError), broken),
        (
            (own.NoConnectionInTimeError, r.ConnectTimeout, u.ConnectTimeoutError),
            Fault(kind="timeout", message="no connection within the time limit", retryable=True, hint=unreachable),
        ),
        (
            (TimeoutError, r.Timeout, u.TimeoutError),
            Fault(kind="timeout", message="no full answer within the time limit", retryable=True, hint=late),
        ),
        (
            (zlib_error, r.ContentDecodingError, u.DecodeError),
            Fault(kind="malformed", message="the answer cannot be decompressed", retryable=True),
        ),
        (
            (own.UnusableHostError, r.InvalidURL, u.LocationValueError),
            Fault(kind="invalid_request", message="the address cannot be used", hint="check base_url"),
        ),
        ((ConnectionError, r.ConnectionError, u.HTTPError), broken),
    )


def _iter_chain(error: BaseException, *, follows_context: bool = True) -> Iterator[BaseException]:
    """Yield the error and its causes, each once. Causes that were passed as arguments or as ``reason`` count too.

    The exception that the caller is handling does not count: everything that fails in a handler has it as context.
    """
    handled = sys.exception()
    # A chain can be circular, since any exception may be set as a cause.
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        # requests and urllib3 pass the cause this way, and do not always chain it.
        wrapped = getattr(current, "reason", None) or next(
            (arg for arg in current.args if isinstance(arg, BaseException)), None
        )
        context = current.__context__ if follows_context and current.__context__ is not handled else None
        current = wrapped if isinstance(wrapped, BaseException) else current.__cause__ or context


def is_stale(error: Exception) -> bool:
    """Return whether a reused connection was closed before any byte of the answer arrived."""
    from pollux_sync.wire.connections import StaleConnectionError

    # urllib3 passes it as an argument. A context may be an earlier request's, whose failure is being handled.
    return any(isinstance(e, StaleConnectionError) for e in _iter_chain(error, follows_context=False))


def read_retry_after(response: HttpResponse) -> float | None:
    """Return the seconds that the server asks to wait, or None if it does not ask.

    Read in this order: the header ``retry-after-ms``, the header ``retry-after`` in seconds or as a date,
    Google's RetryInfo.
    """
    headers = response.headers
    milliseconds = _parse_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _parse_number(value)
    if seconds is None and value:
        seconds = _parse_date(value)
    return seconds if seconds is not None else _read_retry_info(response.body)


def _parse_number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    # float() also accepts "nan", "inf" and negative numbers, none of which can be waited for.
    return number if number is not None and 0 <= number < float("inf") else None


def _parse_date(date: str) -> float | None:
    # Imported here: few servers write a date.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _read_retry_info(body: Any) -> float | None:
    """Return the seconds in Google's RetryInfo, ``error.details[].retryDelay``, such as "8.35s"; None without one."""
    for detail in read_details(body):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return _parse_number(delay[:-1])
    return None
