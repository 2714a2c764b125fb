"""Transforms: each converts values between a canonical schema and its lowered form, in both directions.

``lift`` converts a model's answer to the canonical value, ``lower`` a canonical value to the answer that means it.
``lift(lower(value)) == value``, so that rewriting a schema loses no value. Each side expects a value that is valid
under the schema of that side; AnswerMismatch names the place of a value that has another shape.
"""
# ruff: noqa: D102  (lift, lower, iter_children and changes_shape are explained once, at Transform)

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pollux_sync.schemas.jsontext import parse_json
from pollux_sync.schemas.mismatch import AnswerMismatch, shorten
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import Draft202012Validator

    from pollux_sync.schemas.keywords import Schema


class Transform(Protocol):
    """A pair of inverse functions between canonical values and answers."""

    def lift(self, value: Any) -> Any:
        """Return the canonical value of an answer."""
        ...

    def lower(self, value: Any) -> Any:
        """Return the answer by which a model would mean this canonical value."""
        ...

    def iter_children(self) -> Iterator[Transform]:
        """Yield the transforms of the parts."""
        ...

    @property
    def changes_shape(self) -> bool:
        """True if this level, leaving its parts aside, differs between the two sides."""
        ...


@attrs.define(eq=False, repr=False)
class Definitions:
    """The ``$defs`` of both sides and the transforms between them; filled while a schema is rewritten."""

    canonical: dict[str, Any] = attrs.field(factory=dict)
    lowered: dict[str, Any] = attrs.field(factory=dict)
    transforms: dict[str, Transform] = attrs.field(factory=dict)


@attrs.frozen
class Identity:
    """A value that is equal on both sides."""

    changes_shape = False

    def lift(self, value: Any) -> Any:
        return value

    def lower(self, value: Any) -> Any:
        return value

    def iter_children(self) -> Iterator[Transform]:
        return iter(())


IDENTITY = Identity()


@attrs.frozen
class ValueAsJsonText:
    """Any JSON value, answered as JSON text."""

    changes_shape = True

    def lift(self, value: Any) -> Any:
        text = _require_type(value, str, "JSON text")
        # Strict, since the schema of the answer says "string" and checks nothing inside the text.
        try:
            return parse_json(text)
        except ValueError as error:
            raise AnswerMismatch(f"expected JSON text: {error}") from error

    def lower(self, value: Any) -> Any:
        return json.dumps(value)

    def iter_children(self) -> Iterator[Transform]:
        return iter(())


@attrs.frozen
class ArrayTransform:
    """An array: ``prefix`` has the transforms of the first items by position, ``item`` that of all others."""

    item: Transform
    prefix: tuple[Transform, ...] = ()
    changes_shape = False

    def lift(self, value: Any) -> Any:
        items = _require_type(value, list, "an array")
        return [_convert_part(index, self._choose(index).lift, item) for index, item in enumerate(items)]

    def lower(self, value: Any) -> Any:
        items = _require_type(value, list, "an array")
        return [_convert_part(index, self._choose(index).lower, item) for index, item in enumerate(items)]

    def _choose(self, index: int) -> Transform:
        return self.prefix[index] if index < len(self.prefix) else self.item

    def iter_children(self) -> Iterator[Transform]:
        yield self.item
        yield from self.prefix


@attrs.frozen
class TupleAsObject:
    """A tuple, answered as an object.

    ``slots`` has a property for each item with a position. ``rest`` is the name of the property that holds the array
    of all later items, and the transform of such an item.
    """

    slots: ObjectTransform
    rest: tuple[str, Transform] | None
    changes_shape = True

    def lift(self, value: Any) -> Any:
        properties = dict(_require_type(value, dict, "an object"))
        name, transform = self.rest or ("", IDENTITY)
        rest = _convert_part(name, ArrayTransform(transform).lift, properties.pop(name, []))
        lifted = self.slots.lift(properties)
        # The order of the slots is that of the schema: a model may answer the properties in any order.
        items = [lifted[slot] for slot in self.slots.properties if slot in lifted]
        return items + rest

    def lower(self, value: Any) -> Any:
        items = _require_type(value, list, "an array")
        # An array may be shorter than its prefixItems: the slots without an item are absent properties.
        lowered = self.slots.lower(dict(zip(self.slots.properties, items, strict=False)))
        if self.rest:
            name, transform = self.rest
            lowered[name] = ArrayTransform(transform).lower(items[len(self.slots.properties) :])
        return lowered

    def iter_children(self) -> Iterator[Transform]:
        yield self.slots
        if self.rest:
            yield self.rest[1]


@attrs.frozen
class MapAsPairs:
    """A map, answered as an array of ``{key, value}``."""

    value: Transform
    changes_shape = True

    def lift(self, value: Any) -> Any:
        table: dict[str, Any] = {}
        for index, pair in enumerate(_require_type(value, list, "an array of keys and values")):
            # An object cannot hold a key twice. To keep either value would drop the other without notice.
            if pair["key"] in table:
                raise AnswerMismatch(f"duplicate key {shorten(repr(pair['key']))}").prefix_path(index)
            table[pair["key"]] = _convert_part(index, self.value.lift, pair["value"])
        return table

    def lower(self, value: Any) -> Any:
        table = _require_type(value, dict, "an object")
        return [{"key": key, "value": _convert_part(key, self.value.lower, item)} for key, item in table.items()]

    def iter_children(self) -> Iterator[Transform]:
        yield self.value


@attrs.frozen
class ObjectTransform:
    """An object, converted property by property.

    ``null_means_absent`` names the properties for which null is not legal, so that it can stand for an absent one.
    ``absent_as_null`` names those that are lowered to null when they are absent. Additional properties are converted
    by ``additional``, or collected as pairs in the property that ``additional_pairs`` names.
    """

    properties: dict[str, Transform]
    null_means_absent: frozenset[str] = frozenset()
    absent_as_null: frozenset[str] = frozenset()
    additional_pairs: tuple[str, MapAsPairs] | None = None
    additional: Transform = IDENTITY

    @property
    def changes_shape(self) -> bool:
        return bool(self.absent_as_null or self.additional_pairs)

    def lift(self, value: Any) -> Any:
        lifted: dict[str, Any] = {}
        for key, item in _require_type(value, dict, "an object").items():
            # A dialect that requires every property had the model answer null for an absent one.
            if item is None and key in self.null_means_absent:
                continue
            if self.additional_pairs and key == self.additional_pairs[0]:
                lifted |= self._lift_pairs(self.additional_pairs[1], key, item)
            else:
                lifted[key] = _convert_part(key, self.properties.get(key, self.additional).lift, item)
        return lifted

    def _lift_pairs(self, pairs: MapAsPairs, name: str, value: Any) -> dict[str, Any]:
        table: dict[str, Any] = _convert_part(name, pairs.lift, value)
        for key in table:
            # A pair with the name of a declared property would overwrite the answer to that property.
            if key in self.properties:
                raise AnswerMismatch(f"{key!r} is a declared property, not an additional one").prefix_path(name)
        return table

    def lower(self, value: Any) -> Any:
        table = _require_type(value, dict, "an object")
        lowered = {
            key: _convert_part(key, transform.lower, table[key]) if key in table else None
            for key, transform in self.properties.items()
            if key in table or key in self.absent_as_null
        }
        rest = {key: item for key, item in table.items() if key not in self.properties}
        if self.additional_pairs:
            return {**lowered, self.additional_pairs[0]: self.additional_pairs[1].lower(rest)}
        return {**lowered, **{key: _convert_part(key, self.additional.lower, item) for key, item in rest.items()}}

    def iter_children(self) -> Iterator[Transform]:
        yield from self.properties.values()
        yield self.additional
        if self.additional_pairs:
            yield self.additional_pairs[1]


@attrs.frozen
class ValueInObject:
    """A value inside an object with one property."""

    name: str
    value: Transform
    changes_shape = True

    def lift(self, value: Any) -> Any:
        return _convert_part(self.name, self.value.lift, _require_type(value, dict, "an object")[self.name])

    def lower(self, value: Any) -> Any:
        return {self.name: self.value.lower(value)}

    def iter_children(self) -> Iterator[Transform]:
        yield self.value


@attrs.frozen
class NullableTransform:
    """Null, or a value that ``value`` converts."""

    value: Transform
    changes_shape = False

    def lift(self, value: Any) -> Any:
        return None if value is None else self.value.lift(value)

    def lower(self, value: Any) -> Any:
        return None if value is None else self.value.lower(value)

    def iter_children(self) -> Iterator[Transform]:
        yield self.value


@attrs.frozen
class ReferenceTransform:
    """A reference to a definition. The transform is looked up on use, since a definition may contain itself."""

    name: str
    definitions: Definitions
    changes_shape = False

    def lift(self, value: Any) -> Any:
        return self.definitions.transforms[self.name].lift(value)

    def lower(self, value: Any) -> Any:
        return self.definitions.transforms[self.name].lower(value)

    def iter_children(self) -> Iterator[Transform]:
        # While a definition is being rewritten, a reference inside it has no transform to yield yet.
        if self.name in self.definitions.transforms:
            yield self.definitions.transforms[self.name]


@attrs.frozen(eq=False)
class Branch:
    """One branch of a union: its schema on both sides, and the transform between them."""

    canonical: Schema
    lowered: Schema
    transform: Transform
    definitions: Definitions

    # Compiled on first use: at construction the definitions are still incomplete.
    @cached_property
    def lowered_validator(self) -> Draft202012Validator:
        """A validator of answers."""
        return compile_validator({**self.lowered, "$defs": self.definitions.lowered})

    @cached_property
    def canonical_validator(self) -> Draft202012Validator:
        """A validator of canonical values."""
        return compile_validator({**self.canonical, "$defs": self.definitions.canonical})


@attrs.frozen
class UnionTransform:
    """A union: the first branch whose schema accepts a value converts it.

    This is exact because rewriting tags the branches of every union in which two branches could accept one answer and
    lift it to different values.
    """

    branches: tuple[Branch, ...]
    changes_shape = False

    def lift(self, value: Any) -> Any:
        for branch in self.branches:
            if branch.lowered_validator.is_valid(value):
                return branch.transform.lift(value)
        raise AnswerMismatch("matches no branch of the union")

    def lower(self, value: Any) -> Any:
        # Two branches may accept one canonical value: either of them lowers it to an answer that lifts back to it.
        for branch in self.branches:
            if branch.canonical_validator.is_valid(value):
                return branch.transform.lower(value)
        raise AnswerMismatch("matches no branch of the union")

    def iter_children(self) -> Iterator[Transform]:
        yield from (branch.transform for branch in self.branches)


def is_identity(transform: Transform) -> bool:
    """Return True if every value is equal on both sides."""
    # Definitions may contain themselves: `seen` ends the walk, and a list of work needs no recursion.
    waiting, seen = [transform], set()
    while waiting:
        current = waiting.pop()
        if current.changes_shape:
            return False
        if id(current) not in seen:
            seen.add(id(current))
            waiting.extend(current.iter_children())
    return True


def _require_type(value: Any, cls: type, expected: str) -> Any:
    if not isinstance(value, cls):
        raise AnswerMismatch(f"expected {expected}, got {shorten(repr(value))}")
    return value


def _convert_part(step: str | int, convert: Any, value: Any) -> Any:
    """Convert a part of a value; the path of a mismatch in it begins with ``step``."""
    try:
        return convert(value)
    except AnswerMismatch as mismatch:
        raise mismatch.prefix_path(step) from mismatch.__cause__
