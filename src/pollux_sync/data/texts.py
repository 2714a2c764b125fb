"""Texts that no JSON can carry, made fit.

A lone surrogate is half a character: an answer that is cut off inside an emoji ends with one, and a file name that is
not UTF-8 holds some. UTF-8 has no bytes for it, so no request could quote such a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD in place of each lone surrogate; the halves of one character are joined."""
    if not _has_surrogate(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def replace_nested_surrogates(value: T) -> T:
    """Return JSON-ready data with `replace_surrogates` applied to all of its texts, names included."""
    # Looked at first: almost all data has none, and is not copied.
    return _replace_nested(value) if _holds_surrogate(value) else value


def split_half_character(text: str) -> tuple[str, str]:
    """Return the text without the first half of a character at its end, and that half, which is "" without one."""
    return (text[:-1], text[-1]) if "\ud800" <= text[-1:] <= "\udbff" else (text, "")


def _has_surrogate(text: str) -> bool:
    # Most texts are ASCII, which Python knows without reading them.
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _holds_surrogate(value: object) -> bool:
    if isinstance(value, str):
        return not value.isascii() and _has_surrogate(value)
    if isinstance(value, dict):
        return any(map(_holds_surrogate, value)) or any(map(_holds_surrogate, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_surrogate, value))


def _replace_nested(value: Any) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {_replace_nested(name): _replace_nested(inner) for name, inner in value.items()}
    return [*map(_replace_nested, value)] if isinstance(value, list | tuple) else value


def map_texts(value: Any, convert: Callable[[str], str]) -> Any:
    """Return JSON data with each text in it converted. The names of fields stay."""
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, dict):
        return {name: map_texts(inner, convert) for name, inner in value.items()}
    return [map_texts(inner, convert) for inner in value] if isinstance(value, list) else value
