"""HTML -> Markdown, for the pages inside of books, mails and Word documents: all that they say, nothing left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from pollux_convert.markdown import heading, iter_table, list_item, squeeze

if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = frozenset({"head", "script", "style", "template"})
#: Elements that begin and end a block of their own.
_BLOCK = re.compile(
    "h[1-6]|address|article|aside|blockquote|body|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|"
    "footer|form|header|hr|li|main|nav|ol|p|pre|section|summary|table|ul"
)
_HEADING = re.compile("h([1-6])")


def iter_blocks(html: str) -> Iterator[str]:
    """Yield the blocks of Markdown of an HTML page. Links are reduced to their text, pictures to their description."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    parser.end_page()
    yield from parser.blocks


class _Parser(HTMLParser):
    """Collects ``blocks``. Inside a table, texts go to its cells; a table inside a cell becomes text of the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self._pieces: list[str] = []
        self._level = 0
        #: The number of the last item of each list that is open; None for one without numbers.
        self._lists: list[int | None] = []
        self._mark = ""
        self._n_tables = 0
        self._rows: list[list[str]] = []
        self._hidden = ""
        self._n_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            return
        if tag in _HIDDEN:
            self._hidden = tag
        elif tag == "br":
            self._pieces.append("\n")
        elif tag == "img":
            description = dict(attrs).get("alt")
            self._pieces.append(f"[picture: {squeeze(description)}]" if description else "")
        elif _BLOCK.fullmatch(tag):
            self.end_block()
            self._begin_block(tag, dict(attrs))
        elif self._n_tables:
            self._begin_cell(tag)

    def _begin_block(self, tag: str, attrs: dict[str, str | None]) -> None:
        if match := _HEADING.fullmatch(tag):
            self._level = int(match[1])
        elif tag in {"ul", "ol"}:
            self._lists.append(_read_start(attrs) - 1 if tag == "ol" else None)
        elif tag == "li":
            self._mark = self._next_mark()
        elif tag == "table":
            self._n_tables += 1
        elif tag == "pre":
            self._n_pre += 1

    def _next_mark(self) -> str:
        if not self._lists or (number := self._lists[-1]) is None:
            return "-"
        self._lists[-1] = number + 1
        return f"{number + 1}."

    def _begin_cell(self, tag: str) -> None:
        if self._n_tables == 1 and tag == "tr":
            self.end_block()
            self._rows.append([])
        elif self._n_tables == 1 and tag in {"td", "th"}:
            self.end_block()
            self._rows = self._rows or [[]]
            self._rows[-1].append("")
        elif tag in {"tr", "td", "th"}:
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden = "" if tag == self._hidden else self._hidden
        elif tag in {"td", "th", "tr"}:
            self.end_block()
        elif _BLOCK.fullmatch(tag):
            self.end_block()
            self._close_block(tag)

    def _close_block(self, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        elif tag == "li":
            self._mark = ""
        elif tag == "pre":
            self._n_pre = max(self._n_pre - 1, 0)
        elif tag == "table" and self._n_tables:
            self._n_tables -= 1
            if not self._n_tables:
                self._end_table()
        elif _HEADING.fullmatch(tag):
            self._level = 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # Line breaks inside of a paragraph mean no more than spaces.
            self._pieces.append(data if self._n_pre else re.sub(r"\s+", " ", data))

    def end_page(self) -> None:
        """End what is still open."""
        self.end_block()
        self._end_table()

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        # Tables of one column are no tables: mails are laid out with them.
        is_layout = all(len(row) <= 1 for row in rows)
        self.blocks += [cell.strip() for row in rows for cell in row if cell.strip()] if is_layout else iter_table(rows)

    def end_block(self) -> None:
        """Move the text that was collected to the blocks, or to its cell."""
        text = "".join(self._pieces).strip() if self._n_pre else _trim_lines("".join(self._pieces))
        self._pieces = []
        if not text:
            return
        if self._n_tables and self._rows and self._rows[-1]:
            self._rows[-1][-1] += f"\n{text}"
        else:
            self.blocks.append(self._format(text))

    def _format(self, text: str) -> str:
        if self._level:
            return heading(self._level, text)
        if not self._lists:
            return f"```\n{text}\n```" if self._n_pre else text
        # A further paragraph of an item stands below it, without a mark.
        mark, self._mark = self._mark, ""
        return list_item(len(self._lists) - 1, mark or " ", text)


def _trim_lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def _read_start(attrs: dict[str, str | None]) -> int:
    start = attrs.get("start") or "1"
    return int(start) if re.fullmatch(r"\d{1,9}", start) else 1
