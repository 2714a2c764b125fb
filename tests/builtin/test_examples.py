"""Examples: small, always the same, and valid."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from pollux_sync.builtin.examples import build_example
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import schema_of
from pollux_sync.schemas.validating import build_format_checker

TREE = {
    "$ref": "#/$defs/Tree",
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {
                "next": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                "more": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
            "required": ["next", "more"],
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (True, None),
        ({}, None),
        ({"const": [1]}, [1]),
        ({"enum": ["b", "a"]}, "b"),
        ({"enum": ["b", 3], "type": "integer"}, 3),
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": -5}, 0),
        ({"type": "integer", "minimum": -5, "maximum": -2}, -5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.125),
        ({"type": "number", "multipleOf": 0.25, "minimum": 0.3}, 0.5),
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "00"),
        ({"type": "string", "maxLength": 0}, ""),
        ({"type": "string", "pattern": "^[a-c]{2}-\\d+$"}, "aa-0"),
        ({"type": "string", "pattern": "^\\w+$", "minLength": 4}, "aaaa"),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": ["integer", "null"]}, 0),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, [0, 1, 2]),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2}, [1, 2]),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"type": "object", "required": ["z"]}, {"z": None}),
        ({"type": "object", "properties": {"a": {"const": 1}}, "minProperties": 2}, {"a": 1, "text": None}),
        ({"type": "object", "minProperties": 2, "propertyNames": {"enum": ["x", "y"]}}, {"x": None, "y": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "text"),
        ({"anyOf": [False, {"type": "integer"}]}, 0),
        ({"oneOf": [{"type": "integer"}, {"multipleOf": 2, "type": "number"}, {"const": "x"}]}, "x"),
        ({"allOf": [{"type": "integer"}, {"minimum": 2}]}, 2),
        ({"properties": {"a": {}}, "required": ["a"]}, {"a": None}),
        ({"items": {"const": 1}, "minItems": 1}, [1]),
        ({"pattern": "^x$"}, "x"),
        ({"minimum": 7}, 7),
        ({"not": {"type": "null"}, "deprecated": True}, None),
        (TREE, {"next": None, "more": []}),
    ],
)
def test_the_example_is_small_and_always_the_same(schema, made):
    assert build_example(schema) == made
    assert type(build_example(schema)) is type(made)


@pytest.mark.parametrize(
    "schema",
    [
        *(
            {"type": "array", "items": {"type": "string", "format": name}, "minItems": 4, "uniqueItems": True}
            for name in (
                "date-time",
                "date",
                "time",
                "duration",
                "uuid",
                "email",
                "ipv4",
                "ipv6",
                "hostname",
                "uri",
                "regex",
            )
        ),
        {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"anyOf": [{"const": 1}, {"const": 2}]}, "minItems": 2, "uniqueItems": True},
        {
            "type": "array",
            "items": {"$ref": "#/$defs/A"},
            "minItems": 3,
            "uniqueItems": True,
            "$defs": {"A": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
        },
        {"type": "array", "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"type": ["integer", "null"]}, "minItems": 2, "uniqueItems": True},
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "minItems": 3,
            "uniqueItems": True,
        },
        {"type": "array", "items": {"type": "integer", "maximum": 0}, "minItems": 3, "uniqueItems": True},
        *(
            {"type": "string", "pattern": pattern}
            for pattern in (
                "^(ab|cd)*x?$",
                "^[^abc]\\D\\W\\S\\s$",
                "^[^\\w\\s]+$",
                "^[^a-zA-Z0-9]$",
                "^[\\d\\s_-]{3}$",
                "^(a)(b)\\2\\1$",
                "^(?:x|y)+?z{2,}.$",
                "^a.c(?=$)",
                "[^a]",
                "^(?>a+)b++$",
                "\\bword\\b",
                "^[\\w.]+@[a-z]+[.][a-z]{2,}$",
                "^[^\\S]$",
                "^(?P<year>\\d{4})-(?P=year)$",
            )
        ),
    ],
    ids=str,
)
def test_the_example_is_valid(schema):
    Draft202012Validator(schema, format_checker=build_format_checker()).validate(build_example(schema))


def test_a_clever_pattern_gets_some_text():
    assert isinstance(build_example({"type": "string", "pattern": "^(?!a)(?=b)c$"}), str)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"enum": []},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [False, False]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"anyOf": [{"$ref": "#"}]},
    ],
)
def test_a_schema_without_a_valid_value_is_refused(schema):
    with pytest.raises(ConfigurationError, match="cannot build an example"):
        build_example(schema)


def test_the_example_of_a_type_is_valid():
    schema = schema_of(tuple[int, dict[str, str], set[str] | None])
    Draft202012Validator(schema).validate(build_example(schema))
