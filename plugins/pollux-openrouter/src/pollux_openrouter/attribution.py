"""Attribution: the headers under which OpenRouter lists a program in its rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {"site_url": "HTTP-Referer", "app_name": "X-Title"}


def build_attribution_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers for those of the options that are set."""
    return {header: options[name] for name, header in _HEADERS.items() if options.get(name)}


def find_attribution_problem(options: Mapping[str, Any]) -> Problem | None:
    """Return the first option that cannot be sent as a header, or None if all can."""
    for name in _HEADERS:
        value = options.get(name, "")
        if not (value.isascii() and value.isprintable()):
            return Problem(f"option {name!r} cannot be sent as a header: {value!r}", "use printable ASCII characters")
    return None
