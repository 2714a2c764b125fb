"""Text for the model about the parts of a schema that its provider's dialect cannot express."""

from __future__ import annotations

import json
from typing import Any

ANY_VALUE = "Any JSON value, written as JSON text."


def append_notes(description: str | None, notes: dict[str, Any]) -> str | None:
    """Return the description with these keywords on a line below it, such as ``minLength: 3; pattern: "^a"``.

    Returns None if both are empty.
    """
    line = "; ".join(f"{key}: {json.dumps(value)}" for key, value in notes.items())
    return "\n".join(text for text in (description, line) if text) or None
