"""Context caches: requests and answers about them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from pollux_gemini.encoding import encode, qualify_model
from pollux_gemini.parts import is_url_context
from pollux_gemini.paths import build_list_path, build_resource_path, read_objects
from pollux_sync.plugin import (
    ConfigurationError,
    HttpError,
    HttpRequest,
    RemoteCache,
    ReplyError,
    as_text,
    classify_error,
    read_count,
)

if TYPE_CHECKING:
    from pollux_sync.plugin import Call, Fault, HttpResponse

PATH = "/cachedContents"
#: The largest page size that the service accepts.
_PAGE_SIZE = 1000
#: The fields of a generateContent request that a cache keeps; both kinds of request name them alike.
_CACHED_FIELDS = ("contents", "systemInstruction", "tools")
#: Gemini answers 403 or 404 to a cache that is gone, and to one of another account; Vertex AI says "Not found: cached
#: content metadata for ..." or "Cache content ... is expired" (as users report, read 2026-11-26). Only the message
#: distinguishes it from a bad key, which is also a 403.
_GONE_MESSAGE = re.compile(
    r"cached? ?content.*(?:not found|is expired)|not found: cached? ?content", re.IGNORECASE | re.DOTALL
)


def build_create_request(call: Call, ttl_s: float, label: str | None) -> HttpRequest:
    """Build the request that creates a cache of a call's content, with the label as its display name.

    Raises ConfigurationError for a page that Gemini reads itself, which no cache keeps.
    """
    if any(map(is_url_context, call.all_parts)):
        raise ConfigurationError(
            "a page that Gemini reads itself cannot be cached",
            hint="ask about it without a cache, or download it and pass the file",
        )
    # The same encoder as for calls: a cached beginning must be what the calls would have sent.
    sent = encode(call).body or {}
    content = {name: sent[name] for name in _CACHED_FIELDS if sent.get(name)}
    named = {} if label is None else {"displayName": label}
    settings = {"model": qualify_model(call.model), "ttl": _format_duration(ttl_s)}
    return HttpRequest(path=PATH, body=settings | named | content)


def build_extend_request(name: str, ttl_s: float) -> HttpRequest:
    """Build the request that keeps a cache for ``ttl_s`` seconds from now."""
    return HttpRequest(
        method="PATCH", path=build_resource_path(name, "?updateMask=ttl"), body={"ttl": _format_duration(ttl_s)}
    )


def build_delete_request(name: str) -> HttpRequest:
    """Build the request that deletes a cache."""
    return HttpRequest(method="DELETE", path=build_resource_path(name), is_answer_optional=True)


def build_list_request(page_token: str | None) -> HttpRequest:
    """Build the request for one page of the account's caches; the first page has no token."""
    return HttpRequest(method="GET", path=build_list_path(PATH, _PAGE_SIZE, page_token))


def decode_cache(response: HttpResponse) -> RemoteCache:
    """Decode an answer that is one cache. Raises ReplyError for an answer without a cache."""
    return _decode_item(response.body, response)


def decode_caches(response: HttpResponse) -> list[RemoteCache]:
    """Decode a page of the list of caches. Raises ReplyError for an entry that is not a cache."""
    return [_decode_item(item, response) for item in read_objects(response, "cachedContents")]


def _decode_item(item: Any, response: HttpResponse) -> RemoteCache:
    try:
        return RemoteCache(
            name=_require_name(item["name"]),
            model=item["model"].rpartition("/")[2],
            expires_at=datetime.fromisoformat(item["expireTime"]).timestamp(),
            n_tokens=read_count(item.get("usageMetadata"), "totalTokenCount"),
            # A cache without a name may have an empty one.
            label=as_text(item.get("displayName")) or None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ReplyError(f"the answer describes no cache: {error!r}", response=response) from error


def _require_name(name: Any) -> str:
    # A cache is paid for as long as it lives, and only its name can delete it.
    if not isinstance(name, str) or not name.strip("/ "):
        raise ValueError(f"its name is {name!r}")
    return name


def _format_duration(seconds: float) -> str:
    # From here on :g writes an exponent, which is no protobuf Duration.
    return f"{seconds:g}s" if seconds < 1_000_000 else f"{int(seconds)}s"  # noqa: PLR2004


def classify_missing_cache(error: Exception) -> Fault | None:
    """Return the fault of an error about a cache that is gone, or None for any other error."""
    fault = classify_error(error) if isinstance(error, HttpError) else None
    if fault is None or not _GONE_MESSAGE.search(fault.message):
        return None
    hint = "make a new cache with create_cache(), or use the key that made this one"
    return attrs.evolve(fault, kind="cache_missing", hint=hint)
