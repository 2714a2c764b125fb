"""Bodies of answers: read within limits, and decoded from JSON."""

from __future__ import annotations

import json
import re
import time
from math import inf
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.faults import ReplyError, SizeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: No answer of a model comes near this size; a larger one is a mistake or an attack (a gzip bomb).
MAX_BODY_BYTES = 64 * 1024 * 1024
#: A smaller body takes 200 MB at most when it is decoded, so its values are not counted.
LARGE_BYTES = 4 * 1024 * 1024
#: The most values of a large body. They take about 200 MB: 3 bytes of JSON can become 150 of Python's. A million
#: numbers, or a file as one text, are far below.
MAX_VALUES = 2_000_000
#: What precedes a value in JSON, or a key and its value.
_MARKS = (b"[", b"{", b",")
#: The marks outside texts are counted by so many at a time.
_MARKS_AT_ONCE = 1000
#: As many marks, and what is before each. Possessive throughout: each way back would be kept in memory.
_MANY_MARKS = re.compile(rb'(?:(?:[^"\[{,]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[\[{,]){%d}+' % _MARKS_AT_ONCE, re.DOTALL)
#: How much of a body that is not JSON is kept as text.
_MAX_TEXT = 2000
#: How much is kept of a successful answer that cannot be decoded, which may be paid for, and read of an error.
MAX_KEPT_BYTES = 1024 * 1024


def read_body(chunks: Iterable[bytes], *, deadline: float = inf) -> bytes:
    """Join the chunks of a body. Raises ReplyError as soon as they exceed `MAX_BODY_BYTES`, and for too many values.

    ``deadline`` is a reading of `time.monotonic` after which no chunk may arrive; then raises TimeoutError.
    """
    pieces, size = [], 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise SizeLimitError(f"the answer is larger than {MAX_BODY_BYTES} bytes", hint="check base_url")
        # Checked after each chunk: the reader itself bounds the wait for one chunk only.
        if time.monotonic() > deadline:
            raise TimeoutError("the answer did not end within the time limit")
    # A usual answer is one piece, which is not copied. Joined, a large one is in memory twice for a moment, as it is
    # again when it is decoded.
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    check_value_count(content)
    return content


def check_value_count(content: bytes) -> None:
    """Raise ReplyError for JSON of more than `MAX_VALUES` values, which would fill the memory when it is decoded."""
    # All marks first: to tell those inside texts, which may hold JSON too, takes longer.
    if len(content) > LARGE_BYTES and sum(map(content.count, _MARKS)) > MAX_VALUES and _holds_too_many_marks(content):
        raise ReplyError(f"the answer holds more than {MAX_VALUES} values", hint="check base_url")


def _holds_too_many_marks(content: bytes) -> bool:
    """Return whether there are more than `MAX_VALUES` marks outside texts."""
    count, position = 0, 0
    while count <= MAX_VALUES and (found := _MANY_MARKS.match(content, position)):
        count, position = count + _MARKS_AT_ONCE, found.end()
    return count > MAX_VALUES


def read_beginning(chunks: Iterable[bytes]) -> bytes:
    """Join the first chunks of a body, about `MAX_KEPT_BYTES` of them. The error in an answer is at its beginning."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_KEPT_BYTES:
            break
    return bytes(content)


def decode_response(status: int, headers: dict[str, str], content: bytes) -> HttpResponse:
    """Return the answer with its body decoded from JSON; an error's body may be the beginning of a text.

    Raises ReplyError for a successful answer that is not JSON, with the beginning of its body.
    """
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        # An error is reported whatever its body, since proxies and gateways answer with pages and plain text.
        if is_success(status):
            kept = content[:MAX_KEPT_BYTES]
            raise build_not_json(HttpResponse(status=status, headers=headers, content=kept)) from None
        # Cut before decoding, so that a large page is not decoded whole.
        body = content[: _MAX_TEXT * 2].decode("utf-8", "replace")[:_MAX_TEXT]
    # That of an error may quote the key.
    return HttpResponse(status=status, headers=headers, body=body, content=content if is_success(status) else None)


def decode_error(response: HttpResponse, scrub: Callable[[str], str]) -> HttpResponse:
    """Return an error answer with its content decoded as its body, each text of it passed through ``scrub``."""
    # Decoded first: in the JSON text a secret may look like a name or a number, or be written with escapes.
    content = response.content or b""
    try:
        return attrs.evolve(response, body=json.loads(content), content=None).scrub(scrub)
    except (ValueError, RecursionError):
        # Scrubbed before it is cut, since half a secret is not recognized.
        scrubbed = response.scrub(scrub)
        text = (scrubbed.content or b"").decode("utf-8", "replace")[:_MAX_TEXT]
        return attrs.evolve(scrubbed, body=text, content=None)


def convert_response(response: Any) -> HttpResponse:
    """Convert an SDK's raw response to that of the core's client. Raises ReplyError for a body that is not JSON."""
    return decode_response(response.status_code, read_sdk_headers(response), response.content)


def read_sdk_headers(response: Any) -> dict[str, str]:
    """Return the headers of an SDK's raw response with lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}


def is_success(status: int) -> bool:
    """Return whether the status is 2xx."""
    return 200 <= status < 300  # noqa: PLR2004


def build_not_json(response: HttpResponse) -> ReplyError:
    """Return the error of a successful answer whose body, or its beginning, is in ``response.content``."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    if not (response.content or b"").strip():
        # A server that was stopped or overloaded while it answered: the same request may succeed.
        return ReplyError("the answer is empty", retryable=True, response=attrs.evolve(response, content=None))
    if media_type and "json" not in media_type:
        return ReplyError(
            f"the answer is {media_type}, not JSON",
            hint="check base_url: does it end in /v1?",
            response=response,
        )
    return ReplyError("the answer is not valid JSON, perhaps cut off", retryable=True, response=response)
