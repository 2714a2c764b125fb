"""Strictness: nothing is guessed, rounded or dropped; and errors name the place."""

from __future__ import annotations

import dataclasses
import enum
import pickle
import socket
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import AnswerMismatch, structure, unstructure


class Color(enum.Enum):
    RED = "red"
    ONE = 1


@attrs.frozen
class Item:
    name: str
    price: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))


@attrs.frozen
class Basket:
    items: list[Item]
    by_name: dict[str, Item] = attrs.field(factory=dict)
    pair: tuple[Item, int] | None = None


@dataclasses.dataclass
class Line:
    name: str
    price: float = 0.0


class Movie(TypedDict):
    title: str


class Version(NamedTuple):
    major: int


class Person(pydantic.BaseModel):
    name: str
    age: int = 0


class Place(pydantic.BaseModel):
    name: str
    town: str = ""


class Struct(msgspec.Struct):
    name: str
    counts: list[int] = []


@attrs.frozen
class Holder:
    who: Person
    what: Struct | None = None


@attrs.frozen
class Deep:
    inner: Deep | None = None


@pytest.mark.parametrize(
    ("value", "tp"),
    [
        ("false", bool),
        (0, bool),
        (None, bool),
        (3.7, int),
        (True, int),
        ("3", int),
        (True, float),
        ("1.5", float),
        (10**400, float),
        (3, str),
        (None, str),
        (b"x", str),
        ("", None),
        (False, None),
        ("Red", Color),
        (True, Color),
        (2, Color),
        ([], Color),
        (True, Literal[1]),
        (1, Literal[True]),
        ("b", Literal["a"]),
        ("abc", list[str]),
        ({"a": 1}, list[str]),
        ((1,), list[int]),
        ([1, "2"], list[int]),
        ([1, 1], set[int]),
        ([1], tuple[int, int]),
        ([1, 2, 3], tuple[int, int]),
        ([], dict[str, int]),
        ({"a": "1"}, dict[str, int]),
        ({"one": 1}, dict[int, int]),
        ({"01": 1}, dict[int, int]),
        ({"a": 1}, dict[Color, int]),
        ({"2024": 1}, dict[date, int]),
        ({}, Item),
        ([], Item),
        ({"name": "a", "price": "1"}, Item),
        ({"name": "a", "extra": 1}, Item),
        ({"name": "a", "extra": 1}, Line),
        ({"name": None}, Line),
        ({}, Movie),
        ({"title": "a", "year": 1}, Movie),
        ([1], Version),
        ({"major": 1.5}, Version),
        ({"name": "a", "age": "3"}, Person),
        ({"name": "a", "age": True}, Person),
        ({"name": "a", "counts": ["1"]}, Struct),
        ("2024-01-01", datetime),
        ("2024-13-01T00:00:00", datetime),
        (1700000000, datetime),
        ("20240101", date),
        ("2024-01-01T00:00:00", date),
        ("25:00", time),
        ("noon", time),
        ("P1Y", timedelta),
        ("P", timedelta),
        ("PT", timedelta),
        ("P99999999999D", timedelta),
        ("{12345678-1234-5678-1234-567812345678}", UUID),
        ("12345678123456781234567812345678", UUID),
        ("x", UUID),
        ("1,5", Decimal),
        ("NaN", Decimal),
        (True, Decimal),
        ("not base64!", bytes),
        ("YQ", bytes),
        (1, Path),
        ("x", int | None),
        ([], int | str),
    ],
)
def test_a_value_of_another_type_is_refused(value, tp):
    with pytest.raises(AnswerMismatch):
        structure(value, tp)


@pytest.mark.parametrize(
    ("value", "tp", "built"),
    [
        (3, float, 3.0),
        (3.0, int, 3),
        (1, Color, Color.ONE),
        ("12.50", Decimal, Decimal("12.50")),
        (12.5, Decimal, Decimal("12.5")),
        (3, Decimal, Decimal(3)),
        ("2024-01-01T10:00:00Z", datetime, datetime.fromisoformat("2024-01-01T10:00:00+00:00")),
        ("2024-01-01 10:00", datetime, datetime(2024, 1, 1, 10)),  # noqa: DTZ001  (naive on purpose)
        ("10:00:00.5z", time, time.fromisoformat("10:00:00.5+00:00")),
        ("P1W2DT3H4M5.25S", timedelta, timedelta(days=9, hours=3, minutes=4, seconds=5.25)),
        ("-P1D", timedelta, timedelta(days=-1)),
        ("YWI=", bytes, b"ab"),
        ({"title": "a"}, Movie, {"title": "a"}),
        (3, int | float, 3),
        (3, float | int, 3),
        ("a", str | bytes, "a"),
        ("YWI=", bytes | int, b"ab"),
        ({"name": "a", "town": "b"}, Person | Place, Place(name="a", town="b")),
        ({"name": "a"}, Person | Place, Person(name="a")),
        ({"name": "a", "more": 1}, Person | Place, Person(name="a")),
        (12.5, Decimal | bool, Decimal("12.5")),
        (5, str | Any, 5),
        ({"a": 1}, {"type": "object"}, {"a": 1}),
    ],
)
def test_a_fitting_value_is_built(value, tp, built):
    result = structure(value, tp)
    assert result == built
    assert type(result) is type(built)


@pytest.mark.parametrize(
    ("value", "tp", "path"),
    [
        ({"items": [{"name": "a"}, {"name": "b", "price": "x"}]}, Basket, "$.items[1].price"),
        ({"items": [{"name": "a", "odd key": 1}]}, Basket, '$.items[0]["odd key"]'),
        ({"items": [], "by_name": {"x y": {}}}, Basket, '$.by_name["x y"]'),
        ({"items": [], "pair": [{"name": 3}, 1]}, Basket, "$.pair[0].name"),
        ({"items": [{"name": "a", "price": -1}]}, Basket, "$.items[0]"),
        ({"who": {"name": 1}}, Holder, "$.who.name"),
        ({"who": {"name": "a"}, "what": {"name": "b", "counts": [1, "x"]}}, Holder, "$.what.counts[1]"),
        ([1, None], {"items": {"type": "integer"}}, "$[1]"),
    ],
)
def test_a_mismatch_names_its_place(value, tp, path):
    with pytest.raises(AnswerMismatch) as caught:
        structure(value, tp)
    assert caught.value.path == path


def test_a_mismatch_survives_pickling():
    mismatch = pickle.loads(pickle.dumps(AnswerMismatch("too long", path="$.a[0]")))  # noqa: S301
    assert (mismatch.message, mismatch.path, str(mismatch)) == ("too long", "$.a[0]", "$.a[0]: too long")


def test_a_mismatch_is_a_value_error():
    assert issubclass(AnswerMismatch, ValueError)


def test_a_mismatch_quotes_only_a_part_of_a_huge_answer():
    with pytest.raises(AnswerMismatch) as caught:
        structure("x" * 1_000_000, int)
    assert len(str(caught.value)) < 1000


def test_the_checks_of_a_class_are_the_cause():
    with pytest.raises(AnswerMismatch) as caught:
        structure([{"name": "a", "price": -1}], list[Item])
    assert isinstance(caught.value.__cause__, ValueError)


def test_every_failing_branch_of_a_union_is_reported():
    with pytest.raises(AnswerMismatch, match=r"matches no branch of the union: .*Item.*; .*Line"):
        structure({}, Item | Line)


def test_the_only_matching_branch_raises_its_own_error():
    with pytest.raises(AnswerMismatch, match="Item refuses the value"):
        structure({"name": "a", "price": -1}, Item | int)


def test_endless_nesting_is_a_mismatch():
    value: Any = None
    for _ in range(100_000):
        value = {"inner": value}
    with pytest.raises(AnswerMismatch, match="nested too deeply"):
        structure(value, Deep)
    _unravel(value)


def _unravel(value):
    while value:
        value = value.pop("inner")


def test_types_without_a_json_form_are_refused():
    with pytest.raises(ConfigurationError):
        structure(1, complex)


class Tagged(str):
    __slots__ = ()


class Whole(int):
    pass


class Moment(datetime):
    pass


class Frozen(frozenset):
    pass


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": [1, None, True, 2.5, "x"]}, {"a": [1, None, True, 2.5, "x"]}),
        ({1: "a", Color.RED: 2, date(2024, 1, 1): 3}, {"1": "a", "red": 2, "2024-01-01": 3}),
        ((1, {2}), [1, [2]]),
        ({"b", "a"}, ["a", "b"]),
        (Frozen({2, 1}), [1, 2]),
        (Tagged("x"), "x"),
        (Whole(3), 3),
        (Moment(2024, 1, 1), "2024-01-01T00:00:00"),
        (timedelta(), "PT0S"),
        (timedelta(days=1), "P1D"),
        (timedelta(hours=1), "PT3600S"),
        (timedelta(microseconds=-1), "-PT0.000001S"),
        (timedelta.min, "-P999999999D"),
        (Path("a") / "b", "a/b"),
        (Person(name="a"), {"name": "a", "age": 0}),
        ([Struct("a", [1])], [{"name": "a", "counts": [1]}]),
        (Basket([], {}, (Item("a"), 1)), {"items": [], "by_name": {}, "pair": [{"name": "a", "price": 0.0}, 1]}),
    ],
)
def test_values_are_written_as_json(value, written):
    result = unstructure(value)
    assert result == written
    assert type(result) is type(written)


@pytest.mark.parametrize(
    "value",
    [float("nan"), [float("inf")], Decimal("NaN"), object(), {True: 1}, {None: 1}, {1: "a", "1": "b"}, 1j, len],
)
def test_a_value_without_a_json_form_is_refused(value):
    with pytest.raises(ConfigurationError, match="has no JSON form"):
        unstructure(value)


def test_open_files_and_sockets_are_refused():
    with socket.socket() as opened, pytest.raises(ConfigurationError):
        unstructure(opened)


def test_a_struct_without_its_library_is_refused(monkeypatch):
    monkeypatch.delitem(sys.modules, "msgspec")
    with pytest.raises(ConfigurationError, match="msgspec is not imported"):
        structure({"name": "a"}, Struct)
