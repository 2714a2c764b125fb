"""Dialects of JSON Schema as data: a provider declares in one ``SchemaDialect`` row what it accepts."""

from __future__ import annotations

from datetime import date  # noqa: TC003  (attrs resolves it for users of the class)
from typing import TYPE_CHECKING, Literal

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable


def _freeze_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SchemaLimits(Value):
    """The limits on the size of a schema; None means unlimited.

    They are counted on the lowered schema, each definition once.
    """

    max_depth: int | None = None  # levels of objects inside objects; the root is level 1
    max_properties: int | None = None
    max_optional: int | None = None  # properties which are not required
    max_unions: int | None = None  # schemas with anyOf, oneOf or a list of types
    max_enum_values: int | None = None
    max_name_chars: int | None = None  # names of properties and definitions, enum and const texts


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LongEnumLimit(Value):
    """A limit on enums of more than ``above_values`` values: the ``max_chars`` that the texts of one may have."""

    above_values: int
    max_chars: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SchemaDialect(Value):
    """The JSON Schema that one provider accepts. The defaults accept everything.

    With ``all_required`` and ``optional_as_nullable``, an optional property becomes a required one that may be null.
    Without ``allows_recursion``, a type inside itself is answered as JSON text. ``unsupported_keywords`` are sent in
    the description. ``min_items_max`` is the largest ``minItems`` allowed. ``as_of`` and ``docs`` are the date and the
    page of the vendor's documentation from which the facts were taken.
    """

    name: str
    needs_object_root: bool = False
    all_required: bool = False
    optional_as_nullable: bool = False
    closes_objects: bool = False
    allows_open_maps: bool = True
    allows_tuples: bool = True
    allows_any: bool = True
    allows_recursion: bool = True
    allows_one_of: bool = True
    allows_ref_siblings: bool = True
    unsupported_keywords: frozenset[str] = attrs.field(default=frozenset(), converter=_freeze_names)
    allowed_formats: frozenset[str] | None = attrs.field(
        default=None, converter=attrs.converters.optional(_freeze_names)
    )
    min_items_max: int | None = None
    limits: SchemaLimits = SchemaLimits()
    long_enums: LongEnumLimit | None = None
    as_of: date | None = None
    docs: str = ""

    @property
    def rewrites_shapes(self) -> bool:
        """True if some answers in this dialect differ from the canonical value, so that they must be lifted."""
        # Fields that only remove checks, such as unsupported_keywords, keep every shape: filtering is enough for them.
        return (
            self.all_required
            or self.closes_objects
            or not (self.allows_open_maps and self.allows_tuples and self.allows_any and self.allows_recursion)
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Finding(Value):
    """A part of a schema that a dialect cannot express, at a JSON path of the canonical schema.

    A "note" is sent in the description and checked when the answer is read. An "error" means that the provider would
    refuse the schema.
    """

    path: str
    message: str
    severity: Literal["note", "error"]

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


#: The dialect that changes nothing.
PLAIN = SchemaDialect(name="plain")

#: The dialect of strict structured outputs, which several services share. A provider evolves the row with its own name,
#: limits, date and page. Every object must list all its properties as required and close itself, so that an optional
#: property is one that may be null, a map a list of pairs, and a value of any type JSON text.
STRICT_SCHEMAS = SchemaDialect(
    name="strict",
    needs_object_root=True,
    all_required=True,
    optional_as_nullable=True,
    closes_objects=True,
    allows_open_maps=False,
    allows_tuples=False,
    allows_any=False,
    allows_one_of=False,
    allows_ref_siblings=False,
    unsupported_keywords={
        *("minLength", "maxLength", "uniqueItems", "default", "examples", "contentEncoding", "contentMediaType"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "title"),
        *("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else"),
    },
    allowed_formats={
        *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
    },
)
