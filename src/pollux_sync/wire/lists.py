"""Lists in answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse


def read_objects(response: HttpResponse, name: str) -> list[dict[str, Any]]:
    """Return the objects in the list ``name`` of an answer. Raises ReplyError for an answer without that list."""
    listed = response.body.get(name) if isinstance(response.body, dict) else None
    if not isinstance(listed, list):
        raise ReplyError(f"the answer has no list {name!r}", hint="check base_url", response=response)
    return [item for item in listed if isinstance(item, dict)]
