"""What a provider accepts of JSON Schema, as data: a provider declares one ``SchemaDialect`` row."""

from __future__ import annotations

from datetime import date  # noqa: TC003  (attrs resolves it for users of the class)
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class SchemaLimits:
    """How big a schema may be; None is no limit. Counted on what is sent, each definition once."""

    max_depth: int | None = None  # levels of objects inside objects; the root is level 1
    max_properties: int | None = None
    max_optional: int | None = None  # properties which are not required
    max_unions: int | None = None  # schemas with anyOf, oneOf or a list of types
    max_enum_values: int | None = None
    max_name_chars: int | None = None  # names of properties and definitions, enum and const texts


@attrs.frozen(kw_only=True)
class SchemaDialect:
    """The JSON Schema one provider accepts. The defaults accept everything.

    ``all_required`` with ``optional_as_nullable``: a property that may be absent is required and may be
    null instead. What contains itself is answered as JSON text where there is no recursion.
    ``unsupported_keywords`` are told to the model in the description. ``min_items_max`` is the largest
    ``minItems`` allowed, ``as_of`` and ``docs`` say when and where the facts were read.
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
    unsupported_keywords: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    allowed_formats: frozenset[str] | None = attrs.field(default=None, converter=attrs.converters.optional(_names))
    min_items_max: int | None = None
    limits: SchemaLimits = SchemaLimits()
    as_of: date | None = None
    docs: str = ""

    @property
    def rewrites_shapes(self) -> bool:
        """Whether some values look different in this dialect, so that answers must be lifted."""
        return (
            self.all_required
            or self.closes_objects
            or not (self.allows_open_maps and self.allows_tuples and self.allows_any and self.allows_recursion)
        )


@attrs.frozen(kw_only=True)
class Finding:
    """Something of a schema that this dialect cannot express, at a JSON path of the canonical schema.

    A "note" is only told to the model and checked when the answer is read; an "error" means that the
    provider would refuse the schema.
    """

    path: str
    message: str
    severity: Literal["note", "error"]

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


PLAIN = SchemaDialect(name="plain")
