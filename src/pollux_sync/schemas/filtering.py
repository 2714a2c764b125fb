"""Keywords a dialect lacks, taken out of a schema whose shapes stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.describing import told
from pollux_sync.schemas.dialects import Finding, SchemaDialect
from pollux_sync.schemas.keywords import ANNOTATIONS, SILENT, Schema, Step, map_subschemas
from pollux_sync.schemas.mismatch import json_path

if TYPE_CHECKING:
    from collections.abc import Iterable


def keep_keywords(
    schema: Schema, keys: Iterable[str], dialect: SchemaDialect, steps: tuple[Step, ...]
) -> tuple[Schema, Schema, list[Finding]]:
    """Split these keywords of a schema into what the dialect keeps and what the model must be told."""
    kept: Schema = {}
    notes: Schema = {}
    for key in keys:
        value = schema[key]
        if not is_kept(key, value, dialect):
            notes[key] = value
        else:
            kept[key] = value
        if key == "minItems" and key in notes and key not in dialect.unsupported_keywords:
            kept[key] = dialect.min_items_max
    findings = [_note(key, value, steps) for key, value in notes.items() if key not in ANNOTATIONS]
    return kept, {key: value for key, value in notes.items() if value is not None}, findings


def is_kept(key: str, value: Any, dialect: SchemaDialect) -> bool:
    """Whether the dialect accepts this keyword with this value."""
    if key in dialect.unsupported_keywords:
        return False
    if key == "format" and dialect.allowed_formats is not None:
        return value in dialect.allowed_formats
    if key == "minItems" and dialect.min_items_max is not None:
        return bool(value <= dialect.min_items_max)
    return True


def _note(key: str, value: Any, steps: tuple[Step, ...]) -> Finding:
    message = f"{key} {value!r} is told in the description and checked when the answer is read"
    return Finding(path=json_path(steps), message=message, severity="note")


def filter_schema(schema: Any, dialect: SchemaDialect, steps: tuple[Step, ...] = ()) -> tuple[Any, list[Finding]]:
    """Return the schema without unsupported keywords, and the findings about them."""
    if not isinstance(schema, dict):
        return schema, []
    findings: list[Finding] = []

    def filter_inner(further: tuple[Step, ...], inner: Any) -> Any:
        filtered, found = filter_schema(inner, dialect, steps + further)
        findings.extend(found)
        return filtered

    kept, notes, found = keep_keywords(schema, schema, dialect, steps)
    filtered = map_subschemas(kept, filter_inner)
    filtered = _without_one_of(filtered) if not dialect.allows_one_of else filtered
    if len(filtered) > 1 and "$ref" in filtered and not dialect.allows_ref_siblings:
        filtered = {**filtered, "allOf": [{"$ref": filtered.pop("$ref")}, *filtered.get("allOf", ())]}
    told_notes = {key: value for key, value in notes.items() if key not in SILENT}
    description = told(filtered.get("description"), told_notes)
    return ({**filtered, "description": description} if description else filtered), findings + found


def _without_one_of(schema: Schema) -> Schema:
    if "oneOf" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    if "anyOf" not in rest:
        return {**rest, "anyOf": schema["oneOf"]}
    return {**rest, "allOf": [*rest.get("allOf", ()), {"anyOf": schema["oneOf"]}]}
