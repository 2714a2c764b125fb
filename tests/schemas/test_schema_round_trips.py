"""Thirty and more types through every dialect: no value is lost on the way to a model and back."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from pollux_sync.schemas import answer_format, schema_of, structure, unstructure
from schema_types import EXAMPLES

CASES = [
    pytest.param(tp, value, id=f"{getattr(tp, '__name__', tp)}-{index}")
    for tp, values in EXAMPLES
    for index, value in enumerate(values)
]


def test_there_are_more_than_thirty_types():
    assert len(EXAMPLES) >= 30


@pytest.mark.parametrize(("tp", "value"), CASES)
def test_a_value_survives_its_json_form(tp, value):
    built = structure(json.loads(json.dumps(unstructure(value))), tp)
    assert built == value
    assert type(built) is type(value)


@pytest.mark.parametrize(("tp", "value"), CASES)
def test_the_json_form_is_valid_under_the_schema_of_the_type(tp, value):
    schema = schema_of(tp)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(unstructure(value))


@pytest.mark.parametrize(("tp", "value"), CASES)
def test_a_value_survives_the_dialect_of_a_provider(tp, value, dialect):
    answers = answer_format(tp, dialect)
    answer = answers.lowered.lower_value(unstructure(value))
    read = answers.read(json.dumps(answer))
    assert read == value
    assert type(read) is type(value)
    assert unstructure(read) == unstructure(value)


@pytest.mark.parametrize("tp", [tp for tp, _ in EXAMPLES], ids=str)
def test_the_lowered_schema_has_supported_keywords_only(tp, dialect):
    sent = answer_format(tp, dialect).lowered.schema
    Draft202012Validator.check_schema(sent)
    words = set(_keywords(sent))
    assert not words & dialect.unsupported_keywords
    assert dialect.allows_tuples or "prefixItems" not in words
    assert dialect.allows_one_of or "oneOf" not in words
    assert not dialect.needs_object_root or sent["type"] == "object"


@pytest.mark.parametrize("tp", [tp for tp, _ in EXAMPLES], ids=str)
def test_strict_objects_are_closed_and_require_every_property(tp, openai):
    for schema in _schemas(answer_format(tp, openai).lowered.schema):
        assert schema != {}
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
        if schema.get("type") == "array":
            assert isinstance(schema["items"], dict)


def _schemas(schema):
    from pollux_sync.schemas.keywords import walk_schemas

    return [inner for _, inner in walk_schemas(schema) if isinstance(inner, dict)]


def _keywords(schema):
    return [word for inner in _schemas(schema) for word in inner]
