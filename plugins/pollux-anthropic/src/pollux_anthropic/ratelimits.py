"""The rate limits in the headers of an answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.plugin import RateLimits, read_quota

if TYPE_CHECKING:
    from pollux_sync.plugin import HttpResponse

#: https://platform.claude.com/docs/en/api/rate-limits#response-headers (2026-11)
_HEADERS = {
    "requests": "anthropic-ratelimit-requests-{}",
    "tokens": "anthropic-ratelimit-tokens-{}",
    "input_tokens": "anthropic-ratelimit-input-tokens-{}",
    "output_tokens": "anthropic-ratelimit-output-tokens-{}",
}


def read_rate_limits(response: HttpResponse) -> RateLimits | None:
    """Return the limits that an answer reports, None if it reports none."""
    quotas = {kind: read_quota(response.headers, name) for kind, name in _HEADERS.items()}
    return RateLimits(**quotas) if any(quotas.values()) else None
