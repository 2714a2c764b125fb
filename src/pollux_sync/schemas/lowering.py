"""Lowering of a canonical schema to what one dialect accepts, and lifting of the answers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.filtering import filter_schema
from pollux_sync.schemas.measuring import list_excesses, list_long_enums
from pollux_sync.schemas.normalizing import DEFS, Normalized, attach_definitions, normalize
from pollux_sync.schemas.rewriting import rewrite_shapes
from pollux_sync.schemas.transforms import IDENTITY, Transform, ValueInObject, is_identity

if TYPE_CHECKING:
    from pollux_sync.schemas.dialects import Finding, SchemaDialect
    from pollux_sync.schemas.keywords import Schema

_WRAPPER_NAME = "value"


@attrs.frozen(kw_only=True)
class Lowered:
    """A schema in one dialect: the schema to send, what it cannot express, and the transform of its answers."""

    schema: Schema
    findings: tuple[Finding, ...]
    transform: Transform = attrs.field(repr=False, eq=False)

    def lift(self, value: Any) -> Any:
        """Return the canonical value of an answer that is valid under ``schema``.

        Raises AnswerMismatch for an answer without a canonical value, such as a map with a key twice.
        """
        return value if self.is_same else self.transform.lift(value)

    def lower_value(self, value: Any) -> Any:
        """Return the answer by which a model would mean this canonical value: ``lift(lower_value(v)) == v``."""
        return value if self.is_same else self.transform.lower(value)

    @cached_property
    def is_same(self) -> bool:
        """True if every answer equals its canonical value, so that lifting is skipped."""
        return is_identity(self.transform)


def lower(schema: Schema, dialect: SchemaDialect) -> Lowered:
    """Return a canonical schema in a dialect. No value is lost; some checks may move to the reading of the answer.

    Raises ConfigurationError for a reference that cannot be resolved inside the schema, and for a schema that is nested
    too deeply or grows without measure.
    """
    try:
        return _lower(schema, dialect)
    except RecursionError:
        raise ConfigurationError(
            "the schema is nested too deeply", hint="leave out a level, or a definition that refers to itself in place"
        ) from None


def _lower(schema: Schema, dialect: SchemaDialect) -> Lowered:
    # A dialect that keeps all shapes needs no rewriting, so that its users see the schema which they wrote.
    if not (dialect.rewrites_shapes or dialect.needs_object_root):
        lowered, findings = filter_schema(schema, dialect)
        transform: Transform = IDENTITY
    else:
        lowered, transform, findings = _lower_shapes(normalize(schema), dialect)
    # Counted on the lowered schema: rewriting adds levels, unions and names.
    findings += list_excesses(lowered, dialect.limits)
    findings += list_long_enums(lowered, dialect.long_enums) if dialect.long_enums else []
    return Lowered(schema=lowered, findings=tuple(findings), transform=transform)


def lint(schema: Schema, dialect: SchemaDialect) -> list[Finding]:
    """Return the findings about a schema in a dialect, without sending anything."""
    return list(lower(schema, dialect).findings)


def _lower_shapes(normalized: Normalized, dialect: SchemaDialect) -> tuple[Schema, Transform, list[Finding]]:
    if dialect.rewrites_shapes:
        root, definitions, transform, findings = rewrite_shapes(normalized, dialect)
    else:
        transform = IDENTITY
        root, findings = filter_schema(normalized.root, dialect)
        definitions = {}
        for name, inner in normalized.defs.items():
            definitions[name], inner_findings = filter_schema(inner, dialect, ("$defs", name))
            findings += inner_findings
    if dialect.needs_object_root:
        root = _resolve_root(root, definitions)
        # A list or a scalar is answered as {"value": ...}, from which the transform takes it out again.
        if root.get("type") != "object":
            root, transform = _wrap_root(root), ValueInObject(_WRAPPER_NAME, transform)
    return attach_definitions(root, definitions), transform, findings


def _resolve_root(root: Any, definitions: dict[str, Any]) -> Schema:
    """Return the root, or the definition that it refers to: the required object must be in the root itself."""
    # A chain of references may lead back to itself, and so never to an object.
    resolved: list[str] = []
    while isinstance(root, dict) and "$ref" in root and root["$ref"] not in resolved:
        resolved.append(root["$ref"])
        around = {key: value for key, value in root.items() if key != "$ref"}
        root = {**definitions[root["$ref"].removeprefix(DEFS)], **around}
    return root if isinstance(root, dict) else {}


def _wrap_root(root: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {_WRAPPER_NAME: root},
        "required": [_WRAPPER_NAME],
        "additionalProperties": False,
    }
