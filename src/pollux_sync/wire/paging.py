"""Lists that are sent in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Page = TypeVar("Page")


def iter_pages(fetch_page: Callable[[str | None], Page], read_cursor: Callable[[Page], str | None]) -> Iterator[Page]:
    """Yield the pages of a list, each fetched when it is needed.

    ``fetch_page`` receives None for the first page, then the cursor that ``read_cursor`` returned for the page before.
    A page without a cursor is the last. Raises ReplyError for a repeated cursor: such a list would never end.
    """
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        page = fetch_page(cursor)
        yield page
        cursor = read_cursor(page)
        if not cursor:
            return
        if cursor in seen:
            raise ReplyError("the list leads back to a page that was already read", hint="check base_url")
        seen.add(cursor)
