"""The round trips of types and values nobody thought of."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pollux_sync.builtin.examples import build_example
from pollux_sync.schemas import answer_format, lower, schema_of, structure, unstructure

pytestmark = pytest.mark.drawn
thorough = settings(
    max_examples=5 * int(os.environ.get("SOAK_ROUNDS", "4")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Suit(enum.Enum):
    SPADES = "s"
    HEARTS = 2


def _json():
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


LEAVES: dict[Any, Any] = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    bool: st.booleans(),
    None: st.none(),
    date: st.dates(),
    datetime: st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=-30))])),
    time: st.times(),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    bytes: st.binary(),
    Suit: st.sampled_from(Suit),
    Literal["a", 3, False]: st.sampled_from(["a", 3, False]),
    Any: _json(),
}
HASHABLE = [int, str, date, UUID, Suit, bytes]
KEYS = [str, int, date, UUID]
KINDS = {"string": [str, date, UUID, bytes], "number": [int, float], "boolean": [bool], "null": [None]}
FIELD_NAMES = st.sampled_from(["a", "b", "key", "value", "item_0", "rest", "title", "type", "other_properties"])


@st.composite
def types(draw, depth=3):
    """Draw a type and a strategy of its values."""
    make = draw(st.sampled_from([_leaf, _list, _tuple, _many, _set, _table, _union, _attrs, _dataclass, _typed_dict]))
    return (_leaf if depth == 0 else make)(draw, depth - 1)


def _leaf(draw, depth):
    tp = draw(st.sampled_from(list(LEAVES)))
    return tp, LEAVES[tp]


def _list(draw, depth):
    tp, values = draw(types(depth))
    return list[tp], st.lists(values, max_size=3)


def _many(draw, depth):
    tp, values = draw(types(depth))
    return tuple[tp, ...], st.lists(values, max_size=3).map(tuple)


def _tuple(draw, depth):
    parts = draw(st.lists(types(depth), max_size=3))
    return tuple[tuple(tp for tp, _ in parts)], st.tuples(*(values for _, values in parts))


def _set(draw, depth):
    tp = draw(st.sampled_from(HASHABLE))
    kind = draw(st.sampled_from([set, frozenset]))
    return kind[tp], st.sets(LEAVES[tp], max_size=3).map(kind)


def _table(draw, depth):
    key = draw(st.sampled_from(KEYS))
    tp, values = draw(types(depth))
    return dict[key, tp], st.dictionaries(LEAVES[key], values, max_size=3)


def _union(draw, depth):
    """Draw branches which JSON can tell apart: one of each kind, and records with a field of their own."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), max_size=3, unique=True))
    branches = [(tp, LEAVES[tp]) for tp in (draw(st.sampled_from(KINDS[kind])) for kind in kinds)]
    branches += [draw(st.sampled_from([_list, _tuple]))(draw, depth)] if draw(st.booleans()) else []
    if draw(st.booleans()):
        branches.append(_table(draw, depth))
    else:
        branches += [_attrs(draw, depth, own=name) for name in ("one", "two", "three")[: draw(st.integers(1, 3))]]
    tp = reduce(or_, (tp for tp, _ in branches))
    return tp, st.one_of([values for _, values in branches])


def _fields(draw, depth):
    return draw(st.dictionaries(FIELD_NAMES, types(depth), max_size=3))


def _attrs(draw, depth, own=None):
    fields = _fields(draw, depth) | ({own: (int, LEAVES[int])} if own else {})
    specs, values = {}, {}
    for name, (tp, strategy) in fields.items():
        has_default = name != own and draw(st.booleans())
        default = draw(strategy) if has_default else attrs.NOTHING
        specs[name] = attrs.field(type=tp, kw_only=True, default=default)
        values[name] = strategy
    cls = attrs.make_class("Attrs", specs, frozen=True)
    return cls, st.fixed_dictionaries(values).map(lambda given: cls(**given))


def _dataclass(draw, depth):
    fields = _fields(draw, depth)
    specs = [(name, tp) for name, (tp, _) in fields.items()]
    cls = dataclasses.make_dataclass("Data", specs, kw_only=True)
    return cls, st.fixed_dictionaries({name: values for name, (_, values) in fields.items()}).map(
        lambda given: cls(**given)
    )


def _typed_dict(draw, depth):
    fields = _fields(draw, depth)
    absentable = {name for name, (tp, _) in fields.items() if not _takes_null(tp) and draw(st.booleans())}
    hints = {name: NotRequired[tp] if name in absentable else tp for name, (tp, _) in fields.items()}
    required = {name: values for name, (_, values) in fields.items() if name not in absentable}
    optional = {name: fields[name][1] for name in absentable}
    return TypedDict("Typed", hints), st.fixed_dictionaries(required, optional=optional)


def _takes_null(tp):
    return Draft202012Validator(schema_of(tp)).is_valid(None)


@thorough
@given(data=st.data())
def test_structure_undoes_unstructure(data):
    tp, values = data.draw(types())
    value = data.draw(values)
    assert structure(json.loads(json.dumps(unstructure(value))), tp) == value


@thorough
@given(data=st.data())
def test_any_value_survives_any_dialect(dialect, data):
    tp, values = data.draw(types())
    value = data.draw(values)
    answers = answer_format(tp, dialect)
    answer = answers.lowered.lower_value(unstructure(value))
    assert answers.read(json.dumps(answer)) == value


@thorough
@given(data=st.data())
def test_lift_undoes_lower_value(dialect, data):
    tp, values = data.draw(types())
    value = unstructure(data.draw(values))
    lowered = lower(schema_of(tp), dialect)
    answer = lowered.lower_value(value)
    Draft202012Validator(lowered.schema).validate(answer)
    assert lowered.lift(answer) == value


@thorough
@given(data=st.data())
def test_an_example_of_the_lowered_schema_is_read(dialect, data):
    tp, _ = data.draw(types())
    answers = answer_format(tp, dialect)
    answer = build_example(answers.lowered.schema)
    Draft202012Validator(answers.lowered.schema).validate(answer)


@thorough
@given(data=st.data())
def test_the_example_of_a_type_can_be_structured(data):
    tp, _ = data.draw(types())
    made = build_example(schema_of(tp))
    Draft202012Validator(schema_of(tp)).validate(made)
    structure(made, tp)
