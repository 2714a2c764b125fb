"""Context caches: the requests about them, and what Gemini tells of them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from pollux_gemini.encoding import encode, qualify_model
from pollux_gemini.parts import is_url_context
from pollux_sync.data.handles import RemoteCache
from pollux_sync.data.provider import HttpRequest
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.faults import HttpError, ReplyError, classify_error
from pollux_sync.wire.fields import read_count

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.request import Call
    from pollux_sync.errors import Fault

PATH = "/cachedContents"
#: What a request keeps, by the names that both kinds of request share.
_CACHED_FIELDS = ("contents", "systemInstruction", "tools")
#: Gemini answers 403 or 404 to a cache that is gone, and to one of another account.
_GONE_MESSAGE = re.compile(r"cached ?content.*not found", re.IGNORECASE | re.DOTALL)


def build_create_request(call: Call, ttl_s: float) -> HttpRequest:
    """The request that keeps what a call would send. Raises ConfigurationError for what no cache keeps."""
    if any(map(is_url_context, call.all_parts)):
        raise ConfigurationError(
            "a page that Gemini reads by itself cannot be cached", hint="ask about it without a cache, or download it"
        )
    sent = encode(call).body or {}
    body = {name: sent[name] for name in _CACHED_FIELDS if sent.get(name)}
    return HttpRequest(path=PATH, body={"model": qualify_model(call.model), "ttl": _format_duration(ttl_s)} | body)


def build_extend_request(name: str, ttl_s: float) -> HttpRequest:
    """The request that keeps a cache for longer."""
    return HttpRequest(method="PATCH", path=f"/{quote(name)}?updateMask=ttl", body={"ttl": _format_duration(ttl_s)})


def build_delete_request(name: str) -> HttpRequest:
    """The request that ends a cache."""
    return HttpRequest(method="DELETE", path=f"/{quote(name)}")


def build_list_request(page: str | None) -> HttpRequest:
    """The request for one page of the account's caches."""
    return HttpRequest(method="GET", path=f"{PATH}?pageSize=1000" + (f"&pageToken={quote(page)}" if page else ""))


def decode_cache(response: HttpResponse) -> RemoteCache:
    """The cache that an answer tells of. Raises ReplyError for an answer that tells of none."""
    return _decode_item(response.body, response)


def decode_caches(response: HttpResponse) -> list[RemoteCache]:
    """The caches on a page."""
    body = response.body if isinstance(response.body, dict) else {}
    return [_decode_item(item, response) for item in body.get("cachedContents") or ()]


def _decode_item(item: Any, response: HttpResponse) -> RemoteCache:
    try:
        return RemoteCache(
            name=item["name"],
            model=item["model"].rpartition("/")[2],
            expires_at=datetime.fromisoformat(item["expireTime"]).timestamp(),
            n_tokens=read_count(item.get("usageMetadata"), "totalTokenCount"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReplyError(f"the answer tells of no cache: {error!r}", response=response) from error


def _format_duration(seconds: float) -> str:
    return f"{seconds:g}s" if seconds < 1_000_000 else f"{int(seconds)}s"  # noqa: PLR2004 - no exponents


def classify_missing_cache(error: Exception) -> Fault | None:
    """The fault behind an error about a cache that is gone; None for all others."""
    fault = classify_error(error) if isinstance(error, HttpError) else None
    if fault is None or not _GONE_MESSAGE.search(fault.message):
        return None
    hint = "make a new one with create_cache, or use the key it was made with"
    return attrs.evolve(fault, kind="cache_missing", hint=hint)
