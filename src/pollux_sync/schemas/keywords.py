"""Which JSON Schema 2020-12 keywords hold further schemas, and walking along them.

A ``$ref`` inside ``const``, ``enum``, ``default`` or ``examples`` is data and is never followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Schema = dict[str, Any]
Step = str | int

IN_ONE = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
IN_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
IN_MAP = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
#: Says nothing to a model; left out without a word where a schema is rewritten.
SILENT = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$dynamicAnchor",
        "$id",
        "$schema",
        "$vocabulary",
        "definitions",
        "deprecated",
        "discriminator",
        "readOnly",
        "title",
        "writeOnly",
    }
)


def subschemas(schema: Any) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Yield each schema directly inside this one, with the steps that lead to it."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key in IN_ONE:
            yield (key,), value
        elif key in IN_LIST and isinstance(value, list):
            yield from (((key, index), item) for index, item in enumerate(value))
        elif key in IN_MAP and isinstance(value, dict):
            yield from (((key, name), item) for name, item in value.items())


def walk(schema: Any, steps: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Yield the schema and every schema inside it, outer ones first."""
    yield steps, schema
    for further, inner in subschemas(schema):
        yield from walk(inner, steps + further)


def map_subschemas(schema: Schema, change: Callable[[tuple[Step, ...], Any], Any]) -> Schema:
    """Return the schema with each schema directly inside replaced by ``change(steps, inner)``."""
    changed = dict(schema)
    for key, value in schema.items():
        if key in IN_ONE:
            changed[key] = change((key,), value)
        elif key in IN_LIST and isinstance(value, list):
            changed[key] = [change((key, index), item) for index, item in enumerate(value)]
        elif key in IN_MAP and isinstance(value, dict):
            changed[key] = {name: change((key, name), item) for name, item in value.items()}
    return changed


def is_anything(schema: Any) -> bool:
    """Whether every JSON value is valid: ``true``, or an object of annotations only."""
    if isinstance(schema, dict):
        return all(key in ANNOTATIONS or key in SILENT for key in schema)
    return schema is True
