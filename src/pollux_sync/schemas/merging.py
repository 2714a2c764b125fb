"""Merging of two schemas that must both hold into one, for dialects without ``allOf``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.describing import append_notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.schemas.keywords import Schema

#: Keywords that check values and can be merged. All others stay in the schema that has them.
MERGEABLE = frozenset(
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


def merge_schemas(one: Any, two: Any) -> Any:
    """Return a schema of the values that both schemas accept, or False if no value can be accepted.

    Of two values of a keyword that cannot be merged exactly, such as two patterns, the first one is kept and the
    second goes into the description. Nothing is lost: the answer is validated against the canonical schema.
    """
    if one is False or two is False:
        return False
    if not isinstance(one, dict) or not isinstance(two, dict):
        return two if one is True else one
    merged, unmerged = {**two, **one}, {}
    for key in one.keys() & two.keys():
        if key in _MERGERS:
            merged[key] = _MERGERS[key](one[key], two[key])
        elif key in MERGEABLE and one[key] != two[key]:
            unmerged[key] = two[key]
    # Two different constants: no value is both.
    if _is_impossible(merged) or "const" in unmerged:
        return False
    description = append_notes(merged.get("description"), unmerged)
    return {**merged, "description": description} if description else merged


def _is_impossible(schema: Schema) -> bool:
    if schema.get("type") == [] or schema.get("enum") == []:
        return True
    return "const" in schema and "enum" in schema and not _contains(schema["enum"], schema["const"])


def _contains(values: list[Any], value: Any) -> bool:
    # True == 1 in Python; as JSON text they differ.
    return json.dumps(value) in {json.dumps(item) for item in values}


def _merge_types(one: Any, two: Any) -> Any:
    first = [one] if isinstance(one, str) else one
    second = [two] if isinstance(two, str) else two
    # Every integer is a number: of the two, integer is the type that both accept.
    common = [name for name in first if name in second or (name == "integer" and "number" in second)]
    common += [name for name in second if name == "integer" and "number" in first and name not in common]
    return common[0] if len(common) == 1 else common


def _merge_enums(one: list[Any], two: list[Any]) -> list[Any]:
    return [value for value in one if _contains(two, value)]


def _merge_maps(one: Schema, two: Schema) -> Schema:
    return {key: merge_schemas(one.get(key, True), two.get(key, True)) for key in {**one, **two}}


def _merge_branches(one: list[Any], two: list[Any]) -> list[Any]:
    # (A or B) and (C or D) is (A and C) or (A and D) or (B and C) or (B and D).
    return [merge_schemas(first, second) for first in one for second in two]


_MERGERS: dict[str, Callable[[Any, Any], Any]] = {
    "type": _merge_types,
    "enum": _merge_enums,
    "properties": _merge_maps,
    "patternProperties": _merge_maps,
    "additionalProperties": merge_schemas,
    "items": merge_schemas,
    "propertyNames": merge_schemas,
    "anyOf": _merge_branches,
    "oneOf": _merge_branches,
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
