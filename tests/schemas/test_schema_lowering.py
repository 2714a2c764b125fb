"""The effect of each rule of a dialect on a schema, and the findings."""

from __future__ import annotations

import json
from typing import Any, NotRequired, TypedDict

import attrs
import pytest
from jsonschema import Draft202012Validator

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import (
    PLAIN,
    AnswerMismatch,
    SchemaDialect,
    SchemaLimits,
    lint,
    lower,
    schema_of,
)

TUPLES = SchemaDialect(name="tuples", allows_any=False)
WRAPPING = SchemaDialect(name="wrapping", needs_object_root=True)


@attrs.frozen
class Node:
    label: str
    children: list[Node] = attrs.field(factory=list)


class Sparse(TypedDict):
    note: NotRequired[str | None]
    count: NotRequired[int]


def _object(**properties):
    return {"type": "object", "properties": properties}


def _errors(findings):
    return [finding for finding in findings if finding.severity == "error"]


def _property(lowered, name="a"):
    return lowered.schema["properties"][name]


def test_the_plain_dialect_changes_nothing():
    schema = {
        "type": "object",
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        "patternProperties": {"^x": {"type": "string"}},
        "x-own": 1,
    }
    lowered = lower(schema, PLAIN)
    assert lowered.schema == schema
    assert lowered.findings == ()
    assert lowered.is_same


def test_lowering_leaves_the_given_schema_alone(dialect):
    schema = schema_of(dict[str, tuple[int, Any]])
    before = json.dumps(schema)
    lower(schema, dialect)
    assert json.dumps(schema) == before


def test_a_map_is_a_list_of_keys_and_values(openai):
    lowered = lower(schema_of(dict[str, int]), openai)
    assert lowered.schema["properties"]["value"] == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"key": {"type": "string"}, "value": {"type": "integer"}},
            "required": ["key", "value"],
            "additionalProperties": False,
        },
    }
    assert lowered.lift({"value": [{"key": "a", "value": 1}]}) == {"a": 1}


def test_a_key_given_twice_is_a_mismatch(openai):
    pair = {"key": "a", "value": 1}
    with pytest.raises(AnswerMismatch, match="duplicate key") as caught:
        lower(schema_of(dict[str, int]), openai).lift({"value": [pair, pair]})
    assert caught.value.path == "$.value[1]"


def test_the_size_of_a_map_limits_its_list(openai):
    schema = {"type": "object", "minProperties": 1, "maxProperties": 3, "additionalProperties": {"type": "string"}}
    pairs = lower(_object(a=schema) | {"required": ["a"]}, openai).schema["properties"]["a"]
    assert (pairs["minItems"], pairs["maxItems"]) == (1, 3)


def test_a_tuple_is_an_object_of_items(openai):
    lowered = lower(schema_of(tuple[int, str]), openai)
    assert lowered.schema["properties"] == {"item_0": {"type": "integer"}, "item_1": {"type": "string"}}
    assert lowered.lift({"item_0": 1, "item_1": "a"}) == [1, "a"]


def test_items_after_a_tuple_are_its_rest(openai):
    schema = {"type": "array", "prefixItems": [{"type": "integer"}], "items": {}, "minItems": 1, "uniqueItems": True}
    lowered = lower(schema, openai)
    answer = lowered.lower_value([1, "a", None])
    assert answer == {"item_0": 1, "rest": ['"a"', "null"]}
    assert lowered.lift(answer) == [1, "a", None]


def test_items_a_tuple_may_lack_are_nullable(openai):
    schema = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 1}
    lowered = lower(schema, openai)
    for value in ([1], [1, "a"]):
        assert lowered.lift(lowered.lower_value(value)) == value


def test_items_a_tuple_may_lack_stay_optional_elsewhere(anthropic):
    schema = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}
    lowered = lower(schema, anthropic)
    for value in ([], [1], [1, "a"]):
        assert lowered.lift(lowered.lower_value(value)) == value


def test_tuples_and_maps_a_dialect_has_are_kept():
    schema = {
        "type": "array",
        "prefixItems": [{"type": "object", "properties": {"a": {}}, "additionalProperties": {}}],
        "items": {"type": "integer"},
    }
    lowered = lower(schema, TUPLES)
    value = [{"a": [1], "b": {"c": None}}, 3]
    assert lowered.lower_value(value) == [{"a": "[1]", "b": '{"c": null}'}, 3]
    assert lowered.lift(lowered.lower_value(value)) == value


def test_a_root_other_than_an_object_is_wrapped(openai):
    lowered = lower({"type": "string"}, openai)
    assert lowered.schema["properties"] == {"value": {"type": "string"}}
    assert lowered.lower_value("a") == {"value": "a"}
    assert lowered.lift({"value": "a"}) == "a"


def test_wrapping_alone_leaves_the_shapes_alone():
    lowered = lower(schema_of(list[Node]), WRAPPING)
    assert lowered.schema["properties"]["value"] == {"type": "array", "items": {"$ref": "#/$defs/Node"}}
    assert lowered.schema["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_root_that_refers_to_an_object_is_that_object():
    lowered = lower(schema_of(Node), WRAPPING)
    assert lowered.schema["type"] == "object"
    assert lowered.is_same


def test_an_optional_property_is_nullable_and_its_null_dropped(openai):
    lowered = lower(schema_of(Sparse), openai)
    assert lowered.schema["required"] == ["note", "count"]
    assert _property(lowered, "count") == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert lowered.lift({"note": None, "count": None}) == {"note": None}
    assert lowered.lower_value({}) == {"note": None, "count": None}


def test_null_is_kept_where_it_is_legal_and_the_loss_is_noted(openai):
    [finding] = lint(schema_of(Sparse), openai)
    assert finding.path == "$.properties.note"
    assert "null is kept" in finding.message
    assert finding.severity == "note"


def test_absence_and_null_differ_where_anything_goes(openai):
    lowered = lower(_object(a={}), openai)
    assert lowered.lower_value({}) == {"a": None}
    assert lowered.lift({"a": None}) == {}
    assert lowered.lift({"a": "null"}) == {"a": None}


def test_null_as_default_is_the_same_as_absent(openai):
    schema = _object(a={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None})
    assert lint(schema, openai) == []


def test_an_optional_property_stays_optional_elsewhere(anthropic):
    lowered = lower(schema_of(Sparse), anthropic)
    assert lowered.schema["required"] == []
    assert lowered.lift({"note": None}) == {"note": None}
    assert lowered.lift({}) == {}


def test_a_property_that_must_be_given_but_not_null_is_noted():
    dialect = SchemaDialect(name="pedantic", all_required=True)
    lowered = lower(_object(a={"type": "integer"}), dialect)
    assert _property(lowered) == {"type": "integer"}
    assert lowered.schema["required"] == ["a"]
    assert "this dialect requires it" in lowered.findings[0].message


def test_anything_is_json_text(openai):
    lowered = lower(_object(a={"description": "Free"}) | {"required": ["a"]}, openai)
    assert _property(lowered) == {"type": "string", "description": "Free\nAny JSON value, written as JSON text."}
    assert lowered.lift({"a": '{"b": [1]}'}) == {"a": {"b": [1]}}


def test_broken_json_text_is_a_mismatch(openai):
    lowered = lower(_object(a={}) | {"required": ["a"]}, openai)
    with pytest.raises(AnswerMismatch, match="expected JSON text") as caught:
        lowered.lift({"a": "{"})
    assert caught.value.path == "$.a"


@pytest.mark.parametrize("text", ["NaN", "1e999", "[" * 100_000])
def test_json_text_no_json_can_hold_is_a_mismatch(openai, text):
    with pytest.raises(AnswerMismatch, match="expected JSON text"):
        lower(_object(a={}), openai).lift({"a": text})


def test_a_union_with_anything_is_anything(openai):
    lowered = lower(schema_of(list[int | Any]), openai)
    assert lowered.lift(lowered.lower_value([1, "a"])) == [1, "a"]


def test_one_of_is_any_of(openai):
    lowered = lower(_object(a={"oneOf": [{"type": "string"}, {"type": "integer"}]}) | {"required": ["a"]}, openai)
    assert _property(lowered) == {"anyOf": [{"type": "string"}, {"type": "integer"}]}


def test_one_of_is_any_of_where_shapes_stay():
    dialect = SchemaDialect(name="simple", allows_one_of=False)
    schema = {"oneOf": [{"type": "string"}, {"const": 1}]}
    assert lower(schema, dialect).schema == {"anyOf": schema["oneOf"]}
    both = {"oneOf": [{"type": "string"}], "anyOf": [{"minLength": 1}]}
    assert lower(both, dialect).schema == {"anyOf": [{"minLength": 1}], "allOf": [{"anyOf": [{"type": "string"}]}]}


def test_branches_that_look_alike_are_tagged(openai):
    lowered = lower(schema_of(list[dict[str, int] | list[str]]), openai)
    branches = lowered.schema["properties"]["value"]["items"]["anyOf"]
    assert [list(branch["properties"]) for branch in branches] == [["object"], ["array"]]
    assert lowered.lift({"value": [{"object": []}, {"array": []}]}) == [{}, []]


def test_branches_of_one_type_get_different_tags(openai):
    lowered = lower(schema_of(dict[str, int] | dict[int, str]), openai)
    branches = lowered.schema["properties"]["value"]["anyOf"]
    assert [list(branch["properties"]) for branch in branches] == [["object"], ["object_2"]]


def test_disjoint_branches_are_not_tagged(openai):
    lowered = lower(schema_of(dict[str, int] | str | None), openai)
    assert [branch["type"] for branch in lowered.schema["properties"]["value"]["anyOf"]] == [
        "array",
        "string",
        "null",
    ]


def test_an_answer_fitting_no_branch_is_a_mismatch(openai):
    lowered = lower(schema_of(dict[str, int] | str), openai)
    for carry in (lowered.lift, lowered.transform.lower):
        with pytest.raises(AnswerMismatch, match="matches no branch"):
            carry({"value": 3} if carry == lowered.lift else 3)


def test_unsupported_keywords_are_described_and_noted(openai):
    schema = _object(a={"type": "string", "minLength": 2, "default": "xy", "description": "A"}) | {"required": ["a"]}
    lowered = lower(schema, openai)
    assert _property(lowered) == {"type": "string", "description": 'A\nminLength: 2; default: "xy"'}
    assert [(finding.path, finding.severity) for finding in lowered.findings] == [("$.properties.a", "note")]


def test_unsupported_keywords_are_described_where_shapes_stay(gemini):
    schema = _object(a={"type": "string", "format": "uuid", "contentEncoding": "base64"})
    lowered = lower(schema, gemini)
    assert _property(lowered) == {"type": "string", "description": 'format: "uuid"; contentEncoding: "base64"'}
    assert {finding.path for finding in lowered.findings} == {"$.properties.a"}


def test_a_default_is_described_when_its_shape_changes(anthropic):
    schema = _object(a={"type": "object", "additionalProperties": {"type": "integer"}, "default": {"b": 1}})
    assert _property(lower(schema, anthropic))["description"] == 'default: {"b": 1}'


def test_min_items_is_reduced_to_the_largest_allowed(anthropic):
    lowered = lower(_object(a={"type": "array", "items": {"type": "string"}, "minItems": 3}), anthropic)
    assert _property(lowered) == {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "description": "minItems: 3",
    }


def test_conditions_are_described_and_noted(openai):
    schema = _object(a={"type": "integer"}) | {
        "required": ["a"],
        "if": {"properties": {"a": {"const": 1}}},
        "then": False,
        "unevaluatedProperties": False,
        "minProperties": 1,
    }
    lowered = lower(schema, openai)
    assert set(lowered.schema) == {"type", "properties", "required", "additionalProperties", "description"}
    assert len(lowered.findings) == 2


def test_a_const_is_an_enum_of_one_where_there_is_no_const():
    dialect = SchemaDialect(name="no const", closes_objects=True, unsupported_keywords={"const"})
    assert lower({"const": "a", "type": "string"}, dialect).schema == {"type": "string", "enum": ["a"]}


def test_a_choice_states_its_types(openai):
    schema = _object(a={"enum": ["x", 1]}, b={"const": True}) | {"required": ["a", "b"]}
    lowered = lower(schema, openai)
    assert _property(lowered)["type"] == ["string", "integer"]
    assert _property(lowered, "b")["type"] == "boolean"


def test_recursion_is_kept_by_reference(openai):
    lowered = lower(schema_of(Node), openai)
    assert lowered.schema["$defs"]["Node"]["properties"]["children"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Node"}
    assert not _errors(lowered.findings)


def test_recursion_is_json_text_where_it_is_not_allowed(anthropic):
    lowered = lower(schema_of(Node), anthropic)
    items = lowered.schema["properties"]["children"]["items"]
    assert items["type"] == "string"
    shape = json.loads(items["description"].partition(" under ")[2])
    assert shape["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    leaf = {"label": "c", "children": []}
    tree = {"label": "a", "children": [{"label": "b", "children": [leaf]}]}
    answer = lowered.lower_value(tree)
    assert json.loads(answer["children"][0]) == tree["children"][0]
    assert lowered.lift(answer) == tree
    assert [finding.severity for finding in lowered.findings] == ["note"]


def test_mutual_recursion_ends_in_json_text(anthropic):
    one = _object(two={"$ref": "#/$defs/Two"})
    two = _object(one={"$ref": "#/$defs/One"}, names={"type": "object", "additionalProperties": {"type": "integer"}})
    schema = _object(one={"$ref": "#/$defs/One"}, two={"$ref": "#/$defs/Two"}) | {"$defs": {"One": one, "Two": two}}
    value = {"one": {"two": {"one": {"two": {"names": {"a": 1}}}}}, "two": {"names": {"b": 2}}}
    lowered = lower(schema, anthropic)
    assert lowered.lift(lowered.lower_value(value)) == value
    assert not _errors(lowered.findings)


REFERRING = _object(a={"$ref": "#/$defs/A", "description": "x"}) | {
    "required": ["a"],
    "$defs": {"A": {"type": "string", "description": "y"}},
}


def test_a_description_beside_a_reference_stands_around_it_where_none_may_stand_beside_it(openai):
    lowered = lower(REFERRING, openai)
    assert _property(lowered) == {"anyOf": [{"$ref": "#/$defs/A"}], "description": "x"}
    assert lowered.findings == ()


def test_a_description_beside_a_reference_goes_into_a_copy_where_unions_are_counted(anthropic):
    lowered = lower(REFERRING, attrs.evolve(anthropic, allows_ref_siblings=False))
    assert _property(lowered) == {"type": "string", "description": "x\ny"}


def test_a_description_beside_a_reference_to_a_type_inside_itself_is_kept(openai):
    node = _object(name={"type": "string"}, next={"$ref": "#/$defs/Node", "description": "the one below"})
    lowered = lower({"$ref": "#/$defs/Node", "description": "a chain", "$defs": {"Node": node}}, openai)
    assert lowered.schema["description"] == "a chain"
    assert "the one below" in str(lowered.schema["$defs"])
    value = {"name": "a", "next": {"name": "b"}}
    assert lowered.lift(lowered.lower_value(value)) == value


def test_a_reference_moves_into_all_of_where_shapes_stay():
    dialect = SchemaDialect(name="refs", allows_ref_siblings=False)
    schema = {"$ref": "#/$defs/A", "description": "x", "$defs": {"A": {"type": "string"}}}
    assert lower(schema, dialect).schema["allOf"] == [{"$ref": "#/$defs/A"}]


@pytest.mark.parametrize(
    "reference", ["#", "#/properties/a", "#/definitions/b~1c", "#here", "#/%24defs/D", "#/anyOf/0"]
)
def test_every_local_reference_is_followed(openai, reference):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "$anchor": "here"}, "r": {"$ref": reference}},
        "required": ["a"],
        "anyOf": [{"required": ["a"]}],
        "definitions": {"b/c": {"type": "string"}},
        "$defs": {"D": {"type": "boolean"}},
    }
    lowered = lower(schema, openai)
    Draft202012Validator(lowered.schema).validate({"a": 1, "r": None})


@pytest.mark.parametrize(
    "inner",
    [
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "#/gone"},
        {"$ref": "#gone"},
        {"$id": "http://127.0.0.1:9/x"},
        {"$dynamicRef": "#x"},
    ],
)
def test_references_that_cannot_be_followed_are_refused(openai, inner):
    with pytest.raises(ConfigurationError):
        lower(_object(a=inner), openai)


#: Keywords of a type, and which of 3 and 5 holds where both are given.
BOUNDS = [
    *[("number", keyword, 5) for keyword in ("minimum", "exclusiveMinimum")],
    *[("number", keyword, 3) for keyword in ("maximum", "exclusiveMaximum")],
    *[("string", "minLength", 5), ("string", "maxLength", 3)],
    *[("array", "minItems", 5), ("array", "maxItems", 3)],
]


@pytest.mark.parametrize("bounds", [(3, 5), (5, 3)])
@pytest.mark.parametrize(("kind", "keyword", "stricter"), BOUNDS, ids=[keyword for _, keyword, _ in BOUNDS])
def test_keeps_the_stricter_of_two_bounds(kind, keyword, stricter, bounds):
    first, second = ({keyword: bound} for bound in bounds)
    schema = _object(a={"type": kind, "allOf": [first, second]}) | {"required": ["a"]}
    assert _property(lower(schema, TUPLES))[keyword] == stricter


ALL_OF = [
    ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "ab", 1),
    ({"allOf": [{"$ref": "#/$defs/Base"}], "description": "d"}, {"x": 1}, {}),
    ({"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"y": {"type": "string"}}}]}, {"x": 1, "y": "a"}, {"x": "a"}),
    ({"$ref": "#/$defs/Base", "properties": {"y": {"type": "string"}}}, {"x": 1, "y": "a"}, {"x": "a"}),
    ({"$ref": "#/$defs/Base", "required": ["z"]}, {"x": 1, "z": [None]}, {"x": 1}),
    ({"$ref": "#/$defs/Loop", "minProperties": 1}, {"next": {"next": {}}}, {}),
    (
        {
            "type": "object",
            "properties": {"p": {"type": "integer"}, "q": {"type": "integer"}},
            "anyOf": [{"required": ["p"]}, {"required": ["q"]}],
        },
        {"q": 1},
        {"p": "a"},
    ),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}], "oneOf": [{"type": "integer"}, {"type": "null"}]}, 3, "a"),
    ({"type": ["object", "null"], "additionalProperties": {"type": "integer"}}, {"a": 1}, "a"),
    ({"type": ["array", "string"], "items": {"type": "integer"}}, [1], 1),
    ({"type": ["string", "null"], "minLength": 1}, None, 1),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, {"x1": 1}, {"x": "a"}),
    (
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}, "^y": {"type": "string"}}},
        {"x": 1, "y": "a"},
        1,
    ),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        {"a": 1, "b": "c"},
        1,
    ),
    (
        {"type": "object", "properties": {"other_properties": {"type": "integer"}}, "additionalProperties": True},
        {"other_properties": 1, "b": [2]},
        1,
    ),
    ({"minimum": 3}, 4, "a"),
    ({"properties": {"a": {"type": "integer"}}}, {"a": 1}, 1),
    ({"minimum": 3, "minLength": 4}, "abcd", None),
    ({"type": "array"}, [1, "a"], 1),
    ({"type": "array", "items": False}, [], 1),
    ({"anyOf": [{"type": "string"}, False]}, "a", 1),
    ({"allOf": [True, {"type": "number"}, {"type": ["integer", "string"]}]}, 3, "a"),
    ({"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}, {"multipleOf": 1}, {"multipleOf": 2}]}, 2, 5),
    ({"allOf": [{"pattern": "^a", "type": "string"}, {"pattern": "b$", "description": "x"}]}, "ab", 1),
    ({"allOf": [{"minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 5, "type": "integer"}]}, 2, "a"),
    ({"const": {"a": [1]}}, {"a": [1]}, {"a": [2]}),
    ({"allOf": [{"const": 1}, {"const": 1}]}, 1, 2),
]


@pytest.mark.parametrize(("inner", "good", "bad"), ALL_OF, ids=[json.dumps(inner)[:60] for inner, _, _ in ALL_OF])
def test_schemas_written_by_hand_are_lowered_without_loss(inner, good, bad, dialect):
    schema = {
        "type": "object",
        "properties": {"a": inner},
        "required": ["a"],
        "$defs": {
            "Base": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
            "Loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Loop", "maxProperties": 2}}},
        },
    }
    Draft202012Validator(schema).validate({"a": good})
    lowered = lower(schema, dialect)
    Draft202012Validator.check_schema(lowered.schema)
    answer = lowered.lower_value({"a": good})
    Draft202012Validator(lowered.schema).validate(answer)
    assert lowered.lift(answer) == {"a": good}
    is_noted = any("in the description" in finding.message for finding in lowered.findings)
    assert bad is None or lowered.is_same or is_noted or not Draft202012Validator(lowered.schema).is_valid({"a": bad})


@pytest.mark.parametrize(
    "inner",
    [
        False,
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"enum": ["a"]}, {"enum": ["b"]}]},
        {"allOf": [{"const": 1}, {"const": 2}]},
        {"const": 1, "allOf": [{"enum": [2]}]},
        {"allOf": [{"type": "string"}, False]},
        {"anyOf": [False]},
    ],
)
def test_a_place_without_any_valid_value_is_an_error(openai, inner):
    [error] = _errors(lint(_object(a=inner) | {"required": ["a"]}, openai))
    assert (error.path, error.message) == ("$.properties.a", "no value is valid here")


def _nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = _object(a=schema) | {"required": ["a"]}
    return schema


def test_too_many_levels_are_an_error(openai):
    assert lint(_nested(10), openai) == []
    [error] = lint(_nested(11), openai)
    assert error.message == "11 levels of objects, 10 are allowed"


def test_levels_are_counted_through_references(openai):
    schema = {"$defs": {"A": _nested(6)}} | _object(a={"$ref": "#/$defs/A"}, b=_object(c={"$ref": "#/$defs/A"}))
    assert lint(schema, openai) == []
    limits = SchemaDialect(name="shallow", limits=SchemaLimits(max_depth=7))
    assert lint(schema, limits)[0].message == "8 levels of objects, 7 are allowed"


def test_too_many_properties_are_an_error(openai):
    big = _object(**{f"p{number}": {"type": "string"} for number in range(5001)})
    [error] = _errors(lint(big, openai))
    assert error.message == "5001 properties, 5000 are allowed"


def test_too_many_optional_properties_are_an_error(anthropic):
    fields = {f"p{number}": {"type": "string"} for number in range(25)}
    assert lint(_object(**fields), anthropic)[0].message == "25 optional properties, 24 are allowed"
    assert lint(_object(**fields) | {"required": ["p0"]}, anthropic) == []


def test_too_many_unions_are_an_error(anthropic):
    union = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    fields = {f"p{number}": union for number in range(16)} | {"q": {"type": ["string", "null"]}}
    [error] = lint(_object(**fields) | {"required": list(fields)}, anthropic)
    assert error.message == "17 unions, 16 are allowed"


def test_too_many_enum_values_and_letters_are_errors():
    limits = SchemaLimits(max_enum_values=2, max_name_chars=5)
    schema = _object(abc={"enum": ["x", "y", 3]}, d={"const": "z"})
    assert [finding.message for finding in lint(schema, SchemaDialect(name="small", limits=limits))] == [
        "3 enum values, 2 are allowed",
        "7 characters in names and enum values, 5 are allowed",
    ]


def test_a_dialect_is_a_value():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PLAIN.name = "other"
    assert SchemaDialect(name="a") == SchemaDialect(name="a")
    assert len({SchemaDialect(name="a"), SchemaDialect(name="a", unsupported_keywords=["not"])}) == 2


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (dict[str, int], []),
        (list[dict[str, int]], {}),
        (tuple[int, dict[str, int]], {}),
        (TypedDict("Row", {"a": dict[str, int]}), []),
    ],
)
def test_a_value_of_another_shape_cannot_be_lowered(openai, tp, value):
    with pytest.raises(AnswerMismatch):
        lower(schema_of(tp), openai).lower_value(value)


def test_a_property_given_among_the_others_is_a_mismatch(openai):
    schema = _object(a={"type": "string"}) | {"required": ["a"], "additionalProperties": {"type": "string"}}
    answer = {"a": "x", "other_properties": [{"key": "a", "value": "y"}]}
    with pytest.raises(AnswerMismatch, match="a declared property") as caught:
        lower(schema, openai).lift(answer)
    assert caught.value.path == "$.other_properties"
