"""Schemas made simple enough to rewrite: each is one of ``$ref``, ``enum``, ``anyOf`` or checks of its type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.merging import STRUCTURE, merge
from pollux_sync.schemas.normalizing import DEFS

if TYPE_CHECKING:
    from pollux_sync.schemas.keywords import Schema


@attrs.define
class Simplifier:
    """Simplifies against these definitions; a reference joined with more becomes a new definition."""

    defs: dict[str, Any]
    joined: dict[str, str] = attrs.field(factory=dict)

    def simplified(self, schema: Any) -> Any:
        """Return an equal schema without allOf and oneOf, whose $ref or anyOf stands alone."""
        while isinstance(schema, dict):
            simpler = self.simpler(schema)
            if simpler is schema:
                break
            schema = simpler
        return schema

    def simpler(self, schema: Schema) -> Any:
        """Return the schema one step simpler, or the schema itself when there is no step left."""
        structure = {key: value for key, value in schema.items() if key in STRUCTURE}
        around = {key: value for key, value in schema.items() if key not in STRUCTURE}
        if "allOf" in structure:
            return self.without_all_of(structure, around)
        if "oneOf" in structure:
            return merge(without(schema, "oneOf"), {"anyOf": schema["oneOf"]})
        if "$ref" in structure and len(structure) > 1:
            return {**around, "$ref": self.join([{"$ref": schema["$ref"]}, without(structure, "$ref")])}
        if "anyOf" in structure and len(structure) > 1:
            shared = without(structure, "anyOf")
            return {**around, "anyOf": [merge(shared, branch) for branch in schema["anyOf"]]}
        return {**around, "anyOf": _by_type(structure)} if _has_container_among_types(schema) else schema

    def without_all_of(self, structure: Schema, around: Schema) -> Any:
        """Merge the parts of allOf with what stands beside it."""
        beside = without(structure, "allOf")
        parts = [*structure["allOf"], *([beside] if beside else [])]
        if len(parts) == 1:
            part = parts[0]
            return {**part, **around} if isinstance(part, dict) else part
        if any(isinstance(part, dict) and "$ref" in part for part in parts):
            return {**around, "$ref": self.join(parts)}
        return merge(around, _merged(parts))

    def join(self, parts: list[Any]) -> str:
        """Return the reference to a definition which is all of these parts."""
        key = json.dumps(parts, sort_keys=True)
        if key not in self.joined:
            name = self.joined[key] = f"Joined_{len(self.joined) + 1}"
            while name in self.defs:
                name = self.joined[key] = f"{name}_"
            self.defs[name] = {}
            self.defs[name] = _merged([self.opened(part) for part in parts])
        return DEFS + self.joined[key]

    def opened(self, schema: Any) -> Any:
        """Return the schema with what it refers to instead of the reference."""
        seen = set()
        while isinstance(schema, dict) and "$ref" in schema:
            if schema["$ref"] in seen:
                return True
            seen.add(schema["$ref"])
            schema = merge(self.defs[schema["$ref"].removeprefix(DEFS)], without(schema, "$ref"))
        return schema


def without(schema: Schema, *keys: str) -> Schema:
    """Return the schema without these keywords."""
    return {key: value for key, value in schema.items() if key not in keys}


def _merged(parts: list[Any]) -> Any:
    merged: Any = True
    for part in parts:
        merged = merge(merged, part)
    return merged


def _has_container_among_types(schema: Schema) -> bool:
    kinds = schema.get("type")
    return isinstance(kinds, list) and bool({"object", "array"} & set(kinds)) and not {"enum", "const"} & set(schema)


def _by_type(structure: Schema) -> list[Schema]:
    return [{**structure, "type": kind} for kind in structure["type"]]
