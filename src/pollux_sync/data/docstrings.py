"""Parsing of docstrings in the Google, NumPy or Sphinx style: descriptions of a function and of its parameters."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise

#: A field or a section header, which ends the description of the function itself.
_FIELD = re.compile(r":\w+[^:]*:")
_HEADER = re.compile(r"(Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?):?$")
_PARAMETERS = ("Arg", "Param")
_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?(?P<name>\w+):(?P<text>.*)")
# The type ends at the first "):", for a type may have parentheses of its own.
_GOOGLE = re.compile(r"(?P<name>\w+)(?:\s*\(.*?\))?:(?P<text>.*)")
_NUMPY = re.compile(r"(?P<name>\w+)(?:\s*:.*)?$(?P<text>)")


def parse_docstring(docstring: str | None) -> tuple[str | None, dict[str, str]]:
    """Return the description of the function, and the descriptions of its parameters by name."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    heads = [index for index, line in enumerate(lines) if _FIELD.match(line) or _is_header(lines, index)]
    first = heads[0] if heads else len(lines)
    # Sphinx writes a field for each parameter; Google and NumPy collect the parameters in a section.
    descriptions = _parse_entries(lines[first:], _SPHINX)
    for start, end in pairwise([*heads, len(lines)]):
        if lines[start].startswith(_PARAMETERS):
            is_numpy = lines[start + 1 : start + 2] != [] and set(lines[start + 1]) == {"-"}
            body = lines[start + 2 : end] if is_numpy else _dedent(lines[start + 1 : end])
            descriptions |= _parse_entries(body, _NUMPY if is_numpy else _GOOGLE)
    return "\n".join(lines[:first]).strip() or None, descriptions


def _is_header(lines: list[str], index: int) -> bool:
    is_underlined = index + 1 < len(lines) and set(lines[index + 1]) == {"-"}
    return bool(_HEADER.match(lines[index])) and (is_underlined or lines[index].endswith(":"))


def _dedent(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n".join(["", *lines])).splitlines()


def _parse_entries(lines: list[str], entry: re.Pattern[str]) -> dict[str, str]:
    """Return the texts by name. An entry begins at the margin; indented lines below continue it."""
    entries: dict[str, list[str]] = {}
    texts: list[str] = []
    for line in lines:
        match = entry.match(line)
        if match:
            texts = entries[match["name"]] = [match["text"].strip()]
        elif line[:1].isspace():
            texts.append(line.strip())
        elif line:
            # Other text at the margin ends the entry: what follows it describes no parameter.
            texts = []
    return {name: " ".join(filter(None, texts)) for name, texts in entries.items() if any(texts)}
