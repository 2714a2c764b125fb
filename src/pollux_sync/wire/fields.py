"""Reading single fields of answers that may hold anything."""

from __future__ import annotations

from typing import Any


def as_text(value: Any) -> str | None:
    """``value`` if it is a string."""
    return value if isinstance(value, str) else None


def read_count(holder: Any, name: str) -> int | None:
    """The integer called ``name`` in ``holder``, if that is an object and has one."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) else None
