"""The cache key of requests that begin alike, and the breakpoint after the part that they share. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import AssetPart, InlinePart, TextPart

if TYPE_CHECKING:
    from pollux_sync.plugin import Call, Part

    Json = dict[str, Any]

#: The models that take breakpoints, "gpt-5.6 and later" by the published contract of the Responses API (2026-08).
_TAKES_BREAKPOINTS = re.compile(r"gpt-(5\.([6-9]|\d\d)|[6-9])(?!\d)")
_KEY = "prompt_cache_key"
#: By the same contract a key has at most 64 characters.
_KEY_CHARS = 32


def mark_shared_prefix(body: Json, call: Call) -> None:
    """Name the beginning that a request shares with others, and mark its end where the model takes that.

    Requests of one key go to one machine, whose cache they share. The service caches by itself nevertheless; newer
    models do so up to the end of the request, where no other request would find it.
    """
    if _KEY not in call.options.read_raw_fields("openai"):  # the caller's own counts
        body[_KEY] = _build_key(call)
    if call.parts and _TAKES_BREAKPOINTS.search(call.model):
        content = body["input"][-1]["content"]
        content[len(call.parts) - 1]["prompt_cache_breakpoint"] = {"mode": "explicit"}


def _build_key(call: Call) -> str:
    """Return the same key for all calls that begin alike, in every process."""
    options = call.options
    shared = [call.model, options.system_instruction, options.tools, [_identify(part) for part in call.parts]]
    return hashlib.sha256(json.dumps(shared, default=repr).encode()).hexdigest()[:_KEY_CHARS]


def _identify(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    identity = part.identity if isinstance(part, InlinePart | AssetPart) else None
    return identity or part.source.identifier
