"""What went wrong on the wire, and what it means: from an exception to a `Fault`."""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.errors import Fault, FaultKind
from pollux_sync.wire.overflow import detect_overflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.data.provider import HttpResponse

#: Statuses after which the same request may succeed.
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})

_KINDS: dict[int, FaultKind] = {
    401: "auth",
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
#: What the codes and types of errors inside a 200 mean as a status.
_NAMED_STATUSES = {
    "overloaded": 529,
    "rate_limit": 429,
    "server_error": 500,
    "api_error": 500,
    "unavailable": 503,
    "timeout_error": 504,
}


class HttpError(Exception):
    """An answer that is an error: a status other than 2xx, or an error inside a 200."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"HTTP {response.status}: {error_message(response.body)}")
        self.response = response

    def __reduce__(self) -> tuple[type[HttpError], tuple[HttpResponse]]:
        return type(self), (self.response,)


class ReplyError(Exception):
    """An answer that is not what was promised: no JSON, cut off, too large, without content."""

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


def classify_error(error: Exception) -> Fault | None:
    """The fault behind ``error``; None when it is nothing the wire knows."""
    if isinstance(error, HttpError):
        return _build_response_fault(error.response)
    if isinstance(error, ReplyError):
        status, request_id = (error.response.status, error.response.request_id) if error.response else (None, None)
        return Fault(
            kind="malformed",
            message=str(error),
            hint=error.hint,
            retryable=error.retryable,
            status_code=status,
            request_id=request_id,
        )
    return _find_transport_fault(error)


def _build_response_fault(response: HttpResponse) -> Fault:
    status = _read_error_status(response)
    message = error_message(response.body)
    if status in _REDIRECTS:
        return _build_redirect_fault(response)
    kind: FaultKind = _KINDS.get(status, "capacity" if status >= 500 else "invalid_request")  # noqa: PLR2004
    if status == 400 and "api key" in message.lower():  # noqa: PLR2004
        kind = "auth"
    if status == 400 and "not_found" in error_code(response.body):  # noqa: PLR2004
        kind = "not_found"
    fault = Fault(
        kind=kind,
        message=f"{'error inside a 200' if status == 200 else f'status {status}'}: {message}",  # noqa: PLR2004
        retryable=status in RETRYABLE_STATUSES,
        status_code=status,
        retry_after_s=read_retry_after(response),
        request_id=response.request_id,
        hint=_HINTS.get(status),
    )
    return detect_overflow(fault, response.body, error_code(response.body))


def _build_redirect_fault(response: HttpResponse) -> Fault:
    target = response.headers.get("location", "an unnamed address").partition("?")[0]
    return Fault(
        kind="refused",
        message=f"status {response.status}: the server redirects to {target}; neither prompt nor key were sent there",
        status_code=response.status,
        request_id=response.request_id,
        hint="if you trust that address, set base_url to it",
    )


def _read_error_status(response: HttpResponse) -> int:
    """The status, or the one that an error inside a 200 names."""
    if response.status >= 300:  # noqa: PLR2004
        return response.status
    error = response.body.get("error") if isinstance(response.body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:  # noqa: PLR2004
        return code
    named = error_code(response.body).lower()
    return next((status for word, status in _NAMED_STATUSES.items() if word in named), response.status)


def _find_transport_fault(error: Exception) -> Fault | None:
    chain = list(_iter_chain(error))
    detail = f"{type(chain[-1]).__name__}: {chain[-1]}"
    for types, fault in _list_transport_faults():
        if any(isinstance(link, types) for link in chain):
            return attrs.evolve(fault, message=f"{fault.message} ({detail})")
    return None


@cache
def _list_transport_faults() -> tuple[tuple[tuple[type[BaseException], ...], Fault], ...]:
    """What exceptions of requests, urllib3 and Python mean; the first row that matches wins."""
    from requests import exceptions as r
    from urllib3 import exceptions as u

    unreachable = "check that the server runs, base_url, and the proxy settings"
    late = "raise Config(timeout_s=...), or look at what keeps the server busy"
    tls = "check the certificate and REQUESTS_CA_BUNDLE"
    broken = Fault(kind="connection", message="the connection failed", retryable=True, hint=unreachable)
    return (
        ((r.SSLError, u.SSLError), Fault(kind="connection", message="TLS failed", hint=tls)),
        ((u.NewConnectionError,), broken),  # a time-out by its ancestry only
        (
            (r.ConnectTimeout, u.ConnectTimeoutError),
            Fault(kind="timeout", message="no connection within the time limit", retryable=True, hint=unreachable),
        ),
        (
            (TimeoutError, r.Timeout, u.TimeoutError),
            Fault(kind="timeout", message="no full answer within the time limit", retryable=True, hint=late),
        ),
        (
            (r.ContentDecodingError, u.DecodeError),
            Fault(kind="malformed", message="the answer cannot be decompressed", retryable=True),
        ),
        (
            (r.InvalidURL, u.LocationValueError),
            Fault(kind="invalid_request", message="not a usable address", hint="check base_url"),
        ),
        ((ConnectionError, r.ConnectionError, u.HTTPError), broken),
    )


def _iter_chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, each once; causes that were passed as arguments count too."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        wrapped = getattr(current, "reason", None) or next(
            (arg for arg in current.args if isinstance(arg, BaseException)), None
        )
        current = wrapped if isinstance(wrapped, BaseException) else current.__cause__ or current.__context__


def is_stale(error: Exception) -> bool:
    """Whether a reused connection had been closed before any byte of the answer came."""
    from pollux_sync.wire.connections import StaleConnectionError

    return any(isinstance(e, StaleConnectionError) for e in _iter_chain(error))


def error_message(body: Any) -> str:
    """The most telling sentence of an error body, whatever its shape."""
    if isinstance(body, list) and body:
        return error_message(body[0])
    if isinstance(body, dict):
        nested = next((body[key] for key in ("error", "message", "detail", "msg", "errors") if body.get(key)), None)
        upstream = _read_upstream_message(body)
        return upstream or (error_message(nested) if nested is not None else str(body or "no details"))
    text = str(body or "").strip()
    if text.lower().startswith(("<!doctype", "<html")):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return f"an HTML page{f' titled {title[1].strip()!r}' if title else ''}"
    return text or "no details"


def _read_upstream_message(error: Mapping[str, Any]) -> str | None:
    """A gateway's word on who failed behind it: ``metadata.provider_name`` and ``metadata.raw``."""
    metadata = error.get("metadata")
    if not isinstance(metadata, dict):
        return None
    raw = metadata.get("raw")
    raw = raw.strip() if isinstance(raw, str) else raw
    if not raw or not isinstance(raw, str | dict):
        return None
    return f"{metadata.get('provider_name') or 'upstream'}: {error_message(_parse_json(raw))}"


def _parse_json(raw: str | dict[str, Any]) -> Any:
    """An error body that came as text; the text where it is no JSON object or list."""
    try:
        parsed = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        return raw
    return parsed if isinstance(parsed, dict | list) else raw


def error_code(body: Any) -> str:
    """The machine-readable code or type of an error body, "" without one."""
    error = body.get("error", body) if isinstance(body, dict) else {}
    found = (error.get(key) for key in ("code", "type", "status")) if isinstance(error, dict) else ()
    return " ".join(value for value in found if isinstance(value, str))


def read_retry_after(response: HttpResponse) -> float | None:
    """Seconds that the server asks to wait, from any of the known forms; None if it does not say."""
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
    return number if number is not None and 0 <= number < float("inf") else None


def _parse_date(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _read_retry_info(body: Any) -> float | None:
    """Google's RetryInfo: ``error.details[].retryDelay``, e.g. "8.35s"."""
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return _parse_number(delay[:-1])
    return None
