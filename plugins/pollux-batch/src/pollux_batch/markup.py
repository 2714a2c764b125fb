"""HTML in pieces: what is not `Html` already is escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Characters that no HTML may have. Labels and messages come from files and servers.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


def to_html(value: object) -> Html:
    """Return `Html` unchanged, and anything else as escaped text."""
    if isinstance(value, Html):
        return value
    text = str(value).encode("utf-8", "replace").decode()
    return Html(escape(_FORBIDDEN.sub("\ufffd", text)))


def build_element(tag: str, *children: object, **attributes: object) -> Html:
    """Return an element. Of an attribute's name a final underscore is dropped; others become hyphens."""
    inner = "".join(map(to_html, children))
    words = "".join(f' {_name_attribute(name)}="{to_html(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{words}>{inner}</{tag}>")


def _name_attribute(name: str) -> str:
    return name.removesuffix("_").replace("_", "-")


def build_section(title: str, *children: object) -> Html:
    """Return a section under a title, or nothing if it has no content."""
    return build_element("section", build_element("h2", title), *children) if any(children) else Html()


def build_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table, or nothing if it has no rows."""
    body = [build_element("tr", *map(_build_cell, row)) for row in rows]
    if not body:
        return Html()
    head = build_element("tr", *(build_element("th", name, scope="col") for name in heads))
    table = build_element("table", build_element("thead", head), build_element("tbody", *body))
    return build_element("div", table, class_="wide")


def _build_cell(value: object) -> Html:
    if isinstance(value, int):
        return build_element("td", f"{value:,}", class_="number")
    return build_element("td", value)
