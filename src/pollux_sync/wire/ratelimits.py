"""The rate limits in the headers of an answer, in the forms of OpenAI and of the servers that follow it."""

from __future__ import annotations

import re
import time
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from pollux_sync.data.limits import Quota, RateLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.data.provider import HttpResponse

#: The units of Go's durations, such as 6m0s and 120ms: https://platform.openai.com/docs/guides/rate-limits
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_STEP = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
#: A number of seconds above it is a time in seconds since the epoch, one far above it in milliseconds.
_FIRST_TIME_S = 1_000_000_000.0
_FIRST_TIME_MS = 100_000_000_000.0


def read_rate_limits(response: HttpResponse) -> RateLimits | None:
    """Return the limits in headers such as ``x-ratelimit-remaining-tokens``; None without any."""
    headers = response.headers
    # Some servers have one quota, of requests, and do not say so.
    requests = read_quota(headers, "x-ratelimit-{}-requests") or read_quota(headers, "x-ratelimit-{}")
    tokens = read_quota(headers, "x-ratelimit-{}-tokens")
    return RateLimits(requests=requests, tokens=tokens) if requests or tokens else None


def read_quota(headers: Mapping[str, str], name: str) -> Quota | None:
    """Return the quota in three headers, None without it; ``name`` is theirs with {} for limit, remaining, reset.

    A reset is a number of seconds, a duration such as 6m0s, a time in seconds or milliseconds since the epoch, or a
    date of ISO 8601.
    """
    limit_name, remaining_name, reset_name = _list_names(name)
    limit, remaining = headers.get(limit_name), headers.get(remaining_name)
    if limit is None and remaining is None:
        return None
    reset_s = _read_seconds(headers.get(reset_name))
    return Quota(limit=_read_count(limit), remaining=_read_count(remaining), reset_s=reset_s)


# Cached, since every answer comes here, with one of a few names.
@lru_cache(maxsize=64)
def _list_names(name: str) -> tuple[str, str, str]:
    return name.format("limit"), name.format("remaining"), name.format("reset")


def _read_count(text: str | None) -> int | None:
    return int(float(text)) if text and _NUMBER.fullmatch(text) else None


def _read_seconds(text: str | None) -> float | None:
    if not text:
        return None
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _STEP.findall(text))
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value < _FIRST_TIME_S:
            return value
        return max(0.0, (value / 1000 if value >= _FIRST_TIME_MS else value) - time.time())
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except ValueError:
        return None
