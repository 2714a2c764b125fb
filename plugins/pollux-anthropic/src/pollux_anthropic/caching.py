"""The breakpoint of a request, up to which the service caches it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pollux_sync.plugin import Call

    Json = dict[str, Any]


def add_breakpoint(body: Json, call: Call, *, n_own: int) -> None:
    """Mark the end of a request, or of the part that other calls share: the service caches up to there.

    ``n_own`` counts the last blocks of the last message that are the call's own.
    """
    holder = body if call.shared_prefix is None else _find_last_shared(body, call, n_own)
    ttl = call.options.implicit_caching
    # True leaves the time to live to the service.
    holder["cache_control"] = {"type": "ephemeral"} | ({"ttl": ttl} if isinstance(ttl, str) else {})


def _find_last_shared(body: Json, call: Call, n_own: int) -> Json:
    """Return the last shared block: of the parts, else of the instruction, else the last tool; else the body.

    By the documentation a request is cached in the order of tools, system and messages.
    """
    blocks: list[Json] = body["messages"][-1]["content"][: -n_own or None] if call.parts else []
    if not blocks and "system" in body:
        blocks = body["system"] = [{"type": "text", "text": body["system"]}]
    if not blocks:
        blocks = body.get("tools", [])
    return blocks[-1] if blocks else body
