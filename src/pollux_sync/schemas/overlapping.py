"""Whether a value can be valid under two schemas at once, as far as can be told without a value."""

from __future__ import annotations

import json
from typing import Any

_DEPTH = 4
_DEFS = "#/$defs/"
_KINDS = frozenset({"null", "boolean", "integer", "string", "object", "array", "number"})


def are_disjoint(one: Any, two: Any, defs: dict[str, Any], depth: int = _DEPTH) -> bool:
    """Return True only when no value is valid under both schemas; False also when it is not known."""
    one, two = _opened(one, defs), _opened(two, defs)
    if one is False or two is False:
        return True
    if one is True or two is True or not depth:
        return False
    for first, second in ((one, two), (two, one)):
        if "anyOf" in first:
            return all(are_disjoint(branch, second, defs, depth - 1) for branch in first["anyOf"])
    return (
        not _kinds(one) & _kinds(two)
        or _values_differ(one, two)
        or (_kinds(one) == _kinds(two) == {"object"} and _objects_differ(one, two, defs, depth))
    )


def _opened(schema: Any, defs: dict[str, Any]) -> Any:
    for _ in range(_DEPTH):
        if not (isinstance(schema, dict) and "$ref" in schema):
            return schema
        schema = defs.get(schema["$ref"].removeprefix(_DEFS), True)
    return True


def _kinds(schema: dict[str, Any]) -> frozenset[str]:
    kind = schema.get("type", _KINDS)
    kinds = {kind} if isinstance(kind, str) else set(kind)
    return frozenset(kinds | {"integer"} if "number" in kinds else kinds)


def _values(schema: dict[str, Any]) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {json.dumps(value, sort_keys=True) for value in values}


def _values_differ(one: dict[str, Any], two: dict[str, Any]) -> bool:
    first, second = _values(one), _values(two)
    return first is not None and second is not None and not first & second


def _objects_differ(one: dict[str, Any], two: dict[str, Any], defs: dict[str, Any], depth: int) -> bool:
    for first, second in ((one, two), (two, one)):
        if second.get("additionalProperties") is False and "patternProperties" not in second:
            missing = set(first.get("required", ())) - set(second.get("properties", {}))
            if missing:
                return True
    shared = set(one.get("required", ())) & set(two.get("required", ()))
    return any(
        are_disjoint(one["properties"][key], two["properties"][key], defs, depth - 1)
        for key in shared & set(one.get("properties", {})) & set(two.get("properties", {}))
    )
