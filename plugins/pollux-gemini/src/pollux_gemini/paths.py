"""Paths of requests for what the service stores. Names and tokens come from answers and job files."""

from __future__ import annotations

from urllib.parse import quote


def build_resource_path(name: str, action: str = "") -> str:
    """Return the path of a stored object, whose name holds its collection, such as files/abc."""
    # Half a character is no reason to fail before the service can say that it knows no such object.
    return f"/{quote(name, errors='replace')}{action}"


def build_list_path(path: str, page_size: int, page_token: str | None) -> str:
    """Return the path of one page of a list; the first page has no token."""
    token = f"&pageToken={quote(page_token, safe='', errors='replace')}" if page_token else ""
    return f"{path}?pageSize={page_size}{token}"
