"""More than thirty types of every kind, with values of each."""

from __future__ import annotations

import dataclasses
import enum
from collections import OrderedDict, deque, namedtuple
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
from typing_extensions import TypeAliasType

T = TypeVar("T")
K = TypeVar("K")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"
    BAD = "bad"


class Mixed(enum.Enum):
    TEXT = "a"
    NUMBER = 2
    HALF = 0.5
    NOTHING = None


@attrs.frozen
class Point:
    x: int
    y: float = 0.0


@attrs.frozen
class Spot:
    x: int
    y: float = 0.0
    name: str = "here"


@attrs.frozen
class Defaults:
    a: int = 3
    b: str | None = "b"
    c: list[int] = attrs.field(factory=list)
    d: dict[str, int] = attrs.field(factory=dict)
    e: int | None = None


@attrs.define
class Private:
    _secret: int
    renamed: str = attrs.field(alias="other")
    computed: int = attrs.field(init=False, default=7)


@attrs.frozen
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)


@attrs.frozen
class Chain:
    label: str
    weights: dict[str, float]
    rest: Chain | None = None


@attrs.frozen
class Leaf:
    weight: Decimal


@attrs.frozen
class Fork:
    left: Leaf | Fork
    right: Leaf | Fork
    notes: dict[str, str]


@attrs.frozen
class Box(Generic[T]):
    item: T
    spare: list[T] = attrs.field(factory=list)


@attrs.frozen
class Named(Box[dict[str, K]], Generic[K]):
    key: K | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    start: Point
    end: Point
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Pair(Generic[K, T]):
    key: K
    value: T


class Movie(TypedDict):
    title: str
    year: NotRequired[int]
    cast: NotRequired[dict[str, str]]


class Partial(TypedDict, total=False):
    a: int
    b: tuple[int, str]


class Version(NamedTuple):
    major: int
    minor: int = 0
    label: str | None = None


Untyped = namedtuple("Untyped", ["a", "b"])  # noqa: PYI024  (the untyped kind is what is tested)


class Author(pydantic.BaseModel):
    name: str
    born: date | None = None
    works: dict[str, int] = {}
    friends: list[Author] = []


class Book(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    isbn: str = pydantic.Field(alias="ISBN", min_length=3)
    author: Author
    size: tuple[int, int, float]
    price: Decimal


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: dict[str, bool] = {}


class Owner(pydantic.BaseModel):
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Scores(pydantic.RootModel[dict[str, tuple[int, int]]]):
    pass


class Envelope(pydantic.BaseModel, Generic[T]):
    payload: T
    spare: T | None = None


class Renamed(msgspec.Struct, rename="camel", tag=True, frozen=True):
    first_name: str
    raw: bytes = b""


class Reading(msgspec.Struct):
    sensor: str
    values: dict[str, float]
    when: datetime
    next: Reading | None = None


@attrs.frozen
class Shelf:
    books: list[Book]
    readings: tuple[Reading, ...] = ()
    owner: Author | None = None


@attrs.frozen
class Event:
    at: datetime
    day: date
    clock: time
    length: timedelta
    id: UUID
    cost: Decimal
    raw: bytes
    file: Path


@attrs.frozen
class Loose:
    anything: Any
    maybe: Any = None
    table: dict[str, Any] = attrs.field(factory=dict)
    items: list[Any] = attrs.field(factory=list)


@attrs.frozen
class Square:
    side: float
    meta: dict[str, str]


@attrs.frozen
class Circle:
    side: float
    meta: list[str]


@attrs.frozen
class Absent:
    x: int = 0


@attrs.frozen
class Present:
    x: int | None


UserId = NewType("UserId", int)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | float | int | bool | None")
Duo = TypeAliasType("Duo", tuple[T, T], type_params=(T,))
TREE = Tree(1, [Tree(2), Tree(3, [Tree(4)])])
AUTHOR = Author(name="A", born=date(1900, 1, 2), works={"x": 1}, friends=[Author(name="B")])
BOOK = Book(ISBN="123", author=AUTHOR, size=(1, 2, 3.5), price=Decimal("9.90"))
NOON = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
EVENT = Event(
    at=NOON,
    day=date(999, 1, 1),
    clock=time(23, 59, 59, 1, tzinfo=UTC),
    length=timedelta(days=-400, microseconds=1),
    id=UUID("12345678-1234-5678-1234-567812345678"),
    cost=Decimal("-1.50E+3"),
    raw=b"\x00\xff",
    file=Path("a") / "b.txt",
)

EXAMPLES: list[tuple[Any, list[Any]]] = [
    (int, [0, -5, 10**30]),
    (float, [0.5, -1e300, 3.0]),
    (str, ["", "naïve \U0001f600", '{"value": 1}']),
    (bool, [True, False]),
    (None, [None]),
    (Any, [None, 1, "x", {"a": [1, None]}]),
    (Color, [Color.RED]),
    (Level, [Level.HIGH]),
    (Mood, [Mood.BAD]),
    (Mixed, list(Mixed)),
    (
        Literal["a", 1, True, None],  # noqa: PYI061  (None among the values)
        ["a", 1, True, None],
    ),
    (Literal[Color.RED, "x"], [Color.RED, "x"]),
    (Literal["only"], ["only"]),
    (Optional[int], [None, 0]),  # noqa: UP045  (the old spelling)
    (int | str, [1, "1", ""]),
    (float | int | bool, [1, 2.5, True]),
    (datetime | date | str, [NOON, date(2024, 2, 29), "tomorrow"]),
    (str | datetime, [NOON, "later"]),
    (UserId, [3]),
    (Annotated[int, "years"], [3]),
    (list[int], [[], [1, 2]]),
    (list[dict[str, int]], [[], [{}, {"a": 1}]]),
    (Sequence[str], [["a"]]),
    (deque[int], [deque([1, 2])]),
    (tuple[int, str, float | None], [(1, "a", None), (1, "a", 0.5)]),
    (tuple[int, ...], [(), (1, 2, 3)]),
    (tuple[dict[str, int], ...], [(), ({"a": 1}, {})]),
    (tuple[()], [()]),
    (tuple, [(), (1, "a", None)]),
    (set[int], [set(), {3, 1, 2}]),
    (frozenset[str], [frozenset({"b", "a"})]),
    (AbstractSet[tuple[int, str]], [frozenset({(1, "a"), (2, "b")})]),
    (dict[str, int], [{}, {"a": 1, "key": 2, "": 3}]),
    (dict[int, str], [{-1: "a", 20: "b"}]),
    (dict[Level, Color], [{Level.LOW: Color.GREEN}]),
    (dict[date, dict[str, tuple[int, int]]], [{date(2024, 1, 1): {"a": (1, 2)}}]),
    (dict[Literal["x", "y"], int], [{"x": 1}]),
    # At the root a bare dict asks for JSON mode.
    (list[dict], [[], [{}, {"a": {"b": [1, {}]}}]]),
    (list, [[], [1, "a", {"b": None}]]),
    (Mapping[str, list[set[int]]], [{"a": [{1}, set()]}]),
    (OrderedDict[str, int], [OrderedDict(b=1, a=2)]),
    (dict[str, int] | list[dict[str, int]], [{}, [], {"a": 1}, [{"key": 1, "value": 2}]]),
    (tuple[int, int] | tuple[int, int, int] | dict[str, int], [(1, 2), (1, 2, 3), {"item_0": 1, "item_1": 2}]),
    (Json, [None, 1, 2.5, "x", True, [], {}, {"a": [{"b": [[], {}]}], "key": None}]),
    (Duo[dict[str, int]], [({}, {"a": 1})]),
    (Point, [Point(1), Point(1, 2.5)]),
    (Point | Spot, [Point(1), Spot(1), Spot(1, 2.0, "x")]),
    (list[Point | int | str | None], [[Point(1), 2, "x", None]]),
    (Defaults, [Defaults(), Defaults(b=None, c=[1], d={"a": 1}, e=4)]),
    (Private, [Private(1, "x")]),
    (Tree, [TREE]),
    (Chain, [Chain("a", {"w": 1.5}, Chain("b", {}))]),
    (
        Leaf | Fork,
        [Leaf(Decimal("1.0")), Fork(Leaf(Decimal(1)), Fork(Leaf(Decimal(2)), Leaf(Decimal(3)), {}), {"a": "b"})],
    ),
    (Box[int], [Box(1, [2, 3])]),
    (Box[Box[Point]], [Box(Box(Point(1)))]),
    (Box[dict[str, int]] | Box[list[int]], [Box({"a": 1}), Box([1], [[2]])]),
    (Named[int], [Named({"a": 1}, [{}], 2)]),
    (Line, [Line(Point(0), Point(1, 1.0), frozenset({"a"}))]),
    (Pair[str, list[Point]], [Pair("a", [Point(1)])]),
    (Movie, [{"title": "a"}, {"title": "a", "year": 1, "cast": {"x": "y"}}, {"title": "b", "cast": {}}]),
    (Partial, [{}, {"a": 1}, {"b": (1, "x")}]),
    (Version, [Version(1), Version(1, 2, "rc")]),
    (Untyped, [Untyped(1, {"x": [None]})]),
    (Author, [AUTHOR]),
    (Book, [BOOK]),
    (Owner, [Owner(pet=Cat(lives=3)), Owner(pet=Dog(tricks={"sit": True}))]),
    (list[Cat | Dog], [[Cat(), Dog(tricks={"a": False})]]),
    (Scores, [Scores({"a": (1, 2)})]),
    (Envelope[dict[str, int]], [Envelope[dict[str, int]](payload={"a": 1})]),
    (tuple[Renamed, ...], [(Renamed("a"), Renamed("b", b"x"))]),
    (Reading, [Reading("s", {"a": 1.0}, NOON, Reading("t", {}, NOON))]),
    (Shelf, [Shelf([BOOK]), Shelf([], (Reading("s", {}, NOON),), AUTHOR)]),
    (Event, [EVENT]),
    (dict[UUID, PurePosixPath], [{EVENT.id: PurePosixPath("/x")}]),
    (Loose, [Loose(1), Loose({"a": [1]}, "x", {"k": None}, [[], "y"]), Loose(None, None)]),
    (Square | Circle, [Square(1.0, {}), Circle(1.0, []), Square(1.0, {"a": "b"}), Circle(2.0, ["key"])]),
    (Absent | Present, [Absent(3), Present(None)]),
]

#: Without those that have no type: what may be asked for.
TYPES = [(kind, values) for kind, values in EXAMPLES if kind is not None]
