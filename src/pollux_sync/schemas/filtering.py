"""Removal of keywords that a dialect does not support, from a schema whose shapes stay unchanged.

A check that is removed loses no value: it goes into the description, and the answer is validated against the canonical
schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.describing import append_notes
from pollux_sync.schemas.dialects import Finding, SchemaDialect
from pollux_sync.schemas.keywords import ANNOTATIONS, IGNORED, Schema, Step, drop_keywords, map_subschemas
from pollux_sync.schemas.mismatch import json_path

if TYPE_CHECKING:
    from collections.abc import Iterable


def split_keywords(
    schema: Schema, keys: Iterable[str], dialect: SchemaDialect, steps: tuple[Step, ...]
) -> tuple[Schema, Schema, list[Finding]]:
    """Return the supported keywords of a schema, those for the description, and the findings about the latter."""
    kept: Schema = {}
    notes: Schema = {}
    for key in keys:
        value = schema[key]
        if not is_supported(key, value, dialect):
            notes[key] = value
        else:
            kept[key] = value
        # Anthropic accepts a minItems of 0 or 1 only: the largest one allowed stays as a weaker check.
        if key == "minItems" and key in notes and key not in dialect.unsupported_keywords:
            kept[key] = dialect.min_items_max
    findings = [_build_note(key, value, steps) for key, value in notes.items() if key not in ANNOTATIONS]
    return kept, {key: value for key, value in notes.items() if value is not None}, findings


def is_supported(key: str, value: Any, dialect: SchemaDialect) -> bool:
    """Return True if the dialect accepts this keyword with this value."""
    if key in dialect.unsupported_keywords:
        return False
    if key == "format" and dialect.allowed_formats is not None:
        return value in dialect.allowed_formats
    if key == "minItems" and dialect.min_items_max is not None:
        return bool(value <= dialect.min_items_max)
    return True


def _build_note(key: str, value: Any, steps: tuple[Step, ...]) -> Finding:
    message = f"{key} {value!r} is sent in the description and checked when the answer is read"
    return Finding(path=json_path(steps), message=message, severity="note")


def filter_schema(schema: Any, dialect: SchemaDialect, steps: tuple[Step, ...] = ()) -> tuple[Any, list[Finding]]:
    """Return the schema without unsupported keywords, and the findings about them."""
    if not isinstance(schema, dict):
        return schema, []
    findings: list[Finding] = []

    def filter_inner(further: tuple[Step, ...], inner: Any) -> Any:
        filtered, inner_findings = filter_schema(inner, dialect, steps + further)
        findings.extend(inner_findings)
        return filtered

    kept, notes, own_findings = split_keywords(schema, schema, dialect, steps)
    filtered = map_subschemas(kept, filter_inner)
    filtered = _replace_one_of(filtered) if not dialect.allows_one_of else filtered
    # A reference inside allOf may have siblings outside of it, and both still apply.
    if len(filtered) > 1 and "$ref" in filtered and not dialect.allows_ref_siblings:
        filtered = {**filtered, "allOf": [{"$ref": filtered.pop("$ref")}, *filtered.get("allOf", ())]}
    helpful_notes = {key: value for key, value in notes.items() if key not in IGNORED}
    description = append_notes(filtered.get("description"), helpful_notes)
    return ({**filtered, "description": description} if description else filtered), findings + own_findings


def _replace_one_of(schema: Schema) -> Schema:
    # anyOf accepts more than oneOf, namely a value of two branches. Reading checks the canonical oneOf.
    if "oneOf" not in schema:
        return schema
    rest = drop_keywords(schema, "oneOf")
    if "anyOf" not in rest:
        return {**rest, "anyOf": schema["oneOf"]}
    return {**rest, "allOf": [*rest.get("allOf", ()), {"anyOf": schema["oneOf"]}]}
