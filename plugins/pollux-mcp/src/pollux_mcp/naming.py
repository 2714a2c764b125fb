"""Names of tools that every provider takes, each of one tool."""

from __future__ import annotations

import hashlib
import re

#: The strictest rule of the providers: letters, digits, underscores and hyphens, 64 at most.
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]+")
_MAX_CHARS = 64


def choose_name(name: str, prefix: str, taken: set[str]) -> str:
    """Return the name of a tool for the model, and add it to those that are taken."""
    chosen = _REFUSED.sub("_", f"{prefix}{name}").strip("_") or "tool"
    if len(chosen) > _MAX_CHARS or chosen in taken:
        mark = hashlib.sha256(f"{prefix}{name}".encode()).hexdigest()[:8]
        chosen = f"{chosen[: _MAX_CHARS - 9]}_{mark}"
    taken.add(chosen)
    return chosen
