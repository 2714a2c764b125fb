import functools
import json
from datetime import date
from enum import Enum
from typing import Annotated

import attrs
import pytest

from pollux_sync import (
    Config,
    ConfigurationError,
    Options,
    Tool,
    ToolCall,
    ToolCallParseError,
    ToolDeclaration,
    ToolFailure,
    ToolResult,
    run_tools,
)
from pollux_sync.schemas import AnswerMismatch


class Unit(Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.frozen
class Place:
    city: str
    country: str = "IT"


def forecast(
    place: Place,
    days: Annotated[int, "how many days ahead"] = 1,
    *,
    since: date | None = None,
    unit: Unit = Unit.CELSIUS,
    tags: dict[str, int] | None = None,
) -> str:
    """The weather to come.

    It may rain.

    Args:
        place: where, as
            exactly as you can
        since (date): the first day
        tags: names: and numbers

    Returns:
        A text.
    """
    return f"{place.city} {place.country} {days} {since!r} {unit.name} {tags}"


def test_declares_a_function_from_types_and_docstring():
    tool = Tool.from_function(forecast)
    properties = tool.parameters["properties"]
    assert (tool.name, tool.description) == ("forecast", "The weather to come.\n\nIt may rain.")
    assert {name: inner.get("description") for name, inner in properties.items()} == {
        "place": "where, as exactly as you can",
        "days": "how many days ahead",
        "since": "the first day",
        "unit": None,
        "tags": "names: and numbers",
    }
    assert tool.parameters["required"] == ["place"]
    assert properties["days"]["default"] == 1
    assert tool.parameters["additionalProperties"] is False
    assert "title" not in tool.parameters


def test_a_declaration_is_one_of_options():
    tool = Tool.from_function(forecast, name="weather", description="a description", strict=True)
    assert Options(tools=[tool.declaration]).tools[0] == {
        "name": "weather",
        "description": "a description",
        "parameters": tool.parameters,
        "strict": True,
    }
    assert set(Tool(name="x", function=print).declaration) == {"name", "parameters"}


def test_calls_with_objects_of_the_types():
    arguments = {"place": {"city": "Rome"}, "days": 3, "since": "2026-01-02", "unit": "F", "tags": {"a": 1}}
    text = Tool.from_function(forecast)(arguments)
    assert text == "Rome IT 3 datetime.date(2026, 1, 2) FAHRENHEIT {'a': 1}"


def test_leaves_defaults_to_the_function():
    collected = []

    def collect(item: int, into: list[int] = collected) -> list[int]:
        into.append(item)
        return into

    tool = Tool.from_function(collect)
    assert json.loads(tool({"item": 1})) == [1]
    assert json.loads(tool({"item": 2, "into": [9]})) == [9, 2]
    assert collected == [1]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("so", "so"),
        (None, "null"),
        (Place("Rome"), '{"city": "Rome", "country": "IT"}'),
        (date(2026, 1, 2), '"2026-01-02"'),
    ],
)
def test_returns_results_as_text(result, text):
    def tool() -> object:
        return result

    assert Tool.from_function(tool)({}) == text


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"place": {"city": 3}}, "city"),
        ({"place": {"city": "Rome"}, "days": "3"}, "days"),
        ({}, "place"),
        ({"x": 1}, "x"),
    ],
)
def test_refuses_arguments_that_do_not_fit(arguments, path):
    with pytest.raises(AnswerMismatch, match=path):
        Tool.from_function(forecast)(arguments)


def test_takes_a_schema_from_elsewhere():
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = Tool(name="double", function=lambda n: 2 * n, parameters=parameters)
    assert tool({"n": 4}) == "8"
    with pytest.raises(AnswerMismatch):
        tool({"n": "4"})


def numpy_style(a: int, b: int) -> int:
    """Add.

    Parameters
    ----------
    a : int
        the first
        of two
    b
        the second

    Returns
    -------
    int
    """
    return a + b


def sphinx_style(a: int, b: int) -> int:
    """Add.

    :param a: the first
        of two
    :param int b: the second
    :returns: the sum
    """
    return a + b


def nested_types(a: int, b: int) -> int:
    """Add.

    Args:
        a (list(tuple(int, str))): the first
            (of two): really
        b (Callable[[int], str], optional): the second
    """
    return a + b


def silent(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize(
    ("function", "description", "descriptions"),
    [
        (numpy_style, "Add.", ["the first of two", "the second"]),
        (sphinx_style, "Add.", ["the first of two", "the second"]),
        (nested_types, "Add.", ["the first (of two): really", "the second"]),
        (silent, None, [None, None]),
    ],
)
def test_reads_docstrings_of_every_style(function, description, descriptions):
    tool = Tool.from_function(function)
    assert tool.description == description
    assert [inner.get("description") for inner in tool.parameters["properties"].values()] == descriptions
    assert tool({"a": 1, "b": 2}) == "3"


class Scaled:
    factor = 3

    def __call__(self, n: int) -> int:
        """Scale it."""
        return self.factor * n

    def method(self, n: int) -> int:
        return self.factor * n


@pytest.mark.parametrize(
    ("function", "name"),
    [(Scaled(), "scale"), (Scaled().method, None), (functools.partial(Scaled().method), "scale")],
    ids=["object", "method", "partial"],
)
def test_accepts_callables(function, name):
    tool = Tool.from_function(function, name=name)
    assert list(tool.parameters["properties"]) == ["n"]
    assert tool({"n": 2}) == "6"


async def later() -> None: ...


def refer_to_unknown_type(a: "Nowhere") -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (3, "must be a function"),
        (later, "asynchronous"),
        (lambda *args: args, "args"),
        (lambda **more: more, "more"),
        (lambda a, /: a, "a"),
        (Scaled(), "name"),
        (refer_to_unknown_type, "Nowhere"),
    ],
)
def test_refuses_functions_that_cannot_be_tools(function, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Tool.from_function(function)
    assert caught.value.hint


def test_a_declaration_is_a_dict_for_options():
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert ToolDeclaration("weather", "The weather.", parameters).declaration == {
        "name": "weather",
        "description": "The weather.",
        "parameters": parameters,
    }


def test_a_declaration_needs_a_name_alone():
    declared = ToolDeclaration("now", strict=True).declaration
    assert declared == {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True}
    assert Options(tools=[declared]).tools == [declared]


def test_a_declaration_from_a_function_is_that_of_the_tool():
    named = {"name": "ask", "description": "Ask for it."}
    assert ToolDeclaration.from_function(forecast).declaration == Tool.from_function(forecast).declaration
    assert ToolDeclaration.from_function(forecast, **named).declaration.items() >= named.items()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": " "}, "name must not be empty"),
        ({"name": "a", "description": 3}, "description must be a string"),
        ({"name": "a", "parameters": []}, "parameters must be a dict"),
        ({"name": "a", "parameters": {"default": {1}}}, "parameters cannot be written as JSON"),
        ({"name": "a", "strict": 1}, "strict must be True or False"),
    ],
)
def test_refuses_invalid_declarations(arguments, problem):
    with pytest.raises(ConfigurationError, match=problem):
        ToolDeclaration(**arguments)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("a text", "a text"),
        ({"sky": "blü"}, '{"sky": "blü"}'),
        (None, "null"),
        (Place("Rome"), '{"city": "Rome", "country": "IT"}'),
        ([date(2026, 1, 2)], '["2026-01-02"]'),
    ],
)
def test_a_result_is_text_or_json(value, content):
    assert ToolResult.from_value("c", value) == ToolResult("c", content)


def test_a_result_answers_a_call():
    result = ToolResult.from_value(ToolCall("c", "weather", "{}"), "no such city", is_error=True)
    assert result.to_turn() == {"role": "tool", "tool_call_id": "c", "content": "no such city", "is_error": True}
    assert "is_error" not in ToolResult("c", "sunny").to_turn()


def test_reads_a_failure_as_an_error():
    assert ToolResult.from_value("c", ToolFailure("no such city")) == ToolResult("c", "no such city", is_error=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(("", "x"), "tool_call_id"), ((3, "x"), "tool_call_id"), (("c", {}), "content"), (("c", "x", 1), "is_error")],
)
def test_refuses_invalid_results(arguments, problem):
    with pytest.raises(ConfigurationError, match=f"{problem} must"):
        ToolResult(*arguments)


def test_a_value_without_a_json_form_is_no_result():
    with pytest.raises(ConfigurationError, match="has no JSON form"):
        ToolResult.from_value("c", object())


@pytest.mark.parametrize(("text", "arguments"), [("", {}), (" \n", {}), ("null", {}), ('{"a": 1}', {"a": 1})])
def test_a_call_has_its_arguments_as_data(text, arguments):
    call = ToolCall("c", "weather", text)
    assert (call.arguments_dict(), call.arguments_error) == (arguments, None)


@pytest.mark.parametrize("text", ["{", "[1]", "false", "[" * 100_000])
def test_a_call_reports_why_its_arguments_are_not_data(text):
    call = ToolCall("c", "weather", text)
    with pytest.raises(ToolCallParseError) as caught:
        call.arguments_dict()
    assert (caught.value.tool, caught.value.arguments) == ("weather", text)
    assert call.arguments_error == caught.value.message


def look_up(stock: dict, /, article: str, *, unit: Unit = Unit.CELSIUS):
    """Look an article up.

    Args:
        stock: what there is
        article: its name
    """
    return stock[article], unit


def test_leading_parameters_are_not_told_to_the_model():
    tool = Tool.from_function(look_up, skip=1)
    assert list(tool.parameters["properties"]) == ["article", "unit"]
    assert tool.parameters["required"] == ["article"]
    assert tool.invoke({"article": "lamp", "unit": "F"}, {"lamp": 3}) == (3, Unit.FAHRENHEIT)
    assert tool({"article": "lamp"}, {"lamp": "many"}) == '["many", "C"]'


def test_all_parameters_may_be_skipped():
    tool = Tool.from_function(lambda ctx, user: (ctx, user), skip=2, name="who")
    assert tool.parameters.get("properties", {}) == {}
    assert tool.invoke({}, 1, 2) == (1, 2)


@pytest.mark.parametrize("leading", [(), (1, 2)])
def test_refuses_another_number_of_leading_values(leading):
    with pytest.raises(ConfigurationError, match="takes 1 values"):
        Tool.from_function(look_up, skip=1).invoke({"article": "lamp"}, *leading)


@pytest.mark.parametrize(("skip", "problem"), [(3, "skip is 3"), (-1, "number"), (True, "number"), ("1", "number")])
def test_refuses_to_skip_what_is_not_there(skip, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Tool.from_function(look_up, skip=skip)


def test_the_loop_refuses_a_tool_whose_leading_values_nobody_has():
    config = Config(provider="openai", model="m", use_mock=True)
    with pytest.raises(ConfigurationError, match="neither the model nor run_tools"):
        run_tools("Q?", tools=[Tool.from_function(look_up, skip=1)], config=config)
