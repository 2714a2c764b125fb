"""Texts that match a regular expression, for examples; the standard library's own parser does the reading."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CATEGORIES = {
    "CATEGORY_DIGIT": "0",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "a",
    "CATEGORY_WORD": "a",
    "CATEGORY_NOT_WORD": " ",
}
_ALPHABET = "aA0 -_.b1"
_TRIES = 40


def matching_texts(pattern: str) -> Iterator[str]:
    """Yield texts in which the pattern is found, short ones first; none where it is too clever."""
    tree = import_module("re._parser").parse(pattern)
    known = set()
    for more in range(_TRIES):
        text = _Sampler(more).sequence(tree)
        if text not in known and re.search(pattern, text):
            known.add(text)
            yield text


class _Sampler:
    """Writes one text for a parsed pattern; ``more`` asks for that many repetitions above the least."""

    def __init__(self, more: int) -> None:
        self.more = more
        self.groups: dict[int, str] = {}

    def sequence(self, tree: Any) -> str:
        return "".join(self.one(str(name), argument) for name, argument in tree)

    def one(self, name: str, argument: Any) -> str:  # noqa: PLR0911  (one row a kind of node)
        match name:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return next(sign for sign in _ALPHABET if sign != chr(argument))
            case "ANY":
                return "a"
            case "IN":
                return self.in_set(argument)
            case "BRANCH":
                return self.sequence(argument[1][self.more % len(argument[1])])
            case "SUBPATTERN":
                self.groups[argument[0]] = self.sequence(argument[3])
                return self.groups[argument[0]]
            case "GROUPREF":
                return self.groups.get(argument, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                return "".join(self.sequence(inner) for _ in range(min(least + self.more, int(most), 10_000)))
            case "ATOMIC_GROUP":
                return self.sequence(argument)
            case _:
                return ""

    def in_set(self, members: list[tuple[Any, Any]]) -> str:
        if str(members[0][0]) == "NEGATE":
            refused = [re.compile(_set_text(members[1:]))]
            return next((sign for sign in _ALPHABET + "!~é" if not refused[0].match(sign)), "")
        name, argument = members[self.more % len(members)]
        if str(name) == "RANGE":
            low, high = argument
            return chr(low + self.more % (high - low + 1))
        return chr(argument) if str(name) == "LITERAL" else _CATEGORIES.get(str(argument), "a")


def _set_text(members: list[tuple[Any, Any]]) -> str:
    signs = []
    for name, argument in members:
        match str(name):
            case "RANGE":
                signs.append(f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}")
            case "LITERAL":
                signs.append(re.escape(chr(argument)))
            case _:
                signs.append(_CLASSES.get(str(argument), ""))
    return f"[{''.join(signs)}]"


_CLASSES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
