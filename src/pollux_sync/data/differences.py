"""The places in which two JSON values differ."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SHOWN = 80


def find_differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the places at which two JSON values differ, with both values as JSON, shortened."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from find_differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, two) in enumerate(zip(old, new, strict=True)):
            yield from find_differences(one, two, f"{path}[{index}]")
    elif old != new:
        yield path, _shorten(old), _shorten(new)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
