import pytest

from pollux_sync import ConfigurationError, Options, ToolDeclaration

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "Now", "parameters": SCHEMA, "strict": True}


def refuse(tool):
    with pytest.raises(ConfigurationError) as caught:
        Options(tools=[tool])
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "tool",
    [
        WEATHER,
        {"type": "function"} | WEATHER,
        {"name": "ping", "parameters": None, "description": None, "strict": None},
        {"name": "ping", "parameters": {}},
        {"name": "ping", "parameters": {"properties": {}}},
        {"name": "walk", "parameters": {"$defs": {"Node": SCHEMA}, "$ref": "#/$defs/Node"}},
        {"name": "ping", "inputSchema": None, "annotations": {}},
    ],
)
def test_takes_a_declaration(tool):
    assert Options(tools=[tool]).tools == [tool]


@pytest.mark.parametrize("key", ["input_schema", "inputSchema", "params", "parameter", "Parameters", "schema"])
def test_names_the_key_that_was_meant(key):
    error = refuse({"name": "weather", key: SCHEMA})
    assert key in error.message
    assert error.hint.startswith("did you mean 'parameters'?")


def test_names_all_keys_where_none_is_similar():
    error = refuse(WEATHER | {"zzz": 1})
    assert "'zzz'" in error.message
    assert error.hint == "known are: description, name, parameters, strict, type"


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": WEATHER},
        {"functionDeclarations": [WEATHER]},
        {"function_declarations": [WEATHER]},
    ],
)
def test_names_the_way_out_of_a_nested_form(tool):
    error = refuse(tool)
    assert error.message.startswith("tools[0]['name'] is missing")
    assert error.hint.startswith("pass ")


def test_refuses_the_form_of_messages_by_its_key():
    error = refuse({"type": "custom", "name": "weather", "input_schema": SCHEMA})
    assert "'input_schema'" in error.message
    assert "'parameters'" in error.hint


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        ({"type": "web_search"}, "web_search"),
        ({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}, "web_search_20250305"),
        ({"type": "custom", "name": "code"}, "custom"),
        ({"type": ["function"], "name": "odd"}, "['function']"),
        ({"googleSearch": {}}, "googleSearch"),
        ({"url_context": {}}, "url_context"),
    ],
)
def test_refuses_a_tool_of_the_service_with_what_works(tool, kind):
    error = refuse(tool)
    assert kind in error.message
    assert "RawTool" in error.hint


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"type": "string"}, "of type 'string'"),
        ({"type": ["object", "null"]}, "of type ['object', 'null']"),
        ({"city": {"type": "string"}}, "neither 'type' nor 'properties'"),
        ({"type": {"type": "string"}}, "of type {'type': 'string'}"),
        ({"type": "object", "properties": ["city"]}, "['properties'] must be a dict"),
        ({"type": "object", "properties": {"city": "string"}}, "['properties']['city'] must be a schema"),
        ({"type": "object", "required": "city"}, "['required'] must be a list"),
        ({"type": "object", "required": [1]}, "['required'] must be a list"),
        ([SCHEMA], "must be a dict"),
    ],
)
def test_refuses_parameters_that_are_no_schema_of_an_object(parameters, problem):
    assert problem in refuse({"name": "weather", "parameters": parameters}).message
    with pytest.raises(ConfigurationError) as caught:
        ToolDeclaration("weather", parameters=parameters)
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"), [("description", 3), ("description", ["Now"]), ("strict", "yes"), ("strict", 1), ("name", 3)]
)
def test_refuses_a_field_of_the_wrong_type_by_its_name(field, value):
    assert f"tools[0]['{field}']" in refuse(WEATHER | {field: value}).message
