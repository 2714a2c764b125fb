"""The canonical schema of a type, and the refusals."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from dataclasses import InitVar
from datetime import date
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    ForwardRef,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import Doc, ReadOnly, TypeAliasType

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import schema_hash, schema_of

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=int)
Constrained = TypeVar("Constrained", int, str)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Item:
    """One line of an invoice."""

    name: str = attrs.field(metadata={"description": "What was bought"})
    price: Annotated[float, "in euro"]
    count: int = 1
    color: Color = Color.RED
    tags: list[str] = attrs.field(factory=list)
    total: float = attrs.field(init=False, default=0.0)
    kind: str = attrs.field(alias="type", default="good")


@attrs.frozen
class Node:
    value: int
    next: Node | None = None


@attrs.frozen
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Plain:
    x: int
    y: float | None = None


@dataclasses.dataclass
class Parent:
    item: Item
    other: Item | None
    box: Box[int]
    boxes: list[Box[Item]]


class Movie(TypedDict, total=False):
    title: Annotated[str, Doc("the full title")]
    year: ReadOnly[int]


class Version(NamedTuple):
    major: int
    minor: int = 0


class Model(pydantic.BaseModel):
    name: str
    inner: list[Model] = []


class Struct(msgspec.Struct):
    name: str
    plain: Plain | None = None


def test_an_attrs_class_is_an_inline_closed_object():
    assert schema_of(Item) == {
        "type": "object",
        "title": "Item",
        "description": "One line of an invoice.",
        "properties": {
            "name": {"type": "string", "description": "What was bought"},
            "price": {"type": "number", "description": "in euro"},
            "count": {"type": "integer", "default": 1},
            "color": {"$ref": "#/$defs/Color"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "type": {"type": "string", "default": "good"},
        },
        "required": ["name", "price"],
        "additionalProperties": False,
        "$defs": {"Color": {"type": "string", "enum": ["red", "blue"]}},
    }


def test_a_recursive_root_is_a_reference():
    schema = schema_of(Node)
    assert schema["$ref"] == "#/$defs/Node"
    assert schema["$defs"]["Node"]["properties"]["next"] == {
        "anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}],
        "default": None,
    }


def test_a_class_used_twice_is_defined_once():
    assert list(schema_of(Parent)["$defs"]) == ["Item", "Color", "Box_int", "Box_Item"]


def test_two_classes_of_one_name_get_two_definitions():
    first = attrs.make_class("Same", {"a": attrs.field(type=int)})
    second = attrs.make_class("Same", {"b": attrs.field(type=int)})
    schema = schema_of(tuple[first, second])
    assert [item["$ref"] for item in schema["prefixItems"]] == ["#/$defs/Same", "#/$defs/Same_2"]


def test_a_docstring_generated_by_dataclass_is_ignored():
    assert "description" not in schema_of(Plain)


def test_a_docstring_generated_by_namedtuple_is_ignored():
    assert "description" not in schema_of(Version)


def test_a_doc_marker_is_the_description():
    assert schema_of(Movie)["properties"]["title"]["description"] == "the full title"


def test_a_partial_typed_dict_requires_nothing():
    assert schema_of(Movie)["required"] == []


def test_a_named_tuple_is_an_object():
    assert schema_of(Version)["properties"] == {
        "major": {"type": "integer"},
        "minor": {"type": "integer", "default": 0},
    }


def test_a_set_has_unique_items():
    assert schema_of(set[int]) == {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


def test_a_fixed_tuple_has_prefix_items():
    assert schema_of(tuple[int, str]) == {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }


def test_keys_of_a_map_are_checked_by_name():
    assert schema_of(dict[int, str])["propertyNames"] == {"pattern": "^-?(0|[1-9][0-9]*)$"}
    assert schema_of(dict[Color, str])["propertyNames"] == {"enum": ["red", "blue"]}
    assert schema_of(dict[date, str])["propertyNames"] == {"type": "string", "format": "date"}
    assert "propertyNames" not in schema_of(dict[Any, str])


def test_a_literal_of_several_kinds_states_no_type():
    assert schema_of(Literal["a", 1]) == {"enum": ["a", 1]}


def test_a_new_type_has_the_schema_of_its_base():
    assert schema_of(NewType("UserId", int)) == {"type": "integer"}


def test_final_is_looked_through():
    @attrs.frozen
    class Fixed:
        x: Final[int] = 3  # type: ignore[misc]

    assert schema_of(Fixed)["properties"]["x"] == {"type": "integer", "default": 3}


def test_an_unfilled_type_variable_is_its_bound():
    assert schema_of(Box)["properties"]["item"] == {}
    assert schema_of(list[Bounded]) == {"type": "array", "items": {"type": "integer"}}
    assert schema_of(list[Constrained])["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def test_a_class_made_in_a_function_may_name_itself():
    @attrs.frozen
    class Local:
        children: list[Local]

    assert schema_of(Local)["$ref"] == "#/$defs/Local"


def test_a_pydantic_model_states_its_own_schema():
    assert schema_of(Model) == Model.model_json_schema()


def test_a_struct_states_its_own_schema():
    assert schema_of(Struct) == msgspec.json.schema(Struct)


def test_foreign_definitions_keep_apart_from_ours():
    mine = attrs.make_class("Model", {"a": attrs.field(type=int)})
    schema = schema_of(tuple[mine, Model, Model, Struct])
    assert [item["$ref"].rpartition("/")[2] for item in schema["prefixItems"]] == [
        "Model",
        "Model_2",
        "Model_2",
        "Struct",
    ]
    assert schema["$defs"]["Model_2"]["properties"]["inner"]["items"] == {"$ref": "#/$defs/Model_2"}


def test_a_generic_alias_is_filled_in():
    pair = TypeAliasType("pair", tuple[T, T], type_params=(T,))
    assert schema_of(pair[int])["prefixItems"] == [{"type": "integer"}, {"type": "integer"}]


def test_a_schema_given_as_dict_is_copied():
    given = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = schema_of(given)
    assert schema == given
    assert schema["properties"] is not given["properties"]


def test_a_wrong_schema_is_refused_at_its_path():
    with pytest.raises(ConfigurationError, match=r"\$\.properties\.a\.type"):
        schema_of({"type": "object", "properties": {"a": {"type": "text"}}})


def test_a_wrong_pattern_is_refused():
    with pytest.raises(ConfigurationError, match=r"\$\.pattern"):
        schema_of({"pattern": "("})


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"])
def test_a_schema_that_is_not_json_is_refused(value):
    with pytest.raises(ConfigurationError, match="not JSON"):
        schema_of({"const": value})


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x.json", "file:///x.json", "#/$defs/gone", "#gone"])
def test_a_reference_to_elsewhere_is_refused(reference):
    with pytest.raises(ConfigurationError, match=r"at \$\.properties\.a, which is not part of it"):
        schema_of({"type": "object", "properties": {"a": {"$ref": reference}}})


def test_a_reference_inside_data_is_data():
    given = {"const": {"$ref": "http://127.0.0.1:9/x.json"}}
    assert schema_of(given) == given


@attrs.frozen
class Wrong:
    good: int
    bad: list[dict[str, complex]]


@attrs.frozen
class Outer:
    inner: tuple[Wrong, int]


def test_an_unknown_type_is_refused_with_the_path_of_its_field():
    with pytest.raises(ConfigurationError, match=r"Wrong\.bad\[\]\{\}: <class 'complex'> has no JSON form") as caught:
        schema_of(Outer)
    assert "attrs" in caught.value.hint


@pytest.mark.parametrize(
    "tp", [complex, object(), "Item", Ellipsis, type, enum.IntFlag("F", ["A"]), ForwardRef("Gone")]
)
def test_a_type_without_a_json_form_is_refused(tp):
    with pytest.raises(ConfigurationError, match="has no JSON form"):
        schema_of(tp)


@pytest.mark.parametrize("key", [float, list[int], bytes | str, Literal["a"] | None, Item])
def test_keys_that_are_no_text_are_refused(key):
    with pytest.raises(ConfigurationError, match="cannot be the key"):
        schema_of(dict[key, int])


def test_enums_of_other_objects_are_refused():
    with pytest.raises(ConfigurationError, match="is not a JSON value"):
        schema_of(enum.Enum("Odd", {"A": (1, 2)}))


def test_metadata_that_cannot_be_hashed_is_refused():
    with pytest.raises(ConfigurationError, match=r"hashable|unhashable"):
        schema_of(list[Annotated[int, {}]])


def test_a_name_only_type_checkers_see_is_refused():
    @attrs.frozen
    class Hidden:
        price: OnlyForTypeCheckers

    with pytest.raises(ConfigurationError, match="OnlyForTypeCheckers") as caught:
        schema_of(Hidden)
    assert "module level" in caught.value.hint


def test_an_alias_of_an_unknown_name_is_refused():
    with pytest.raises(ConfigurationError, match="Gone"):
        schema_of(TypeAliasType("Lost", "Gone"))  # noqa: F821  (the point)


def test_a_field_that_exists_only_while_initialising_is_refused():
    @dataclasses.dataclass
    class Seeded:
        seed: InitVar[int]
        x: int = 0

    with pytest.raises(ConfigurationError, match=r"Seeded\.seed is an InitVar"):
        schema_of(Seeded)


def test_a_model_that_cannot_state_its_schema_is_refused():
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        thing: object = pydantic.Field()
        call: complex.__class__

    with pytest.raises(ConfigurationError, match="cannot build a JSON Schema"):
        schema_of(Odd)


def test_the_hash_is_of_sorted_compact_ascii_json():
    schema = {"type": "string", "const": "é"}
    text = '{"const":"\\u00e9","type":"string"}'
    assert schema_hash(schema) == hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_does_not_change_between_versions():
    assert schema_hash({"b": [1, {"z": None, "a": True}], "a": "ä"}) == (
        hashlib.sha256(b'{"a":"\\u00e4","b":[1,{"a":true,"z":null}]}').hexdigest()
    )
    assert json.loads(json.dumps(schema_of(Item))) == schema_of(Item)
