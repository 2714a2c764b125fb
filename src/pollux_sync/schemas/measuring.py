"""How big a schema is, in the terms of ``SchemaLimits``."""

from __future__ import annotations

from typing import Any

import attrs

from pollux_sync.schemas.dialects import Finding, SchemaLimits
from pollux_sync.schemas.keywords import subschemas, walk

_DEFS = "#/$defs/"
_WORDS = {
    "max_depth": "levels of objects",
    "max_properties": "properties",
    "max_optional": "optional properties",
    "max_unions": "unions",
    "max_enum_values": "enum values",
    "max_name_chars": "characters in names and enum values",
}


def findings_over(schema: Any, limits: SchemaLimits) -> list[Finding]:
    """Return an error for each limit that the schema exceeds."""
    allowed, found = attrs.asdict(limits), None
    findings = []
    for name, limit in allowed.items():
        if limit is not None:
            found = found or measure(schema)
            if found[name] > limit:
                message = f"{found[name]} {_WORDS[name]}, {limit} are allowed"
                findings.append(Finding(path="$", message=message, severity="error"))
    return findings


def measure(schema: Any) -> dict[str, int]:
    """Count what each field of ``SchemaLimits`` limits; every definition counts once."""
    counts = dict.fromkeys(_WORDS, 0)
    for _, inner in walk(schema):
        if isinstance(inner, dict):
            properties = inner.get("properties", {})
            values = [*inner.get("enum", ()), *([inner["const"]] if "const" in inner else ())]
            names = [*properties, *inner.get("$defs", ()), *(v for v in values if isinstance(v, str))]
            counts["max_properties"] += len(properties)
            counts["max_optional"] += len(set(properties) - set(inner.get("required", ())))
            counts["max_unions"] += "anyOf" in inner or "oneOf" in inner or isinstance(inner.get("type"), list)
            counts["max_enum_values"] += len(inner.get("enum", ()))
            counts["max_name_chars"] += sum(map(len, names))
    counts["max_depth"] = _depth(schema, schema, frozenset(), {})
    return counts


def _depth(schema: Any, root: Any, entered: frozenset[str], known: dict[str, int]) -> int:
    """Count levels of objects; a definition met inside itself adds nothing."""
    if not isinstance(schema, dict):
        return 0
    deepest = 0
    for steps, inner in subschemas(schema):
        if steps[0] not in ("$defs", "definitions"):
            deepest = max(deepest, _depth(inner, root, entered, known))
    name = str(schema.get("$ref", "")).removeprefix(_DEFS)
    if name in root.get("$defs", {}) and name not in entered:
        if name not in known:
            known[name] = _depth(root["$defs"][name], root, entered | {name}, known)
        deepest = max(deepest, known[name])
    return deepest + (schema.get("type") == "object" or "properties" in schema)
