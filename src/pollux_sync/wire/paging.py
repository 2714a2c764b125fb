"""Lists that come in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Page = TypeVar("Page")
Cursor = TypeVar("Cursor")


def iter_pages(
    fetch_page: Callable[[Cursor | None], Page], read_cursor: Callable[[Page], Cursor | None]
) -> Iterator[Page]:
    """Yield the pages of a list, each fetched when it is wanted.

    ``fetch_page`` gets None for the first page, then the cursor that ``read_cursor`` found in the page before; a page
    with an empty cursor is the last. Raises ReplyError when a cursor comes again.
    """
    cursor: Cursor | None = None
    seen: list[Cursor] = []
    while True:
        page = fetch_page(cursor)
        yield page
        cursor = read_cursor(page)
        if not cursor:
            return
        # A server that ignores the cursor, or alternates between two, would keep us reading for ever.
        if cursor in seen:
            raise ReplyError("the list leads back to a page that was read already", hint="check base_url")
        seen.append(cursor)
