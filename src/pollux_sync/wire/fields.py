"""Single fields of answers that may hold anything."""

from __future__ import annotations

from typing import Any


def as_text(value: Any) -> str | None:
    """Return ``value`` if it is a string, else None."""
    return value if isinstance(value, str) else None


def read_count(holder: Any, name: str) -> int | None:
    """Return the integer ``name`` of an object, or None if there is none."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) else None
