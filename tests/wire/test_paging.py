import pytest

from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.paging import MAX_PAGES, iter_pages

PAGES = {None: ("a", "2"), "2": ("b", "3"), "3": ("c", None)}


def read(pages):
    return [name for name, _ in iter_pages(lambda cursor: pages[cursor], lambda page: page[1])]


def test_reads_to_the_page_without_a_cursor():
    assert read(PAGES) == ["a", "b", "c"]


def test_fetches_a_page_only_when_it_is_wanted():
    fetched = []
    pages = iter_pages(lambda cursor: fetched.append(cursor) or PAGES[cursor], lambda page: page[1])
    next(pages)
    assert fetched == [None]


@pytest.mark.parametrize(
    "pages",
    [{None: ("a", "1"), "1": ("b", "1")}, {None: ("a", "1"), "1": ("b", "2"), "2": ("c", "1")}],
    ids=["repeats", "alternates"],
)
def test_refuses_a_repeated_cursor(pages):
    with pytest.raises(ReplyError, match="leads back"):
        read(pages)


def test_gives_up_on_a_list_whose_cursor_is_always_new():
    fetched = []
    pages = iter_pages(lambda cursor: fetched.append(cursor) or len(fetched), lambda page: f"after {page}")
    with pytest.raises(ReplyError, match="does not end after 1000 pages"):
        list(pages)
    assert len(fetched) == MAX_PAGES
