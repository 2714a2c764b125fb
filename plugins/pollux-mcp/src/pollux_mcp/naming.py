"""The names of tools: those that servers give -> those that every provider accepts."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What OpenAI, Anthropic, Gemini and OpenRouter all accept, see `pollux_sync.plugin.ToolNames` of each.
_ACCEPTED = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_MAX_CHARS = 64
_DIGEST_CHARS = 8


def build_names(names: Sequence[str], prefix: str = "") -> dict[str, str]:
    """Return the original name of each name for the model, in order.

    A name that providers accept stays unchanged behind the prefix. Of any other one the characters that they refuse
    become underscores; a digest keeps those apart that become equal, or too long. The result does not depend on the
    order, so that a conversation can be continued with a list that has changed.
    """
    originals = {f"{prefix}{name}": name for name in names if _ACCEPTED.fullmatch(f"{prefix}{name}")}
    for name in names:
        if f"{prefix}{name}" not in originals:
            originals[_spell(f"{prefix}{name}")] = name
    order = {name: position for position, name in enumerate(names)}
    return dict(sorted(originals.items(), key=lambda item: order[item[1]]))


def _spell(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    spelt = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    start = spelt if re.match(r"[a-zA-Z_]", spelt) else f"_{spelt}"
    return f"{start[: _MAX_CHARS - _DIGEST_CHARS - 1]}_{digest}"
