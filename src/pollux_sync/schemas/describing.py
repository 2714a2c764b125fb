"""Telling the model in words what its provider's schema cannot say."""

from __future__ import annotations

import json
from typing import Any

ANY_VALUE = "Any JSON value, written as JSON text."


def told(description: str | None, notes: dict[str, Any]) -> str | None:
    """Return the description with the given keywords below it, as ``minLength: 3; pattern: "^a"``."""
    words = "; ".join(f"{key}: {json.dumps(value)}" for key, value in notes.items())
    return "\n".join(text for text in (description, words) if text) or None
