"""Single fields of answers that may hold anything."""

from __future__ import annotations

from typing import Any

_COUNT_END = 2**63
#: What services call the tier that is "default" here: Anthropic and Gemini, Anthropic's requests, Groq, and Gemini
#: where the request names none.
_DEFAULT_TIERS = frozenset({"standard", "standard_only", "on_demand", "unspecified"})


def as_text(value: Any) -> str | None:
    """Return ``value`` if it is a string, else None."""
    return value if isinstance(value, str) else None


def list_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list, or an empty list for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_count(holder: Any, name: str) -> int | None:
    """Return the integer ``name`` of an object, from 0 to 2**63 - 1, or None without one."""
    value = holder.get(name) if isinstance(holder, dict) else None
    # A boolean is an integer to Python. JSON has integers of any size, with which no arithmetic is safe.
    return value if type(value) is int and 0 <= value < _COUNT_END else None


def read_service_tier(value: Any) -> str | None:
    """Return the tier that served a call: our word where the service means the same, else its own, None without one."""
    tier = (as_text(value) or "").lower()
    return "default" if tier in _DEFAULT_TIERS else tier or None
