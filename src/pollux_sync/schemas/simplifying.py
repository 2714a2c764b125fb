"""Simplifying of schemas before rewriting: each becomes a ``$ref``, ``enum`` or ``anyOf``, or the checks of a type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import drop_keywords
from pollux_sync.schemas.merging import MERGEABLE, merge_schemas
from pollux_sync.schemas.normalizing import DEFS

if TYPE_CHECKING:
    from pollux_sync.schemas.keywords import Schema

#: More parts of one allOf, and more definitions of joined parts, than any type that somebody has written.
_MAX_PARTS = 1000
_MAX_ADDED = 5000


@attrs.define
class Simplifier:
    """The simplifier of schemas with these definitions, to which it adds.

    A reference with checks beside it becomes a reference to a new definition that has both.
    """

    defs: dict[str, Any]
    #: The names of added definitions by the JSON of their parts: equal parts share one, which also ends recursion.
    added_names: dict[str, str] = attrs.field(factory=dict)

    def simplify(self, schema: Any) -> Any:
        """Return the schema without allOf and oneOf, and with nothing but annotations beside a $ref or anyOf."""
        while isinstance(schema, dict):
            simpler = self.simplify_once(schema)
            if simpler is schema:
                break
            schema = simpler
        return schema

    def simplify_once(self, schema: Schema) -> Any:
        """Return the schema after one step of simplifying, or the same object if no step applies."""
        checks = {key: value for key, value in schema.items() if key in MERGEABLE}
        around = {key: value for key, value in schema.items() if key not in MERGEABLE}
        if "allOf" in checks:
            return self.merge_all_of(checks, around)
        # anyOf accepts more than oneOf, namely a value of two branches. Reading checks the canonical oneOf.
        if "oneOf" in checks:
            return merge_schemas(drop_keywords(schema, "oneOf"), {"anyOf": schema["oneOf"]})
        if "$ref" in checks and len(checks) > 1:
            return {
                **around,
                "$ref": self.define_intersection([{"$ref": schema["$ref"]}, drop_keywords(checks, "$ref")]),
            }
        # Checks beside a union apply to every branch.
        if "anyOf" in checks and len(checks) > 1:
            shared = drop_keywords(checks, "anyOf")
            return {**around, "anyOf": [merge_schemas(shared, branch) for branch in schema["anyOf"]]}
        # A list of types is a union; only one with objects or arrays has parts to rewrite.
        return {**around, "anyOf": _split_by_type(checks)} if _has_container_type(schema) else schema

    def merge_all_of(self, checks: Schema, around: Schema) -> Any:
        """Return the parts of allOf and the checks beside it, merged into one schema."""
        beside = drop_keywords(checks, "allOf")
        # Equal parts count once: definitions that name each other twice would double with every level.
        parts = _drop_equal([*checks["allOf"], *([beside] if beside else [])])
        if len(parts) > _MAX_PARTS:
            raise _build_growth_error()
        if len(parts) == 1:
            part = parts[0]
            return {**part, **around} if isinstance(part, dict) else part
        if any(isinstance(part, dict) and "$ref" in part for part in parts):
            return {**around, "$ref": self.define_intersection(parts)}
        return merge_schemas(around, _merge_all(parts))

    def define_intersection(self, parts: list[Any]) -> str:
        """Return a reference to a definition that merges all of these parts."""
        # Merged in place, a type that contains itself would be unfolded without end.
        key = json.dumps(parts, sort_keys=True)
        if key not in self.added_names:
            if len(self.added_names) > _MAX_ADDED:
                raise _build_growth_error()
            name = self.added_names[key] = f"Joined_{len(self.added_names) + 1}"
            while name in self.defs:
                name = self.added_names[key] = f"{name}_"
            self.defs[name] = {}
            self.defs[name] = _merge_all([self.resolve_reference(part) for part in parts])
        return DEFS + self.added_names[key]

    def resolve_reference(self, schema: Any) -> Any:
        """Return the schema with its references replaced by their definitions."""
        seen = set()
        while isinstance(schema, dict) and "$ref" in schema:
            # A reference that leads only to itself checks nothing.
            if schema["$ref"] in seen:
                return True
            seen.add(schema["$ref"])
            schema = merge_schemas(self.defs[schema["$ref"].removeprefix(DEFS)], drop_keywords(schema, "$ref"))
        return schema


def _drop_equal(parts: list[Any]) -> list[Any]:
    return list({json.dumps(part, sort_keys=True): part for part in parts}.values())


def _build_growth_error() -> ConfigurationError:
    return ConfigurationError(
        "the schema grows without measure when its allOf parts are joined",
        hint="write the type out without definitions that build on several others, level upon level",
    )


def _merge_all(parts: list[Any]) -> Any:
    merged: Any = True
    for part in parts:
        merged = merge_schemas(merged, part)
    return merged


def _has_container_type(schema: Schema) -> bool:
    types = schema.get("type")
    return isinstance(types, list) and bool({"object", "array"} & set(types)) and not {"enum", "const"} & set(schema)


def _split_by_type(checks: Schema) -> list[Schema]:
    return [{**checks, "type": name} for name in checks["type"]]
