"""The schema of a server's tool -> parameters that every provider can be told, or None."""

from __future__ import annotations

import json
from typing import Any

from pollux_sync import ToolDeclaration
from pollux_sync.plugin import STRICT_SCHEMAS, lower_parameters

#: A schema larger than this would cost more than the question.
_MAX_CHARS = 50_000
_MAX_GROWTH = 20


def build_parameters(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the parameters of a tool, None for a schema that is broken, or that grows without measure."""
    try:
        size = len(json.dumps(schema))
        parameters = {"properties": {}} | schema
        declaration = ToolDeclaration("tool", None, parameters).declaration
        lowered = lower_parameters(declaration, STRICT_SCHEMAS)
        grown = len(json.dumps(lowered.schema)) if lowered else 0
    # Whatever a schema can cause: the server is not ours, and its other tools are not to blame.
    except (Exception, RecursionError):  # noqa: BLE001
        return None
    return parameters if size <= _MAX_CHARS and grown <= max(_MAX_CHARS, _MAX_GROWTH * size) else None
