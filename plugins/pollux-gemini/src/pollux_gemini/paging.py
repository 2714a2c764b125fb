"""Lists of the service, page after page."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pollux_gemini import batching
from pollux_sync.plugin import SizeLimitError, iter_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.plugin import Client, HttpRequest, HttpResponse

    #: Builds the request for the page with this token.
    PageRequest: TypeAlias = Callable[[str | None], HttpRequest]


def iter_all_pages(build_request: PageRequest, client: Client, timeout_s: float) -> Iterator[HttpResponse]:
    """Yield the pages of a list, each requested when the one before has been read."""

    def fetch_page(token: str | None) -> HttpResponse:
        return client.send(build_request(token), timeout_s)

    return iter_pages(fetch_page, batching.read_page_token)


def iter_batch_pages(client: Client, timeout_s: float) -> Iterator[HttpResponse]:
    """Yield the pages of the list of batches. Where a page is too large to be read, the next ones hold one batch."""
    page_size = batching.PAGE_SIZE

    def fetch_page(token: str | None) -> HttpResponse:
        nonlocal page_size
        try:
            return client.send(batching.build_list_request(token, page_size), timeout_s)
        except SizeLimitError:
            if page_size == 1:
                raise
            # Every batch in a page may hold its inline answers. Those of one are never larger than what can be read.
            page_size = 1
            return fetch_page(token)

    return iter_pages(fetch_page, batching.read_page_token)
