"""Two schemas that must both hold, as one: ``allOf`` for dialects without it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.describing import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.schemas.keywords import Schema

#: What says which values are valid and can be merged; everything else stays where it stands.
STRUCTURE = frozenset(
    {
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "propertyNames",
        "required",
        "type",
        "uniqueItems",
    }
)


def merge(one: Any, two: Any) -> Any:
    """Return a schema for what both accept, or False when nothing can be.

    Where the two cannot be joined exactly the first is kept and the second goes into the description;
    an answer is validated against the original schema anyway.
    """
    if one is False or two is False:
        return False
    if not isinstance(one, dict) or not isinstance(two, dict):
        return two if one is True else one
    merged, unjoined = {**two, **one}, {}
    for key in one.keys() & two.keys():
        if key in _JOINS:
            merged[key] = _JOINS[key](one[key], two[key])
        elif key in STRUCTURE and one[key] != two[key]:
            unjoined[key] = two[key]
    if _is_impossible(merged) or "const" in unjoined:
        return False
    description = told(merged.get("description"), unjoined)
    return {**merged, "description": description} if description else merged


def _is_impossible(schema: Schema) -> bool:
    if schema.get("type") == [] or schema.get("enum") == []:
        return True
    return "const" in schema and "enum" in schema and not _contains(schema["enum"], schema["const"])


def _contains(values: list[Any], value: Any) -> bool:
    return json.dumps(value) in {json.dumps(item) for item in values}


def _join_types(one: Any, two: Any) -> Any:
    first = [one] if isinstance(one, str) else one
    second = [two] if isinstance(two, str) else two
    common = [kind for kind in first if kind in second or (kind == "integer" and "number" in second)]
    common += [kind for kind in second if kind == "integer" and "number" in first and kind not in common]
    return common[0] if len(common) == 1 else common


def _join_enums(one: list[Any], two: list[Any]) -> list[Any]:
    return [value for value in one if _contains(two, value)]


def _join_maps(one: Schema, two: Schema) -> Schema:
    return {key: merge(one.get(key, True), two.get(key, True)) for key in {**one, **two}}


def _join_branches(one: list[Any], two: list[Any]) -> list[Any]:
    return [merge(first, second) for first in one for second in two]


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "type": _join_types,
    "enum": _join_enums,
    "properties": _join_maps,
    "patternProperties": _join_maps,
    "additionalProperties": merge,
    "items": merge,
    "propertyNames": merge,
    "anyOf": _join_branches,
    "oneOf": _join_branches,
    "allOf": lambda one, two: [*one, *two],
    "required": lambda one, two: [*one, *(key for key in two if key not in one)],
    "description": lambda one, two: one if one == two else f"{one}\n{two}",
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
    "uniqueItems": lambda one, two: one or two,
    "multipleOf": lambda one, two: math.lcm(one, two) if isinstance(one, int) and isinstance(two, int) else one,
}
