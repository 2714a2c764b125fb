"""Two-way passages between canonical values and the shape a dialect can express.

A bridge carries a value in both directions: ``lift`` from the model's answer to the canonical value,
``lower`` from the canonical value to what a model would answer. ``lift(lower(value)) == value``.
Values are expected to be valid under the schema of their side; AnswerMismatch names what is not.
"""
# ruff: noqa: D102  (lift, lower, inner and changes_shape are explained once, at Bridge)

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pollux_sync.schemas.jsontext import parse_json
from pollux_sync.schemas.mismatch import AnswerMismatch, shortened
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import Draft202012Validator

    from pollux_sync.schemas.keywords import Schema


class Bridge(Protocol):
    """One passage; ``inner`` are the passages of the parts."""

    def lift(self, value: Any) -> Any:
        """Return the canonical value of an answer."""
        ...

    def lower(self, value: Any) -> Any:
        """Return how a model would answer this canonical value."""
        ...

    def inner(self) -> Iterator[Bridge]:
        """Yield the passages of the parts."""
        ...

    @property
    def changes_shape(self) -> bool:
        """Whether this level, leaving its parts aside, looks different on the two sides."""
        ...


@attrs.define(eq=False, repr=False)
class Definitions:
    """The ``$defs`` of both sides and the passages between them; filled while a schema is lowered."""

    canonical: dict[str, Any] = attrs.field(factory=dict)
    lowered: dict[str, Any] = attrs.field(factory=dict)
    bridges: dict[str, Bridge] = attrs.field(factory=dict)


@attrs.frozen
class Same:
    """The value looks the same on both sides."""

    changes_shape = False

    def lift(self, value: Any) -> Any:
        return value

    def lower(self, value: Any) -> Any:
        return value

    def inner(self) -> Iterator[Bridge]:
        return iter(())


SAME = Same()


@attrs.frozen
class JsonText:
    """Any JSON value, answered as JSON text."""

    changes_shape = True

    def lift(self, value: Any) -> Any:
        text = _as(value, str, "JSON text")
        try:
            return parse_json(text)
        except ValueError as error:
            raise AnswerMismatch(f"expected JSON text: {error}") from error

    def lower(self, value: Any) -> Any:
        return json.dumps(value)

    def inner(self) -> Iterator[Bridge]:
        return iter(())


@attrs.frozen
class Items:
    """An array whose items pass one by one: the first by position, all others alike."""

    item: Bridge
    first: tuple[Bridge, ...] = ()
    changes_shape = False

    def lift(self, value: Any) -> Any:
        given = _as(value, list, "an array")
        return [_at(index, self.at(index).lift, item) for index, item in enumerate(given)]

    def lower(self, value: Any) -> Any:
        given = _as(value, list, "an array")
        return [_at(index, self.at(index).lower, item) for index, item in enumerate(given)]

    def at(self, index: int) -> Bridge:
        return self.first[index] if index < len(self.first) else self.item

    def inner(self) -> Iterator[Bridge]:
        yield self.item
        yield from self.first


@attrs.frozen
class Slots:
    """A tuple, answered as an object: its items by position as ``fields``, what follows under ``rest``."""

    fields: Fields
    rest: tuple[str, Bridge] | None
    changes_shape = True

    def lift(self, value: Any) -> Any:
        given = dict(_as(value, dict, "an object"))
        name, bridge = self.rest or ("", SAME)
        rest = _at(name, Items(bridge).lift, given.pop(name, []))
        lifted = self.fields.lift(given)
        items = [lifted[slot] for slot in self.fields.fields if slot in lifted]
        return items + rest

    def lower(self, value: Any) -> Any:
        given = _as(value, list, "an array")
        lowered = self.fields.lower(dict(zip(self.fields.fields, given, strict=False)))
        if self.rest:
            name, bridge = self.rest
            lowered[name] = Items(bridge).lower(given[len(self.fields.fields) :])
        return lowered

    def inner(self) -> Iterator[Bridge]:
        yield self.fields
        if self.rest:
            yield self.rest[1]


@attrs.frozen
class Pairs:
    """A map, answered as a list of ``{key, value}``; a key given twice is a mismatch."""

    value: Bridge
    changes_shape = True

    def lift(self, value: Any) -> Any:
        table: dict[str, Any] = {}
        for index, pair in enumerate(_as(value, list, "an array of keys and values")):
            if pair["key"] in table:
                raise AnswerMismatch(f"the key {shortened(repr(pair['key']))} is given twice").under(index)
            table[pair["key"]] = _at(index, self.value.lift, pair["value"])
        return table

    def lower(self, value: Any) -> Any:
        given = _as(value, dict, "an object")
        return [{"key": key, "value": _at(key, self.value.lower, item)} for key, item in given.items()]

    def inner(self) -> Iterator[Bridge]:
        yield self.value


@attrs.frozen
class Fields:
    """An object whose properties pass one by one.

    Null stands for an absent property in ``null_is_absent`` (null is not legal there) and is how absence
    is lowered in ``absent_as_null``. What has no property of its own passes through ``others``, pairs
    under a name of their own, or else one by one through ``loose``.
    """

    fields: dict[str, Bridge]
    null_is_absent: frozenset[str] = frozenset()
    absent_as_null: frozenset[str] = frozenset()
    others: tuple[str, Pairs] | None = None
    loose: Bridge = SAME

    @property
    def changes_shape(self) -> bool:
        return bool(self.absent_as_null or self.others)

    def lift(self, value: Any) -> Any:
        lifted: dict[str, Any] = {}
        for key, item in _as(value, dict, "an object").items():
            if item is None and key in self.null_is_absent:
                continue
            if self.others and key == self.others[0]:
                lifted |= self.lift_others(self.others[1], key, item)
            else:
                lifted[key] = _at(key, self.fields.get(key, self.loose).lift, item)
        return lifted

    def lift_others(self, pairs: Pairs, name: str, value: Any) -> dict[str, Any]:
        others: dict[str, Any] = _at(name, pairs.lift, value)
        for key in others:
            if key in self.fields:
                raise AnswerMismatch(f"{key!r} has a property of its own").under(name)
        return others

    def lower(self, value: Any) -> Any:
        given = _as(value, dict, "an object")
        lowered = {
            key: _at(key, bridge.lower, given[key]) if key in given else None
            for key, bridge in self.fields.items()
            if key in given or key in self.absent_as_null
        }
        rest = {key: item for key, item in given.items() if key not in self.fields}
        if self.others:
            return {**lowered, self.others[0]: self.others[1].lower(rest)}
        return {**lowered, **{key: _at(key, self.loose.lower, item) for key, item in rest.items()}}

    def inner(self) -> Iterator[Bridge]:
        yield from self.fields.values()
        yield self.loose
        if self.others:
            yield self.others[1]


@attrs.frozen
class Wrapped:
    """A value inside an object of one property."""

    name: str
    value: Bridge
    changes_shape = True

    def lift(self, value: Any) -> Any:
        return _at(self.name, self.value.lift, _as(value, dict, "an object")[self.name])

    def lower(self, value: Any) -> Any:
        return {self.name: self.value.lower(value)}

    def inner(self) -> Iterator[Bridge]:
        yield self.value


@attrs.frozen
class Nullable:
    """Null, or what the inner passage carries."""

    value: Bridge
    changes_shape = False

    def lift(self, value: Any) -> Any:
        return None if value is None else self.value.lift(value)

    def lower(self, value: Any) -> Any:
        return None if value is None else self.value.lower(value)

    def inner(self) -> Iterator[Bridge]:
        yield self.value


@attrs.frozen
class Named:
    """The passage of a definition, which may lead back here."""

    name: str
    definitions: Definitions
    changes_shape = False

    def lift(self, value: Any) -> Any:
        return self.definitions.bridges[self.name].lift(value)

    def lower(self, value: Any) -> Any:
        return self.definitions.bridges[self.name].lower(value)

    def inner(self) -> Iterator[Bridge]:
        if self.name in self.definitions.bridges:
            yield self.definitions.bridges[self.name]


@attrs.frozen(eq=False)
class Branch:
    """One branch of a union: its schema on both sides and the passage between them."""

    canonical: Schema
    lowered: Schema
    bridge: Bridge
    definitions: Definitions

    @cached_property
    def accepts_lowered(self) -> Draft202012Validator:
        return compile_validator({**self.lowered, "$defs": self.definitions.lowered})

    @cached_property
    def accepts_canonical(self) -> Draft202012Validator:
        return compile_validator({**self.canonical, "$defs": self.definitions.canonical})


@attrs.frozen
class Union:
    """A value passes through the first branch whose schema accepts it."""

    branches: tuple[Branch, ...]
    changes_shape = False

    def lift(self, value: Any) -> Any:
        for branch in self.branches:
            if branch.accepts_lowered.is_valid(value):
                return branch.bridge.lift(value)
        raise AnswerMismatch("fits no branch of the union")

    def lower(self, value: Any) -> Any:
        for branch in self.branches:
            if branch.accepts_canonical.is_valid(value):
                return branch.bridge.lower(value)
        raise AnswerMismatch("fits no branch of the union")

    def inner(self) -> Iterator[Bridge]:
        yield from (branch.bridge for branch in self.branches)


def is_same(bridge: Bridge) -> bool:
    """Whether every value looks the same on both sides."""
    waiting, seen = [bridge], set()
    while waiting:
        current = waiting.pop()
        if current.changes_shape:
            return False
        if id(current) not in seen:
            seen.add(id(current))
            waiting.extend(current.inner())
    return True


def _as(value: Any, cls: type, wanted: str) -> Any:
    if not isinstance(value, cls):
        raise AnswerMismatch(f"expected {wanted}, got {shortened(repr(value))}")
    return value


def _at(step: str | int, carry: Any, value: Any) -> Any:
    try:
        return carry(value)
    except AnswerMismatch as mismatch:
        raise mismatch.under(step) from mismatch.__cause__
