"""The texts and numbers inside of a JSON text, which hides words behind escapes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A text or a number of JSON. The last text of arguments that were cut off may have no end.
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|-?\d[\d.eE+-]*+', re.DOTALL)


def is_json(text: str) -> bool:
    """Return whether a text is a JSON object or array."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def map_json(text: str, change: Callable[[str], str]) -> str:
    """Return a JSON text with ``change`` applied to its texts and numbers; what it leaves stays as it was written.

    A number that it changes becomes a text.
    """

    def replace(found: re.Match[str]) -> str:
        value = _read_text(found[0])
        changed = change(value)
        return found[0] if changed == value else json.dumps(changed, ensure_ascii=False)

    return _VALUE.sub(replace, text)


def _read_text(token: str) -> str:
    if not token.startswith('"'):
        return token
    try:
        return str(json.loads(token, strict=False))
    except ValueError:  # cut off
        return token
