"""A Call, encoded as the body of ``POST /models/...:generateContent``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from pollux_gemini.conversing import encode_contents, encode_system_instruction
from pollux_gemini.hosting import encode_tool
from pollux_gemini.models import find_facts
from pollux_gemini.parts import PROVIDER, as_object, is_url_context
from pollux_gemini.thinking import encode_thinking, find_thinking_problem
from pollux_sync.plugin import AssetPart, HttpRequest, Problem, read_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_gemini.parts import Json
    from pollux_sync.plugin import Call, Options

#: The body fields that raw provider options may never set. The model is in the path, and "stream" is no field here: the
#: path asks for a stream.
MANAGED_FIELDS = frozenset({"model", "contents", "stream"})
#: What writes the fields of the body.
MANAGED_BY = {
    "contents": "the prompt, sources and history",
    "systemInstruction": "Options(system_instruction=...)",
    "serviceTier": "Options(service_tier=...)",
    "cachedContent": "Options(cache=...)",
    "generationConfig.temperature": "Options(temperature=...)",
    "generationConfig.topP": "Options(top_p=...)",
    "generationConfig.stopSequences": "Options(stop=[...])",
    "generationConfig.seed": "Options(seed=...)",
    "generationConfig.maxOutputTokens": "Options(max_tokens=...)",
    "generationConfig.responseMimeType": "Options(response_schema=...)",
    "generationConfig.responseJsonSchema": "Options(response_schema=...)",
    "generationConfig.thinkingConfig": "Options(reasoning_effort=...) or Options(reasoning_budget_tokens=...), and "
    "Options(reasoning_summary=...) for includeThoughts",
    "toolConfig.functionCallingConfig": "Options(tool_choice=...)",
    "toolConfig.includeServerSideToolInvocations": "Options(tools=[...])",
}
#: The fields that countTokens of Vertex AI takes.
_VERTEX_COUNT_FIELDS = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
_MAX_TEMPERATURE = 2
_URL_CONTEXT: Json = {"urlContext": {}}
#: The field that has the answer show what the service's own tools did.
_INVOCATIONS = "includeServerSideToolInvocations"
#: By the published contract, for GenerationConfig.
_MAX_STOP_TEXTS = 5
#: The name of a stored file.
_FILE_NAME = re.compile(r"files/[^/?#\s]+")
#: The tiers by the published contract, where "unspecified" leaves it to the service.
_TIERS = {"auto": "unspecified", "default": "standard", "flex": "flex", "priority": "priority"}
_CALLING_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
#: The beginnings of full model names. Any other name is short for models/NAME.
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "projects/")


def encode(call: Call) -> HttpRequest:
    """Encode a call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    body: Json = {"contents": list(encode_contents(call))}
    settings = {
        "systemInstruction": encode_system_instruction(call),
        "generationConfig": _encode_generation_config(call),
        "tools": _encode_tools(call),
        "toolConfig": _encode_tool_config(call),
        "serviceTier": _TIERS[call.options.service_tier] if call.options.service_tier else None,
    }
    body.update((name, value) for name, value in settings.items() if value)
    if call.options.cache is not None:
        body["cachedContent"] = call.options.cache.name
    return HttpRequest(path=build_path(call.model, "generateContent"), body=body)


def build_count_request(request: HttpRequest, model: str) -> HttpRequest:
    """Build the request that counts the input tokens of ``request``."""
    # The whole request is counted, so that raw fields, tools and a cache count too.
    body = {"generateContentRequest": {"model": qualify_model(model), **(request.body or {})}}
    return attrs.evolve(request, path=build_path(model, "countTokens"), body=body)


def build_vertex_count_request(request: HttpRequest, model: str) -> HttpRequest | None:
    """Build the same request for Vertex AI, or return None with a cache, whose tokens Vertex AI does not count."""
    body = request.body or {}
    if "cachedContent" in body:
        return None
    fields = {name: value for name, value in body.items() if name in _VERTEX_COUNT_FIELDS}
    return attrs.evolve(request, path=build_path(model, "countTokens"), body=fields)


def build_path(model: str, method: str) -> str:
    """Return the path of a model's method."""
    return f"/{quote(qualify_model(model), safe='/@:')}:{method}"


def qualify_model(model: str) -> str:
    """Return the model's full name, as paths and caches have it."""
    return model if model.startswith(_COLLECTIONS) else f"models/{model}"


def find_problem(call: Call) -> Problem | None:
    """Return what the service would refuse in a call, found before anything is sent."""
    temperature = call.options.temperature
    if temperature is not None and temperature > _MAX_TEMPERATURE:
        return Problem(f"temperature must be at most 2, got {temperature:g}", "Gemini's scale ends at 2")
    n_stops = len(call.options.stop_texts or ())
    if n_stops > _MAX_STOP_TEXTS:
        return Problem(f"stop takes up to {_MAX_STOP_TEXTS} texts, got {n_stops}", "keep those that matter most")
    return (
        find_thinking_problem(call)
        or _find_raw_tools_problem(call)
        or _find_mixed_tools_problem(call)
        or _find_choice_problem(call.options)
        or _find_schema_problem(call)
        or _find_file_problem(call)
    )


def _find_file_problem(call: Call) -> Problem | None:
    """Return what is wrong with the id of a stored file: it becomes the end of an address."""
    ids = [part.asset.id for part in call.all_parts if isinstance(part, AssetPart) and part.asset.uri is None]
    wrong = next((name for name in ids if not _FILE_NAME.fullmatch(name)), None)
    if wrong is None:
        return None
    return Problem(
        f"{wrong!r} is not the name of a file at Gemini", "pass the name that begins with files/, or the file's address"
    )


def _find_raw_tools_problem(call: Call) -> Problem | None:
    """Return the clash between raw tools, which are Gemini's own, and functions: older models take one kind alone."""
    if not _read_raw(call, "tools") or not call.options.tools:
        return None
    if _combines_tools(call):
        return None
    return Problem(
        f"{call.model} does not take the tools of provider_options[{PROVIDER!r}] beside functions",
        "use Gemini 3, or leave them out of a call with functions",
    )


def _combines_tools(call: Call) -> bool:
    return bool(call.capabilities.get("tools") or find_facts(call.model).combines_tools)


def _find_mixed_tools_problem(call: Call) -> Problem | None:
    """Return the clash between functions and Gemini's own tools, of which older models take one kind alone."""
    if not (call.options.functions and call.options.hosted_tools) or _combines_tools(call):
        return None
    return Problem(
        f"{call.model} does not take functions beside tools of the service",
        "use Gemini 3, or two calls: one with the service's tools, then one with the functions",
    )


def _find_choice_problem(options: Options) -> Problem | None:
    if options.tool_choice != "required" or options.functions:
        return None
    return Problem(
        "Gemini cannot be made to use a tool of its own: tool_choice 'required' is about functions",
        "leave tool_choice out, and say in the prompt that the tool is to be used",
    )


def _find_schema_problem(call: Call) -> Problem | None:
    """Return the clash between a response schema and tools, of which older models take one alone."""
    if call.options.response_schema is None or not (_read_raw(call, "tools") or _encode_tools(call)):
        return None
    if call.capabilities.get("response_schema") or find_facts(call.model).takes_tools_with_schema:
        return None
    return Problem(
        f"{call.model} does not take a response_schema beside tools",
        "use Gemini 3, or two calls: one with the tools, then one that puts its answer into the schema",
    )


def _read_raw(call: Call, field: str) -> Any:
    return call.options.read_raw_fields(PROVIDER).get(field)


def _reads_pages(call: Call) -> bool:
    return any(is_url_context(part) for part in call.all_parts)


def _encode_generation_config(call: Call) -> Json:
    options = call.options
    schema = call.response_schema
    settings = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "stopSequences": options.stop_texts,
        "seed": options.seed,
        "maxOutputTokens": options.max_tokens,
        "responseMimeType": "application/json" if schema is not None or options.wants_json_object else None,
        "responseJsonSchema": None if schema is None else dict(schema),
        "thinkingConfig": encode_thinking(call),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _encode_tools(call: Call) -> list[Json]:
    functions = [_encode_function(tool) for tool in call.options.functions]
    hosted = [encode_tool(tool) for tool in call.options.hosted_tools]
    # The pages of the call may be read by a tool that the caller has passed too.
    reads_urls = _reads_pages(call) and _URL_CONTEXT not in hosted
    return [{"functionDeclarations": functions}] * bool(functions) + hosted + [_URL_CONTEXT] * reads_urls


def _encode_function(tool: Mapping[str, Any]) -> Json:
    # parametersJsonSchema takes full JSON Schema; the older field `parameters` takes a subset of OpenAPI.
    declared = {
        "name": tool["name"],
        "description": tool.get("description"),
        "parametersJsonSchema": read_parameters(tool) if tool.get("parameters") else None,
    }
    return {name: value for name, value in declared.items() if value is not None}


def _encode_tool_config(call: Call) -> Json:
    calling = _encode_calling_mode(call.options)
    config: Json = {"functionCallingConfig": calling} if calling else {}
    if _INVOCATIONS not in as_object(_read_raw(call, "toolConfig")) and _shows_invocations(call):
        config[_INVOCATIONS] = True
    return config


def _shows_invocations(call: Call) -> bool:
    """Return whether the answer is to show what the service's own tools did, as it must where functions are beside."""
    options = call.options
    is_mixed = bool(options.functions) and bool(_read_raw(call, "tools") or _reads_pages(call))
    return (bool(options.hosted_tools) or is_mixed) and _combines_tools(call)


def _encode_calling_mode(options: Options) -> Json:
    # VALIDATED is the mode that holds calls to the schemas of their tools; Gemini has no `strict` for a single tool.
    choice = options.tool_choice
    if isinstance(choice, dict):
        return {"mode": "ANY", "allowedFunctionNames": [choice["name"]]}
    if choice in {None, "auto"} and any(tool.get("strict") is True for tool in options.functions):
        return {"mode": "VALIDATED"}
    return {"mode": _CALLING_MODES[choice]} if choice is not None else {}
