"""Lists in answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse


def read_list(response: HttpResponse, name: str) -> list[Any]:
    """Return the list ``name`` of an answer. Raises ReplyError for an answer without that list."""
    listed = response.body.get(name) if isinstance(response.body, dict) else None
    if not isinstance(listed, list):
        raise ReplyError(f"the answer has no list {name!r}", hint="check base_url", response=response)
    return listed


def read_objects(response: HttpResponse, name: str) -> list[dict[str, Any]]:
    """Return the objects in the list ``name`` of an answer. Raises ReplyError for an answer without that list."""
    return [item for item in read_list(response, name) if isinstance(item, dict)]


def require_objects(response: HttpResponse, name: str) -> list[dict[str, Any]]:
    """Return the list ``name`` of an answer, in which everything is an object. Raises ReplyError for another answer."""
    listed = read_list(response, name)
    if not all(isinstance(item, dict) for item in listed):
        raise ReplyError(f"the list {name!r} has entries that are no objects", hint="try again", response=response)
    return listed
