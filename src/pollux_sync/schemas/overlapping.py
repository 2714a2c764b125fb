"""A conservative test that no value can be valid under two schemas at once.

Rewriting asks it whether the branches of a union need tags. A wrong "disjoint" would lift an answer through the wrong
branch; a wrong "may overlap" only costs a tag. So everything unknown counts as overlap.
"""

from __future__ import annotations

import json
from typing import Any

#: Levels of unions, properties and references that are compared. Beyond it two schemas count as overlapping.
_MAX_DEPTH = 4
_DEFS = "#/$defs/"
_ALL_TYPES = frozenset({"null", "boolean", "integer", "string", "object", "array", "number"})


def are_disjoint(one: Any, two: Any, defs: dict[str, Any], depth: int = _MAX_DEPTH) -> bool:
    """Return True only if no value is valid under both schemas; False also if that is unknown."""
    one, two = _resolve_reference(one, defs), _resolve_reference(two, defs)
    if one is False or two is False:
        return True
    if one is True or two is True or not depth:
        return False
    for first, second in ((one, two), (two, one)):
        if "anyOf" in first:
            return all(are_disjoint(branch, second, defs, depth - 1) for branch in first["anyOf"])
    return (
        not _read_types(one) & _read_types(two)
        or _have_disjoint_values(one, two)
        or (_read_types(one) == _read_types(two) == {"object"} and _have_disjoint_properties(one, two, defs, depth))
    )


def _resolve_reference(schema: Any, defs: dict[str, Any]) -> Any:
    for _ in range(_MAX_DEPTH):
        if not (isinstance(schema, dict) and "$ref" in schema):
            return schema
        schema = defs.get(schema["$ref"].removeprefix(_DEFS), True)
    # A longer chain of references counts as a schema that accepts everything.
    return True


def _read_types(schema: dict[str, Any]) -> frozenset[str]:
    names = schema.get("type", _ALL_TYPES)
    types = {names} if isinstance(names, str) else set(names)
    # Every integer is a number as well.
    return frozenset(types | {"integer"} if "number" in types else types)


def _read_values(schema: dict[str, Any]) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {json.dumps(value, sort_keys=True) for value in values}


def _have_disjoint_values(one: dict[str, Any], two: dict[str, Any]) -> bool:
    first, second = _read_values(one), _read_values(two)
    return first is not None and second is not None and not first & second


def _have_disjoint_properties(one: dict[str, Any], two: dict[str, Any], defs: dict[str, Any], depth: int) -> bool:
    # A property that one schema requires and the other, closed one does not know.
    for first, second in ((one, two), (two, one)):
        if second.get("additionalProperties") is False and "patternProperties" not in second:
            missing = set(first.get("required", ())) - set(second.get("properties", {}))
            if missing:
                return True
    # A property that both require, with values that no two share: the tag of a discriminated union, for example.
    shared = set(one.get("required", ())) & set(two.get("required", ()))
    return any(
        are_disjoint(one["properties"][key], two["properties"][key], defs, depth - 1)
        for key in shared & set(one.get("properties", {})) & set(two.get("properties", {}))
    )
