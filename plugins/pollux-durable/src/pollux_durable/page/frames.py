"""The frame of all views: head, navigation, and what the host is."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import attrs

from pollux_durable.page.formatting import build_link
from pollux_durable.page.markup import Html, build_element, join

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The data of an empty icon: without one browsers ask for /favicon.ico.
_NO_ICON = "data:,"


@attrs.frozen(kw_only=True)
class Frame:
    """The parts that all views of one answer share. ``menu`` has the views, each with its address."""

    nonce: str
    form_token: str
    database: str
    menu: Sequence[tuple[str, str]]


@attrs.frozen(kw_only=True)
class View:
    """One view. ``path`` is its place in the menu; with ``is_refreshed`` it is kept as the host is."""

    title: str
    path: str | None = None
    content: Html
    is_refreshed: bool = False


def build_document(frame: Frame, view: View, *, notice: str | None = None) -> Html:
    """Return a view as a whole document."""
    head = build_element(
        "head",
        build_element("meta", charset="utf-8"),
        build_element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        build_element("title", f"{view.title} - pollux-durable"),
        build_element("link", rel="icon", href=_NO_ICON),
        build_element("style", _read_asset("page.css"), nonce=frame.nonce),
    )
    body = build_element(
        "body",
        build_element("a", "Skip to the content", href="#content", class_="skip"),
        _build_header(frame, view),
        build_element(
            "main",
            build_element("p", notice, id="notice", role="status", hidden=notice is None),
            build_element("h1", view.title),
            view.content,
            id="content",
            tabindex="-1",
            data_refreshed=view.is_refreshed,
        ),
        build_element("script", _read_asset("page.js"), nonce=frame.nonce),
    )
    return join(Html("<!doctype html>\n"), build_element("html", head, body, lang="en"))


def _build_header(frame: Frame, view: View) -> Html:
    links = [
        build_element("a", text, href=path, aria_current="page" if path == view.path else None)
        for text, path in frame.menu
    ]
    return build_element(
        "header",
        build_element("strong", build_link("pollux-durable", "/")),
        build_element("nav", *links, aria_label="Views"),
        build_element("span", build_element("code", frame.database), class_="note"),
    )


def build_part(name: str, *children: object) -> Html:
    """Return a part of a view that is replaced in the browser when it has changed."""
    return build_element("div", *children, data_part=name)


@cache
def _read_asset(name: str) -> Html:
    return Html(files(__package__).joinpath("assets", name).read_text(encoding="utf-8"))
