"""From a Call to the body of ``POST /models/...:generateContent``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_gemini.conversing import contents, system_instruction
from pollux_gemini.parts import PROVIDER, is_url_context
from pollux_gemini.thinking import thinking_of, thinking_problem
from pollux_sync.data.provider import HttpRequest, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_gemini.parts import Json
    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Call

#: The body fields that `encode` writes whole: raw provider options may not set them.
MANAGED_FIELDS = frozenset({"model", "contents", "systemInstruction", "cachedContent"})
#: Those it writes in part: raw fields go beside them.
_MANAGED_INSIDE = {
    "generationConfig": frozenset(
        {"temperature", "topP", "maxOutputTokens", "responseMimeType", "responseJsonSchema", "thinkingConfig"}
    ),
    "toolConfig": frozenset({"functionCallingConfig"}),
}
_COUNTED_ON_VERTEX = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
_MAX_TEMPERATURE = 2
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
#: A model's full name begins like this; others are short for models/NAME.
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "projects/")


def encode(call: Call) -> HttpRequest:
    """The call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    body: Json = {"contents": list(contents(call))}
    settings = {
        "systemInstruction": system_instruction(call),
        "generationConfig": _generation_config(call),
        "tools": _tools(call),
        "toolConfig": _tool_config(call.options),
    }
    body.update((name, value) for name, value in settings.items() if value)
    if call.options.cache is not None:
        body["cachedContent"] = call.options.cache.name
    return HttpRequest(path=path_of(call.model, "generateContent"), body=body)


def counting(request: HttpRequest, model: str) -> HttpRequest:
    """The request that has the input tokens of this one counted."""
    body = {"generateContentRequest": {"model": full_name(model), **(request.body or {})}}
    return HttpRequest(path=path_of(model, "countTokens"), body=body)


def counting_on_vertex(request: HttpRequest, model: str) -> HttpRequest | None:
    """The same for Vertex AI; None with a cache, whose tokens it does not count."""
    body = request.body or {}
    if "cachedContent" in body:
        return None
    counted = {name: value for name, value in body.items() if name in _COUNTED_ON_VERTEX}
    return HttpRequest(path=path_of(model, "countTokens"), body=counted)


def path_of(model: str, method: str) -> str:
    """The path of a model's method."""
    return f"/{quote(full_name(model), safe='/@:')}:{method}"


def full_name(model: str) -> str:
    """The model's name as paths and caches have it."""
    return model if model.startswith(_COLLECTIONS) else f"models/{model}"


def problem_of(call: Call) -> Problem | None:
    """What the service would refuse, found before anything is sent."""
    temperature = call.options.temperature
    if temperature is not None and temperature > _MAX_TEMPERATURE:
        return Problem(f"temperature must be at most 2, got {temperature:g}", "Gemini's scale ends at 2")
    return thinking_problem(call) or _raw_problem(call)


def _raw_problem(call: Call) -> Problem | None:
    """Why the raw fields cannot stand beside those that `encode` writes."""
    raw = (call.options.provider_options or {}).get(PROVIDER, {})
    clashes = ["tools"] if "tools" in raw and _tools(call) else []
    for name, managed in _MANAGED_INSIDE.items():
        if not isinstance(raw.get(name, {}), dict):
            return Problem(f"provider_options[{PROVIDER!r}][{name!r}] must be a dict", "pass it as the API has it")
        clashes += [f"{name}.{field}" for field in sorted(managed & set(raw.get(name, {})))]
    if not clashes:
        return None
    return Problem(
        f"provider_options[{PROVIDER!r}] sets {', '.join(clashes)}, which Options manage", "use the option for it"
    )


def _generation_config(call: Call) -> Json:
    options = call.options
    schema = call.response_schema
    settings = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_tokens,
        "responseMimeType": None if schema is None else "application/json",
        "responseJsonSchema": None if schema is None else dict(schema),
        "thinkingConfig": thinking_of(call),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _tools(call: Call) -> list[Json]:
    functions = [_function(tool) for tool in call.options.tools or ()]
    reads_urls = any(is_url_context(part) for part in call.all_parts)
    return [{"functionDeclarations": functions}] * bool(functions) + [{"urlContext": {}}] * reads_urls


def _function(tool: Mapping[str, Any]) -> Json:
    """A declaration, its parameters as full JSON Schema, which the older field ``parameters`` cannot hold."""
    parameters = tool.get("parameters")
    declared = {
        "name": tool["name"],
        "description": tool.get("description"),
        "parametersJsonSchema": {"type": "object", **parameters} if parameters else None,
    }
    return {name: value for name, value in declared.items() if value is not None}


def _tool_config(options: Options) -> Json | None:
    """How the model may call; VALIDATED keeps it to the schemas of tools that ask to be strict."""
    choice = options.tool_choice
    if isinstance(choice, dict):
        config: Json = {"mode": "ANY", "allowedFunctionNames": [choice["name"]]}
    elif choice in {None, "auto"} and any(tool.get("strict") is True for tool in options.tools or ()):
        config = {"mode": "VALIDATED"}
    else:
        config = {"mode": _MODES[choice]} if choice is not None else {}
    return {"functionCallingConfig": config} if config else None
