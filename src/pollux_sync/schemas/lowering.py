"""A canonical schema as one dialect accepts it, and the way back for its answers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.bridges import SAME, Bridge, Wrapped, is_same
from pollux_sync.schemas.filtering import filter_schema
from pollux_sync.schemas.measuring import findings_over
from pollux_sync.schemas.normalizing import DEFS, Normalized, normalize, with_definitions
from pollux_sync.schemas.rewriting import rewrite

if TYPE_CHECKING:
    from pollux_sync.schemas.dialects import Finding, SchemaDialect
    from pollux_sync.schemas.keywords import Schema

_WRAPPER = "value"


@attrs.frozen(kw_only=True)
class Lowered:
    """A schema in one dialect: what is sent, what could not be kept, and the way back for answers."""

    schema: Schema
    findings: tuple[Finding, ...]
    bridge: Bridge = attrs.field(repr=False, eq=False)

    def lift(self, value: Any) -> Any:
        """Return the canonical value of an answer that is valid under ``schema``.

        Raises AnswerMismatch where an answer has no canonical value, such as a map with a key twice.
        """
        return value if self.is_same else self.bridge.lift(value)

    def lower_value(self, value: Any) -> Any:
        """Return what a model would answer to mean this canonical value: ``lift(lower_value(v)) == v``."""
        return value if self.is_same else self.bridge.lower(value)

    @cached_property
    def is_same(self) -> bool:
        """Whether answers look the same as canonical values."""
        return is_same(self.bridge)


def lower(schema: Schema, dialect: SchemaDialect) -> Lowered:
    """Express a canonical schema in a dialect; no value is lost, only checks may move to the reading.

    Raises ConfigurationError for references that cannot be followed inside the schema.
    """
    if not (dialect.rewrites_shapes or dialect.needs_object_root):
        lowered, findings = filter_schema(schema, dialect)
        bridge: Bridge = SAME
    else:
        lowered, bridge, findings = _express(normalize(schema), dialect)
    findings += findings_over(lowered, dialect.limits)
    return Lowered(schema=lowered, findings=tuple(findings), bridge=bridge)


def lint(schema: Schema, dialect: SchemaDialect) -> list[Finding]:
    """List what of the schema the dialect cannot express, before any money is spent."""
    return list(lower(schema, dialect).findings)


def _express(normalized: Normalized, dialect: SchemaDialect) -> tuple[Schema, Bridge, list[Finding]]:
    if dialect.rewrites_shapes:
        root, definitions, bridge, findings = rewrite(normalized, dialect)
    else:
        bridge = SAME
        root, findings = filter_schema(normalized.root, dialect)
        definitions = {}
        for name, inner in normalized.defs.items():
            definitions[name], found = filter_schema(inner, dialect, ("$defs", name))
            findings += found
    if dialect.needs_object_root:
        root = _opened(root, definitions)
        if root.get("type") != "object":
            root, bridge = _wrapped(root), Wrapped(_WRAPPER, bridge)
    return with_definitions(root, definitions), bridge, findings


def _opened(root: Any, definitions: dict[str, Any]) -> Schema:
    """Return the root itself where it is only a reference: providers want to see the object."""
    opened: list[str] = []
    while isinstance(root, dict) and "$ref" in root and root["$ref"] not in opened:
        opened.append(root["$ref"])
        around = {key: value for key, value in root.items() if key != "$ref"}
        root = {**definitions[root["$ref"].removeprefix(DEFS)], **around}
    return root if isinstance(root, dict) else {}


def _wrapped(root: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {_WRAPPER: root},
        "required": [_WRAPPER],
        "additionalProperties": False,
    }
