"""The size of a schema, in the terms of ``SchemaLimits``."""

from __future__ import annotations

from typing import Any

import attrs

from pollux_sync.schemas.dialects import Finding, LongEnumLimit, SchemaLimits
from pollux_sync.schemas.keywords import iter_subschemas, walk_schemas
from pollux_sync.schemas.mismatch import json_path

_DEFS = "#/$defs/"
_UNITS = {
    "max_depth": "levels of objects",
    "max_properties": "properties",
    "max_optional": "optional properties",
    "max_unions": "unions",
    "max_enum_values": "enum values",
    "max_name_chars": "characters in names and enum values",
}


def list_excesses(schema: Any, limits: SchemaLimits) -> list[Finding]:
    """Return a finding, with severity "error", for each limit that the schema exceeds."""
    counts = None
    findings = []
    for name, limit in attrs.asdict(limits).items():
        if limit is not None:
            # Measured on demand: a dialect without limits does not pay for it.
            counts = counts or measure_schema(schema)
            if counts[name] > limit:
                message = f"{counts[name]} {_UNITS[name]}, {limit} are allowed"
                findings.append(Finding(path="$", message=message, severity="error"))
    return findings


def list_long_enums(schema: Any, limit: LongEnumLimit) -> list[Finding]:
    """Return a finding, with severity "error", for each enum of many values whose texts are too long together."""
    findings = []
    for steps, inner in walk_schemas(schema):
        values = inner.get("enum", ()) if isinstance(inner, dict) else ()
        n_chars = sum(len(value) for value in values if isinstance(value, str))
        if len(values) > limit.above_values and n_chars > limit.max_chars:
            message = f"{n_chars} characters in {len(values)} enum values, {limit.max_chars} are allowed"
            findings.append(Finding(path=json_path(steps), message=message, severity="error"))
    return findings


def measure_schema(schema: Any) -> dict[str, int]:
    """Return the count for each field of ``SchemaLimits``; every definition counts once."""
    counts = dict.fromkeys(_UNITS, 0)
    for _, inner in walk_schemas(schema):
        if isinstance(inner, dict):
            properties = inner.get("properties", {})
            values = [*inner.get("enum", ()), *([inner["const"]] if "const" in inner else ())]
            names = [*properties, *inner.get("$defs", ()), *(v for v in values if isinstance(v, str))]
            counts["max_properties"] += len(properties)
            counts["max_optional"] += len(set(properties) - set(inner.get("required", ())))
            counts["max_unions"] += "anyOf" in inner or "oneOf" in inner or isinstance(inner.get("type"), list)
            counts["max_enum_values"] += len(inner.get("enum", ()))
            counts["max_name_chars"] += sum(map(len, names))
    counts["max_depth"] = _measure_depth(schema, schema, frozenset(), {})
    return counts


def _measure_depth(schema: Any, root: Any, entered: frozenset[str], known: dict[str, int]) -> int:
    """Return the number of levels of objects; a definition inside itself adds none."""
    # `entered` ends recursion, and `known` has the depth of each definition: without it, definitions that refer to
    # each other twice would double the work at every level.
    if not isinstance(schema, dict):
        return 0
    deepest = 0
    for steps, inner in iter_subschemas(schema):
        if steps[0] not in ("$defs", "definitions"):
            deepest = max(deepest, _measure_depth(inner, root, entered, known))
    name = str(schema.get("$ref", "")).removeprefix(_DEFS)
    if name in root.get("$defs", {}) and name not in entered:
        if name not in known:
            known[name] = _measure_depth(root["$defs"][name], root, entered | {name}, known)
        deepest = max(deepest, known[name])
    return deepest + (schema.get("type") == "object" or "properties" in schema)
