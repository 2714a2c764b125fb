"""Exception -> ErrorInfo: whether trying again may help. Types and status decide before text.

A number in a text proves little: "the answer has 429 tokens" is no refusal for the rate. So the text is read last, and
only of exceptions that say nothing by their type or their status.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from pollux_batch.data.categories import ErrorCategory, ErrorClassifier, ErrorInfo
from pollux_batch.errors import (
    BatchAbortedError,
    EmptyResponseError,
    FrameworkTimeoutError,
    ItemDeadlineExceeded,
    MiddlewareContractError,
    QuotaScopeError,
    RateLimitRetriesExceeded,
    StrategyPrepareError,
    TokenEstimationError,
)
from pollux_sync.errors import APIError, PolluxError
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DefaultErrorClassifier", "ErrorCategory", "ErrorClassifier", "ErrorInfo", "PolluxErrorClassifier"]

_C = ErrorCategory
#: Our own errors, the more special ones first.
_OWN: tuple[tuple[type[Exception], ErrorInfo], ...] = (
    (FrameworkTimeoutError, ErrorInfo(is_retryable=True, is_timeout=True, error_category=_C.FRAMEWORK_TIMEOUT)),
    (
        ItemDeadlineExceeded,
        ErrorInfo(is_retryable=False, is_timeout=True, error_category=_C.FRAMEWORK_TOTAL_ITEM_TIMEOUT),
    ),
    (EmptyResponseError, ErrorInfo(is_retryable=False, error_category=_C.EMPTY_RESPONSE)),
    (RateLimitRetriesExceeded, ErrorInfo(is_retryable=False, error_category=_C.RATE_LIMIT_RETRIES_EXCEEDED)),
    (TokenEstimationError, ErrorInfo(is_retryable=False, error_category=_C.TOKEN_ESTIMATION_ERROR)),
    (QuotaScopeError, ErrorInfo(is_retryable=False, error_category=_C.QUOTA_SCOPE_ERROR)),
    (MiddlewareContractError, ErrorInfo(is_retryable=False, error_category=_C.MIDDLEWARE_CONTRACT_ERROR)),
    (BatchAbortedError, ErrorInfo(is_retryable=False, error_category=_C.BATCH_ABORTED)),
    (AnswerMismatch, ErrorInfo(is_retryable=True, error_category=_C.VALIDATION_ERROR)),
    (json.JSONDecodeError, ErrorInfo(is_retryable=True, error_category=_C.VALIDATION_ERROR)),
)
#: The kinds of the core's failures. Whether one is tried again, the core has decided by then.
_KINDS: dict[str, ErrorCategory] = {
    "auth": _C.AUTHENTICATION,
    "rate_limit": _C.RATE_LIMIT,
    "quota": _C.QUOTA_EXHAUSTED,
    "capacity": _C.SERVER_OVERLOAD,
    "context_overflow": _C.CLIENT_ERROR,
    "invalid_request": _C.CLIENT_ERROR,
    "not_found": _C.CLIENT_ERROR,
    "cache_missing": _C.CLIENT_ERROR,
    "timeout": _C.API_TIMEOUT,
    "connection": _C.CONNECTION_ERROR,
    "empty": _C.EMPTY_RESPONSE,
}
#: Statuses with a category of their own, whatever else is known.
_STATUSES: dict[int, ErrorCategory] = {
    401: _C.AUTHENTICATION,
    402: _C.INSUFFICIENT_BALANCE,
    403: _C.PERMISSION_DENIED,
    408: _C.TIMEOUT,
    429: _C.RATE_LIMIT,
    503: _C.SERVER_OVERLOAD,
    504: _C.SERVER_TIMEOUT,
    529: _C.SERVER_OVERLOAD,
}
_RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_TOO_MANY = 429
_TIMEOUTS = frozenset({_C.TIMEOUT, _C.SERVER_TIMEOUT, _C.API_TIMEOUT})
_HINTS: dict[str, str] = {
    _C.INSUFFICIENT_BALANCE: "add credit to the account of the key",
    _C.AUTHENTICATION: "check the API key",
    _C.PERMISSION_DENIED: "check what the API key may use",
    _C.QUOTA_EXHAUSTED: "raise the quota of the account, or wait until it begins anew",
}
#: Mistakes in a program, which the same call makes again.
_LOGIC_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)
#: What the types of exceptions say, by a word in their name or by a base; the first that fits holds.
_BY_TYPE: tuple[tuple[str, tuple[type[Exception], ...], ErrorInfo], ...] = (
    ("validation", (), ErrorInfo(is_retryable=True, error_category=_C.VALIDATION_ERROR)),
    ("parse", (), ErrorInfo(is_retryable=True, error_category=_C.VALIDATION_ERROR)),
    ("timeout", (TimeoutError,), ErrorInfo(is_retryable=True, is_timeout=True, error_category=_C.API_TIMEOUT)),
    ("connect", (ConnectionError,), ErrorInfo(is_retryable=True, error_category=_C.CONNECTION_ERROR)),
    ("network", (OSError,), ErrorInfo(is_retryable=True, error_category=_C.NETWORK_ERROR)),
    # What else the core raises says that the call cannot work.
    ("", (*_LOGIC_ERRORS, PolluxError), ErrorInfo(is_retryable=False, error_category=_C.LOGIC_ERROR)),
)
_USED_UP = re.compile(r"insufficient_quota|quota.{0,40}(per|a) ?day|daily.{0,20}quota|billing", re.IGNORECASE)
_RATE_TEXT = re.compile(r"\b429\b|resource_exhausted|quota|rate.?limit|too many requests", re.IGNORECASE)


class PolluxErrorClassifier:
    """Knows the failures of the core, and others by their type and their status. It reads no texts."""

    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what is known of an exception."""
        return _classify_facts(exception) or ErrorInfo(is_retryable=True)


class DefaultErrorClassifier:
    """Goes by the type and the status of an exception, and by its text where they say nothing."""

    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what is known of an exception."""
        return _classify_facts(exception) or _classify_text(exception) or ErrorInfo(is_retryable=True)


def _classify_facts(exception: Exception) -> ErrorInfo | None:
    if isinstance(exception, APIError):
        return _classify_fault(exception)
    for kind, info in _OWN:
        if isinstance(exception, kind):
            return info
    if isinstance(exception, StrategyPrepareError) and isinstance(exception.__cause__, Exception):
        return _classify_facts(exception.__cause__)
    if type(exception).__module__ == "builtins" and isinstance(exception, _LOGIC_ERRORS):
        return ErrorInfo(is_retryable=False, error_category=_C.LOGIC_ERROR)
    status = _read_status(exception)
    return _classify_status(exception, status) if status is not None else _classify_type(exception)


def _classify_fault(error: APIError) -> ErrorInfo:
    category = _KINDS.get(error.kind)
    if category is None:
        is_server = error.status_code is not None and error.status_code >= 500  # noqa: PLR2004 - HTTP's own
        category = _C.SERVER_ERROR if is_server else _C.API_ERROR
    elif error.status_code in {401, 402, 403} and error.kind in {"auth", "quota"}:
        category = _STATUSES[error.status_code]
    return ErrorInfo(
        is_retryable=error.retryable,
        is_rate_limit=error.kind == "rate_limit" and error.retryable,
        is_timeout=error.kind == "timeout",
        error_category=category,
        suggested_wait=error.retry_after_s,
        hint=error.hint or _HINTS.get(category),
    )


def _classify_status(exception: Exception, status: int) -> ErrorInfo:
    category = _STATUSES.get(status, _C.SERVER_ERROR if status >= 500 else _C.CLIENT_ERROR)  # noqa: PLR2004
    if status == _TOO_MANY and _is_used_up(exception):
        category = _C.QUOTA_EXHAUSTED
    is_retryable = status in _RETRYABLE_STATUSES and category != _C.QUOTA_EXHAUSTED
    return ErrorInfo(
        is_retryable=is_retryable,
        is_rate_limit=status == _TOO_MANY and is_retryable,
        is_timeout=category in _TIMEOUTS,
        error_category=category,
        suggested_wait=_read_wait(exception) if is_retryable else None,
        hint=_HINTS.get(category),
    )


def _classify_type(exception: Exception) -> ErrorInfo | None:
    name = type(exception).__name__.lower()
    if "ratelimit" in name:
        return _build_rate_limit(exception)
    for word, kinds, info in _BY_TYPE:
        if isinstance(exception, kinds) or (word and word in name):
            return info
    return None


def _classify_text(exception: Exception) -> ErrorInfo | None:
    text = str(exception)
    if not _RATE_TEXT.search(text):
        return None
    if _USED_UP.search(text):
        return ErrorInfo(is_retryable=False, error_category=_C.QUOTA_EXHAUSTED, hint=_HINTS[_C.QUOTA_EXHAUSTED])
    return _build_rate_limit(exception)


def _build_rate_limit(exception: Exception) -> ErrorInfo:
    wait_s = _read_wait(exception)
    return ErrorInfo(is_retryable=True, is_rate_limit=True, error_category=_C.RATE_LIMIT, suggested_wait=wait_s)


def _is_used_up(exception: Exception) -> bool:
    """Return whether a refusal says that the quota is used up, so that no short wait helps."""
    return bool(_USED_UP.search(f"{getattr(exception, 'code', '')} {exception}"))


def _read_status(exception: Exception) -> int | None:
    """Return the HTTP status that an exception of any vendor carries, None without one."""
    response = getattr(exception, "response", None)
    for owner, name in (
        (exception, "status_code"),
        (exception, "status"),
        (exception, "code"),
        (response, "status_code"),
        (response, "status"),
    ):
        value = getattr(owner, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:  # noqa: PLR2004
            return value
    return None


def _read_wait(exception: Exception) -> float | None:
    """Return the seconds that a refusal asks for, None if it names none."""
    for name in ("retry_after_s", "retry_after"):
        wait_s = _to_seconds(getattr(exception, name, None))
        if wait_s is not None:
            return wait_s
    headers: Any = getattr(getattr(exception, "response", None), "headers", None)
    return None if headers is None else _read_header(headers)


def _read_header(headers: Mapping[str, Any]) -> float | None:
    lower = {str(name).lower(): value for name, value in headers.items()}
    milliseconds = _to_seconds(lower.get("retry-after-ms"))
    return _to_seconds(lower.get("retry-after")) if milliseconds is None else milliseconds / 1000


def _to_seconds(value: object) -> float | None:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
