"""The keywords of JSON Schema 2020-12 that hold further schemas, and walks along them.

A ``$ref`` inside ``const``, ``enum``, ``default`` or ``examples`` is data and is never followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Schema = dict[str, Any]
Step = str | int

#: Keywords whose value is one schema.
SCHEMA_KEYWORDS = frozenset(
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
#: Keywords whose value is a list of schemas.
SCHEMA_LIST_KEYWORDS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
#: Keywords whose value has a schema under each name. ``definitions`` is how drafts before 2019-09 wrote ``$defs``.
SCHEMA_MAP_KEYWORDS = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})

#: Keywords that check nothing.
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
#: Keywords that help no model. Rewriting leaves them out without a finding.
IGNORED = frozenset(
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


def iter_subschemas(schema: Any) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Yield each schema directly inside this one, with the steps that lead to it."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key in SCHEMA_KEYWORDS:
            yield (key,), value
        elif key in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            yield from (((key, index), item) for index, item in enumerate(value))
        elif key in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
            yield from (((key, name), item) for name, item in value.items())


def walk_schemas(schema: Any, steps: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Yield the schema and every schema inside it, outer ones first."""
    yield steps, schema
    for further, inner in iter_subschemas(schema):
        yield from walk_schemas(inner, steps + further)


def map_subschemas(schema: Schema, change: Callable[[tuple[Step, ...], Any], Any]) -> Schema:
    """Return the schema with each schema directly inside it replaced by ``change(steps, inner)``."""
    changed = dict(schema)
    for key, value in schema.items():
        if key in SCHEMA_KEYWORDS:
            changed[key] = change((key,), value)
        elif key in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            changed[key] = [change((key, index), item) for index, item in enumerate(value)]
        elif key in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
            changed[key] = {name: change((key, name), item) for name, item in value.items()}
    return changed


def drop_keywords(schema: Schema, *keywords: str) -> Schema:
    """Return the schema without these keywords."""
    return {key: value for key, value in schema.items() if key not in keywords}


def is_anything(schema: Any) -> bool:
    """Return True if the schema accepts every JSON value: ``true``, or an object of annotations only."""
    if isinstance(schema, dict):
        return all(key in ANNOTATIONS or key in IGNORED for key in schema)
    return schema is True
