"""Paths and lists of stored objects. Names and tokens come from answers and job files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_sync.plugin import read_list, require_objects

if TYPE_CHECKING:
    from pollux_sync.plugin import HttpResponse


def build_resource_path(name: str, action: str = "") -> str:
    """Return the path of a stored object, whose name holds its collection, such as files/abc."""
    # Half a character is no reason to fail before the service can say that it knows no such object.
    return f"/{quote(name, errors='replace')}{action}"


def build_list_path(path: str, page_size: int, page_token: str | None) -> str:
    """Return the path of one page of a list; the first page has no token."""
    token = f"&pageToken={quote(page_token, safe='', errors='replace')}" if page_token else ""
    return f"{path}?pageSize={page_size}{token}"


def read_entries(response: HttpResponse, name: str) -> list[Any]:
    """Return what is in a list, whatever it is. Raises ReplyError for an answer that is not such a list."""
    return [] if _is_empty(response, name) else read_list(response, name)


def read_objects(response: HttpResponse, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list. Raises ReplyError for an answer that is not a list of objects."""
    return [] if _is_empty(response, name) else require_objects(response, name)


def _is_empty(response: HttpResponse, name: str) -> bool:
    """Return whether a list is left out, as Google does with an empty one; another answer does not say so."""
    body = response.body
    return isinstance(body, dict) and name not in body and not body.keys() - {"nextPageToken"}
