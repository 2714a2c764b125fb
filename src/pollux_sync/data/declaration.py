"""The dicts that declare tools in ``Options(tools=[...])``, and their checks."""

from __future__ import annotations

from typing import Any

from pollux_sync.data.checks import check_bool, check_json, check_keys, check_text, require_mapping
from pollux_sync.errors import ConfigurationError

#: Every tool here is a function, which the "type" of the Responses API says again.
_KEYS = frozenset({"name", "description", "parameters", "strict", "type"})
#: What other programs call the keys.
_OTHER_NAMES = {
    "input_schema": "parameters",
    "inputSchema": "parameters",
    "parametersJsonSchema": "parameters",
    "parameters_json_schema": "parameters",
    "args_schema": "parameters",
    "schema": "parameters",
    "arguments": "parameters",
    "title": "name",
}
#: The keys under which other forms keep a whole declaration, and what to pass in their place.
_NESTED_FORMS = {
    "function": "pass the dict under 'function' itself",
    "functionDeclarations": "pass each dict in that list as a tool of its own",
    "function_declarations": "pass each dict in that list as a tool of its own",
}
_HOSTED_HINT = "pass WebSearch() or another tool of pollux_sync, or RawTool({...}, provider=...) to send it as it is"
_OBJECT = "{'type': 'object', 'properties': {...}, 'required': [...]}"
#: The keys of a function, in any form.
_ANY_KEYS = _KEYS | _OTHER_NAMES.keys()
#: The keywords that make a schema without "type" one of an object, or lead to it.
_SHAPES = frozenset({"properties", "additionalProperties", "required", "$ref", "allOf", "anyOf", "oneOf"})


def check_declaration(name: str, tool: object) -> None:
    """Check the declaration of one tool; ``name`` is its place in the error. Raises ConfigurationError."""
    if callable(tool):
        from pollux_sync.data.hosted import refuse_class

        refuse_class(name, tool)
        raise ConfigurationError(
            f"{name} is a function, which run() cannot call",
            hint="call run_tools(tools=[...]), or pass Tool.from_function(function).declaration",
        )
    data = require_mapping(name, tool)
    _refuse_other_forms(name, data)
    check_keys(name, data, _KEYS, other_names=_OTHER_NAMES)
    check_text(f"{name}['name']", data.get("name"), hint="pass the name by which the model calls the tool")
    description: object = data.get("description")
    if not isinstance(description, str | None):
        raise ConfigurationError(
            f"{name}['description'] must be a string, got {type(description).__name__}", hint="pass a string"
        )
    if data.get("strict") is not None:
        check_bool(f"{name}['strict']", data["strict"])
    check_parameters(f"{name}['parameters']", data.get("parameters"))
    check_json(name, data)


def _refuse_other_forms(name: str, tool: dict[str, Any]) -> None:
    """Refuse a function that is nested in another dict, and a tool that the service itself runs."""
    for key in tool.keys() & _NESTED_FORMS.keys():
        raise ConfigurationError(
            f"{name}['name'] is missing: the tool is nested under {key!r}", hint=_NESTED_FORMS[key]
        )
    if tool.get("type", "function") != "function" and "input_schema" not in tool:
        kind = tool["type"]
    elif tool and tool.keys().isdisjoint(_ANY_KEYS):
        # Gemini names its own tools by a single key: {"googleSearch": {}}.
        kind = next(iter(tool))
    else:
        return
    raise ConfigurationError(f"{name} is {kind!r}, a tool of the service and not a function", hint=_HOSTED_HINT)


def check_parameters(name: str, parameters: object) -> None:
    """Check that ``parameters`` is the JSON Schema of an object, or None. Raises ConfigurationError."""
    schema = require_mapping(name, {} if parameters is None else parameters)
    hint = f"pass {_OBJECT}"
    if schema.get("type", "object") != "object":
        raise ConfigurationError(
            f"{name} must be the JSON Schema of an object, got one of type {schema['type']!r}", hint=hint
        )
    if schema and "type" not in schema and not schema.keys() & _SHAPES:
        raise ConfigurationError(
            f"{name} has neither 'type' nor 'properties', so it is not the JSON Schema of an object", hint=hint
        )
    properties = require_mapping(f"{name}['properties']", schema.get("properties", {}))
    for key, value in properties.items():
        if not isinstance(value, dict | bool):
            raise ConfigurationError(
                f"{name}['properties'][{key!r}] must be a schema, got {type(value).__name__}",
                hint="pass a dict, such as {'type': 'string'}",
            )
    required = schema.get("required", [])
    if not isinstance(required, list | tuple) or not all(isinstance(key, str) for key in required):
        raise ConfigurationError(f"{name}['required'] must be a list of names", hint=hint)
