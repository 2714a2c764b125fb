"""HTML in pieces: what is not `Html` already is escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Characters that no HTML may have. Payloads and messages may hold anything.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset({"input", "link", "meta"})


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


def to_html(value: object) -> Html:
    """Return `Html` unchanged, nothing for None, and anything else as escaped text."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html()
    text = str(value).encode("utf-8", "replace").decode()
    return Html(escape(_FORBIDDEN.sub("\ufffd", text)))


def join(*children: object) -> Html:
    """Return pieces one after the other."""
    return Html("".join(map(to_html, children)))


def build_element(tag: str, *children: object, **attributes: object) -> Html:
    """Return an element. Attributes that are None or False are left out, those that are True have no value.

    Of an attribute's name a final underscore is dropped; others become hyphens.
    """
    words = "".join(_build_attribute(name, value) for name, value in attributes.items())
    return Html(f"<{tag}{words}>" if tag in _VOID else f"<{tag}{words}>{join(*children)}</{tag}>")


def _build_attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{to_html(value)}"'


def build_section(title: str, *children: object, **attributes: object) -> Html:
    """Return a section under a title, or nothing if it has no content."""
    if not any(children):
        return Html()
    return build_element("section", build_element("h2", title), *children, **attributes)


def build_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table, or nothing if it has no rows. On a narrow screen each cell is shown behind its head."""
    body = [_build_row(heads, row) for row in rows]
    if not body:
        return Html()
    head = build_element("tr", *(build_element("th", name, scope="col") for name in heads))
    return build_element("table", build_element("thead", head), build_element("tbody", *body))


def _build_row(heads: Sequence[str], row: Sequence[object]) -> Html:
    return build_element(
        "tr", *(build_element("td", cell, data_head=head) for head, cell in zip(heads, row, strict=True))
    )


def build_facts(facts: Iterable[tuple[str, object]]) -> Html:
    """Return a list of names and values, without those that have no value."""
    return build_element(
        "dl",
        *(
            build_element("div", build_element("dt", name), build_element("dd", value))
            for name, value in facts
            if value is not None and value != ""
        ),
    )
