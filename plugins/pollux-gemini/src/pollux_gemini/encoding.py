"""From a Call to the body of ``POST /models/...:generateContent``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_gemini.conversing import encode_contents, encode_system_instruction
from pollux_gemini.parts import PROVIDER, is_url_context
from pollux_gemini.thinking import encode_thinking, find_thinking_problem
from pollux_sync.data.provider import HttpRequest, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_gemini.parts import Json
    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Call

#: The body fields that `encode` writes whole: raw provider options may not set them.
MANAGED_FIELDS = frozenset({"model", "contents", "systemInstruction", "cachedContent"})
#: Those it writes in part: raw fields go beside them.
_MANAGED_SUBFIELDS = {
    "generationConfig": frozenset(
        {"temperature", "topP", "maxOutputTokens", "responseMimeType", "responseJsonSchema", "thinkingConfig"}
    ),
    "toolConfig": frozenset({"functionCallingConfig"}),
}
_VERTEX_COUNT_FIELDS = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
_MAX_TEMPERATURE = 2
_CALLING_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
#: A model's full name begins like this; others are short for models/NAME.
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "projects/")


def encode(call: Call) -> HttpRequest:
    """The call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    body: Json = {"contents": list(encode_contents(call))}
    settings = {
        "systemInstruction": encode_system_instruction(call),
        "generationConfig": _encode_generation_config(call),
        "tools": _encode_tools(call),
        "toolConfig": _encode_tool_config(call.options),
    }
    body.update((name, value) for name, value in settings.items() if value)
    if call.options.cache is not None:
        body["cachedContent"] = call.options.cache.name
    return HttpRequest(path=build_path(call.model, "generateContent"), body=body)


def build_count_request(request: HttpRequest, model: str) -> HttpRequest:
    """The request that has the input tokens of this one counted."""
    body = {"generateContentRequest": {"model": qualify_model(model), **(request.body or {})}}
    return HttpRequest(path=build_path(model, "countTokens"), body=body)


def build_vertex_count_request(request: HttpRequest, model: str) -> HttpRequest | None:
    """The same for Vertex AI; None with a cache, whose tokens it does not count."""
    body = request.body or {}
    if "cachedContent" in body:
        return None
    counted = {name: value for name, value in body.items() if name in _VERTEX_COUNT_FIELDS}
    return HttpRequest(path=build_path(model, "countTokens"), body=counted)


def build_path(model: str, method: str) -> str:
    """The path of a model's method."""
    return f"/{quote(qualify_model(model), safe='/@:')}:{method}"


def qualify_model(model: str) -> str:
    """The model's name as paths and caches have it."""
    return model if model.startswith(_COLLECTIONS) else f"models/{model}"


def find_problem(call: Call) -> Problem | None:
    """What the service would refuse, found before anything is sent."""
    temperature = call.options.temperature
    if temperature is not None and temperature > _MAX_TEMPERATURE:
        return Problem(f"temperature must be at most 2, got {temperature:g}", "Gemini's scale ends at 2")
    return find_thinking_problem(call) or _find_raw_field_problem(call)


def _find_raw_field_problem(call: Call) -> Problem | None:
    """Why the raw fields cannot stand beside those that `encode` writes."""
    raw = (call.options.provider_options or {}).get(PROVIDER, {})
    clashes = ["tools"] if "tools" in raw and _encode_tools(call) else []
    for name, managed in _MANAGED_SUBFIELDS.items():
        if not isinstance(raw.get(name, {}), dict):
            return Problem(f"provider_options[{PROVIDER!r}][{name!r}] must be a dict", "pass it as the API has it")
        clashes += [f"{name}.{field}" for field in sorted(managed & set(raw.get(name, {})))]
    if not clashes:
        return None
    return Problem(
        f"provider_options[{PROVIDER!r}] sets {', '.join(clashes)}, which Options manage", "use the option for it"
    )


def _encode_generation_config(call: Call) -> Json:
    options = call.options
    schema = call.response_schema
    settings = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_tokens,
        "responseMimeType": None if schema is None else "application/json",
        "responseJsonSchema": None if schema is None else dict(schema),
        "thinkingConfig": encode_thinking(call),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _encode_tools(call: Call) -> list[Json]:
    functions = [_encode_function(tool) for tool in call.options.tools or ()]
    reads_urls = any(is_url_context(part) for part in call.all_parts)
    return [{"functionDeclarations": functions}] * bool(functions) + [{"urlContext": {}}] * reads_urls


def _encode_function(tool: Mapping[str, Any]) -> Json:
    """A declaration, its parameters as full JSON Schema, which the older field ``parameters`` cannot hold."""
    parameters = tool.get("parameters")
    declared = {
        "name": tool["name"],
        "description": tool.get("description"),
        "parametersJsonSchema": {"type": "object", **parameters} if parameters else None,
    }
    return {name: value for name, value in declared.items() if value is not None}


def _encode_tool_config(options: Options) -> Json | None:
    """How the model may call; VALIDATED keeps it to the schemas of tools that ask to be strict."""
    choice = options.tool_choice
    if isinstance(choice, dict):
        config: Json = {"mode": "ANY", "allowedFunctionNames": [choice["name"]]}
    elif choice in {None, "auto"} and any(tool.get("strict") is True for tool in options.tools or ()):
        config = {"mode": "VALIDATED"}
    else:
        config = {"mode": _CALLING_MODES[choice]} if choice is not None else {}
    return {"functionCallingConfig": config} if config else None
