import json

import pytest

from pollux_sync.data.reply import ToolCall
from pollux_sync.schemas import SchemaDialect
from pollux_sync.wire.tools import lift_calls, lower_parameters

CLOSED = SchemaDialect(name="closed", all_required=True, optional_as_nullable=True, closes_objects=True)
TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}


def lift(arguments, tool=TOOL, name="weather"):
    (call,) = lift_calls([ToolCall("c1", name, arguments)], [tool], CLOSED)
    return call.arguments


def test_writes_parameters_in_the_dialect():
    schema = lower_parameters(TOOL, CLOSED).schema
    assert (schema["required"], schema["additionalProperties"]) == (["city", "unit"], False)


def test_takes_a_tool_without_parameters():
    assert lower_parameters({"name": "ping"}, CLOSED).schema["properties"] == {}


def test_does_not_change_a_tool_with_strict_false():
    assert lower_parameters(TOOL | {"strict": False}, CLOSED) is None
    assert lift('{"unit": null}', TOOL | {"strict": False}) == '{"unit": null}'


def test_lifts_arguments_to_the_declared_schema():
    assert json.loads(lift('{"city": "Rome", "unit": null}')) == {"city": "Rome"}


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "[]", ""])
def test_keeps_arguments_that_do_not_fit(arguments):
    assert lift(arguments) == arguments


def test_keeps_the_arguments_of_an_undeclared_tool():
    assert lift('{"unit": null}', name="unknown") == '{"unit": null}'


def test_keeps_arguments_that_are_nested_too_deeply():
    deep = "[" * 100_000
    assert lift(deep) == deep
