"""Sample texts that match a regular expression, for examples. The standard library's own parser reads the pattern."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.matching import TextTooLongError, compile_matcher

if TYPE_CHECKING:
    from collections.abc import Iterator

_CATEGORY_SAMPLES = {
    "CATEGORY_DIGIT": "0",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "a",
    "CATEGORY_WORD": "a",
    "CATEGORY_NOT_WORD": " ",
}
#: Candidates for a character that a negated set does not refuse.
_ALPHABET = "aA0 -_.b1"
_TRIES = 40


def iter_matching_texts(pattern: str) -> Iterator[str]:
    """Yield texts that the pattern matches, short ones first. Yields nothing for a pattern that is too complex."""
    # Imported by name, since the module is private and has no type stubs.
    tree = import_module("re._parser").parse(pattern)
    known = set()
    for extra in range(_TRIES):
        text = _TextSampler(extra).sample_sequence(tree)
        # Look-arounds and word boundaries are ignored by the sampler, so each text is checked.
        if text not in known and _is_match(pattern, text):
            known.add(text)
            yield text


def _is_match(pattern: str, text: str) -> bool:
    try:
        return compile_matcher(pattern).search(text)
    except TextTooLongError:
        return False


class _TextSampler:
    """The builder of one text for a parsed pattern.

    Each repetition has ``extra`` items above its minimum, and ``extra`` chooses among alternatives too.
    """

    def __init__(self, extra: int) -> None:
        self.extra = extra
        self.groups: dict[int, str] = {}

    def sample_sequence(self, tree: Any) -> str:
        return "".join(self.sample_node(str(name), argument) for name, argument in tree)

    def sample_node(self, name: str, argument: Any) -> str:  # noqa: PLR0911  (one row a kind of node)
        match name:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return next(sign for sign in _ALPHABET if sign != chr(argument))
            case "ANY":
                return "a"
            case "IN":
                return self.sample_set(argument)
            case "BRANCH":
                return self.sample_sequence(argument[1][self.extra % len(argument[1])])
            case "SUBPATTERN":
                self.groups[argument[0]] = self.sample_sequence(argument[3])
                return self.groups[argument[0]]
            case "GROUPREF":
                return self.groups.get(argument, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                # The cap is for patterns such as a{1000000}, whose text nobody wants in an example.
                return "".join(self.sample_sequence(inner) for _ in range(min(least + self.extra, int(most), 10_000)))
            case "ATOMIC_GROUP":
                return self.sample_sequence(argument)
            case _:
                return ""

    def sample_set(self, members: list[tuple[Any, Any]]) -> str:
        if str(members[0][0]) == "NEGATE":
            refused = re.compile(_build_set_pattern(members[1:]))
            return next((sign for sign in _ALPHABET + "!~é" if not refused.match(sign)), "")
        name, argument = members[self.extra % len(members)]
        if str(name) == "RANGE":
            low, high = argument
            return chr(low + self.extra % (high - low + 1))
        return chr(argument) if str(name) == "LITERAL" else _CATEGORY_SAMPLES.get(str(argument), "a")


def _build_set_pattern(members: list[tuple[Any, Any]]) -> str:
    signs = []
    for name, argument in members:
        match str(name):
            case "RANGE":
                signs.append(f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}")
            case "LITERAL":
                signs.append(re.escape(chr(argument)))
            case _:
                signs.append(_CATEGORY_PATTERNS.get(str(argument), ""))
    return f"[{''.join(signs)}]"


_CATEGORY_PATTERNS = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
