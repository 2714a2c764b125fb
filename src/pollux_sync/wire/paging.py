"""Lists that come in pages."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

Page = TypeVar("Page")
Cursor = TypeVar("Cursor", bound="Hashable")

#: More pages than an account's lists have: a server whose cursors are always new has no last page.
MAX_PAGES = 1000


def iter_pages(
    fetch_page: Callable[[Cursor | None], Page], read_cursor: Callable[[Page], Cursor | None]
) -> Iterator[Page]:
    """Yield the pages of a list, each fetched when it is wanted.

    ``fetch_page`` gets None for the first page, then the cursor that ``read_cursor`` found in the page before; a page
    with an empty cursor is the last. Raises ReplyError when a cursor comes again, and after `MAX_PAGES` pages.
    """
    cursor: Cursor | None = None
    seen: set[Cursor] = set()
    for number in count(1):
        page = fetch_page(cursor)
        yield page
        cursor = read_cursor(page)
        if not cursor:
            return
        # A server that ignores the cursor, or alternates between two, would keep us reading for ever.
        if cursor in seen:
            raise ReplyError("the list leads back to a page that was read already", hint="check base_url")
        if number == MAX_PAGES:
            raise ReplyError(f"the list does not end after {MAX_PAGES} pages", hint="check base_url")
        seen.add(cursor)
