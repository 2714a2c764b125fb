"""Chat Completions, the wire format that most servers support: encode a call, decode an answer.

The differences between servers are rows of data, each a `ChatDialect`. All functions are pure.
"""

from __future__ import annotations

import json
from functools import reduce
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync._values import Value
from pollux_sync.data.findings import forget_places
from pollux_sync.data.provider import HttpRequest, Problem
from pollux_sync.data.reply import FinishReason, Reply, ToolCall
from pollux_sync.data.request import InlinePart, TextPart, UriPart
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.chatcontent import read_content, read_reasoning
from pollux_sync.wire.chatfindings import read_citations, read_images
from pollux_sync.wire.faults import HttpError, ReplyError, check_answer
from pollux_sync.wire.fields import as_text, read_service_tier
from pollux_sync.wire.tools import lift_calls, lower_parameters, read_parameters, result_text
from pollux_sync.wire.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pollux_sync.data.bodies import InlineText
    from pollux_sync.data.findings import Citation
    from pollux_sync.data.hosted import HostedTool
    from pollux_sync.data.options import Options
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import Usage
    from pollux_sync.data.request import Call, Part, Turn
    from pollux_sync.schemas import SchemaDialect
    from pollux_sync.wire.hosted import HostedForm

#: The body fields that raw provider options may never set; streams ask for the usage themselves.
CHAT_FIELDS = frozenset({"model", "messages", "stream", "stream_options.include_usage"})

#: What writes the fields of the body that are not named as their option is.
CHAT_MANAGED_BY = {
    "messages": "the prompt, sources and history",
    "max_completion_tokens": "Options(max_tokens=...)",
    "random_seed": "Options(seed=...)",
    "response_format": "Options(response_schema=...)",
    "stream_options.include_usage": "the usage of the result: streams always ask for it",
}

#: Fields of the body, with the options that say the same. Servers take either spelling in place of the other.
_SPELLINGS = {
    "max_tokens": ("max_tokens",),
    "max_completion_tokens": ("max_tokens",),
    "seed": ("seed",),
    "random_seed": ("seed",),
    "reasoning_effort": ("reasoning_effort", "reasoning_budget_tokens"),
}

#: The reasons by which servers of all families say that an answer ended; gateways pass other vendors' words on.
_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "error": "error",
}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ChatDialect(Value):
    """The differences of one server family.

    ``max_tokens_field`` and ``seed_field`` are the names of the output limit and of the seed. ``tiers`` maps service
    tiers to the server's words for them; empty sends ours. ``strict_schema`` marks the response schema as strict.
    ``merges_turns`` sends all system messages as one at the beginning, and neighbours of one role as one, as strict
    chat templates require (Gemma's, Mistral's).
    ``joins_text`` sends a user turn of text alone as one string, which every server understands. ``keeps_reasoning``
    replays reasoning fields on the assistant turns that they came with, ``keeps_call_reasoning`` only on those that
    call tools. ``stored_names`` maps names in stored conversations to those of the reasoning fields. ``effort_path``
    and ``budget_path`` lead to the body fields of reasoning effort and budget, ``summary_path`` to that of the summary
    and ``exclude_path`` to the one that hides all reasoning; empty for a server without them.
    ``tool_schemas`` is the dialect to which tools' parameters are lowered, and from which arguments are lifted. Without
    ``names_tool``, a tool_choice that names a tool is sent as that tool alone, required. ``hosted_tools`` are the forms
    of the tools that the server runs.
    """

    path: str = "/chat/completions"
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    tiers: Mapping[str, str] = attrs.field(factory=dict)
    strict_schema: bool = True
    joins_text: bool = True
    merges_turns: bool = False
    keeps_reasoning: bool = False
    keeps_call_reasoning: bool = False
    stored_names: Mapping[str, str] = attrs.field(factory=dict)
    effort_path: tuple[str, ...] = ()
    budget_path: tuple[str, ...] = ()
    summary_path: tuple[str, ...] = ()
    exclude_path: tuple[str, ...] = ()
    tool_schemas: SchemaDialect | None = None
    names_tool: bool = True
    hosted_tools: Mapping[str, HostedForm] = attrs.field(factory=dict)


CHAT = ChatDialect()

_SYSTEM_ROLES = frozenset({"system", "developer"})

#: The fields of an answer that are sent back with its turn: reasoning as it came, and Google's thought signatures,
#: which its endpoint also puts on each tool call: https://ai.google.dev/gemini-api/docs/openai
_REPLAYED_FIELDS = ("reasoning", "reasoning_content", "reasoning_details", "extra_content")
#: The key of a turn's provider state for the `_CALL_EXTRAS` of its tool calls, in their order. Never changes, since
#: stored conversations have it.
_CALL_STATES = "call_extras"
_CALL_EXTRAS = ("extra_content",)

#: What becomes an artifact under its own name, by where the answer has it.
_ARTIFACTS = (
    # The whole answer: the sources of models that search (Perplexity, xAI).
    ("citations", "search_results", "related_questions"),
    # The choice: also the stop sequence that ended it (vLLM, SGLang).
    ("logprobs", "stop_reason", "matched_stop"),
    # The message: also the tools that Groq ran, and the documents that Azure found.
    ("annotations", "images", "audio", "citations", "executed_tools", "context"),
    # The usage: the price (OpenRouter, Perplexity; xAI in ticks), and the searches, which cost extra.
    ("cost", "cost_in_usd_ticks", "num_sources_used", "num_search_queries"),
)
_EMPTY: tuple[Any, ...] = (None, "", [], {})

#: The names of audio formats by MIME type. Chat Completions defines only these two.
_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
#: The types of audio that `encode_chat` carries inside the request.
CHAT_AUDIO_TYPES = tuple(_AUDIO_FORMATS)


def encode_chat(call: Call, dialect: ChatDialect = CHAT) -> HttpRequest:
    """Return the request for ``/chat/completions``. Raises ConfigurationError for a part that it cannot carry."""
    options = call.options
    messages = list(_encode_messages(call, dialect))
    if dialect.merges_turns and call.conversation:
        messages = list(_merge_messages(messages))
    body: dict[str, Any] = {"model": call.model, "messages": messages}
    settings = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop": options.stop_texts,
        dialect.seed_field: options.seed,
        "service_tier": dialect.tiers.get(options.service_tier or "", options.service_tier),
        dialect.max_tokens_field: options.max_tokens,
        **_encode_tools(options, dialect),
        "parallel_tool_calls": options.parallel_tool_calls,
        "response_format": _encode_response_format(call, dialect),
    }
    body |= {name: value for name, value in settings.items() if value is not None}
    return HttpRequest(path=dialect.path, body=body | _encode_reasoning(options, dialect))


def find_spelling_problem(call: Call, provider: str, dialect: ChatDialect = CHAT) -> Problem | None:
    """Return the problem of a raw field that says in another spelling what an option of the call says, or None."""
    raw_fields = call.options.read_raw_fields(provider)
    if not raw_fields:
        return None
    # What is written under the same name is merged or refused by the core.
    written = {dialect.max_tokens_field, dialect.seed_field, ".".join(dialect.effort_path)}
    for field, options in _SPELLINGS.items():
        given = [name for name in options if getattr(call.options, name) is not None]
        if given and field in raw_fields and field not in written:
            return Problem(
                f"provider_options[{provider!r}] sets {field} beside Options({given[0]}=...), which says the same",
                f"leave it out, or leave {given[0]} out",
            )
    return None


def _encode_reasoning(options: Options, dialect: ChatDialect) -> dict[str, Any]:
    """Return the body fields of effort or budget, which exclude each other, and of what the answer shows."""
    effort, budget, summary = options.reasoning_effort, options.reasoning_budget_tokens, options.reasoning_summary
    if effort is None and budget is None and summary is None:
        return {}
    is_hidden = summary == "none"
    settings = (
        (dialect.effort_path, effort),
        (dialect.budget_path, budget),
        (dialect.summary_path, None if is_hidden else summary),
        (dialect.exclude_path, is_hidden or None),
    )
    fields: dict[str, Any] = {}
    for path, value in settings:
        if path and value is not None:
            _set_nested(fields, path, value)
    return fields


def _set_nested(fields: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value inside the objects that ``path`` names."""
    *outer, name = path
    for step in outer:
        fields = fields.setdefault(step, {})
    fields[name] = value


def _encode_messages(call: Call, dialect: ChatDialect) -> Iterator[dict[str, Any]]:
    if call.options.system_instruction:
        yield {"role": "system", "content": call.options.system_instruction}
    for turn in call.conversation.turns if call.conversation else ():
        message = _encode_turn(turn, dialect)
        # An answer of reasoning alone, cut off or blocked: servers refuse a message without content.
        if message["content"] or turn.tool_calls or turn.role == "tool":
            yield message
    content = _encode_content(call.parts, call.prompt, dialect)
    if content:
        yield {"role": "user", "content": content}


def _merge_messages(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one system message at the beginning, then the others, neighbours of one role as one."""
    instructions = [message["content"] for message in messages if message["role"] in _SYSTEM_ROLES]
    if instructions:
        yield {"role": "system", "content": "\n\n".join(instructions)}
    others = (message for message in messages if message["role"] not in _SYSTEM_ROLES)
    for role, neighbours in groupby(others, key=itemgetter("role")):
        run = list(neighbours)
        # Each result of a tool is a message of its own.
        yield from run if role == "tool" else [reduce(_merge_two_messages, run)]


def _merge_two_messages(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    merged = first | second | {"content": _merge_contents(first["content"], second["content"])}
    return merged | ({"tool_calls": calls} if calls else {})


def _merge_contents(first: str | list[Any] | None, second: str | list[Any] | None) -> str | list[Any] | None:
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [part for content in (first, second) for part in _list_parts(content)]


def _list_parts(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _encode_turn(turn: Turn, dialect: ChatDialect) -> dict[str, Any]:
    content = _encode_content(turn.parts, turn.content, dialect) if turn.parts else result_text(turn)
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    if turn.tool_calls:
        # The format has null, not an empty string, where a turn has tool calls alone.
        message["content"] = turn.content or None
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments or "{}"}}
            for c in turn.tool_calls
        ]
    if turn.provider_state and (dialect.keeps_reasoning or (dialect.keeps_call_reasoning and turn.tool_calls)):
        _add_reasoning(message, turn.provider_state, dialect)
    return message


def _add_reasoning(message: dict[str, Any], state: Mapping[str, Any], dialect: ChatDialect) -> None:
    """Add what an answer's provider state keeps of its reasoning to its message, and to the tool calls in it."""
    stored = {name: state[key] for key, name in dialect.stored_names.items() if key in state}
    message |= _read_replayed(stored | dict(state))
    extras, calls = state.get(_CALL_STATES), message.get("tool_calls", ())
    # A caller may have edited the turn. Then nobody knows which of its calls the extras belong to.
    if isinstance(extras, list) and len(extras) == len(calls):
        for call, extra in zip(calls, extras, strict=True):
            call |= {name: extra[name] for name in _CALL_EXTRAS if isinstance(extra, dict) and extra.get(name)}


def _encode_content(parts: Sequence[Part], text: str | None, dialect: ChatDialect) -> str | list[dict[str, Any]]:
    if not parts and dialect.joins_text:
        return text or ""
    parts = [*parts, *([TextPart(text)] if text else [])]
    if dialect.joins_text and all(isinstance(part, TextPart) for part in parts):
        return "\n\n".join(part.text for part in parts if isinstance(part, TextPart))
    return [_encode_part(part) for part in parts]


def _encode_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    mime = part.source.mime_type.partition(";")[0].strip().lower()
    if isinstance(part, InlinePart | UriPart) and mime.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": _encode_address(part)}}
    if isinstance(part, InlinePart | UriPart) and mime == "application/pdf":
        name = part.source.file_name or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": _encode_address(part)}}
    if isinstance(part, InlinePart) and mime in _AUDIO_FORMATS:
        audio = {"data": part.base64, "format": _AUDIO_FORMATS[mime]}
        return {"type": "input_audio", "input_audio": audio}
    raise ConfigurationError(
        f"Chat Completions cannot carry {part.source.identifier!r} ({part.source.mime_type})",
        hint="declare in the plugin's SourceRules only what its encoder can carry",
    )


def _encode_address(part: InlinePart | UriPart) -> str | InlineText:
    """Return the address of a part's content, or a data URL that holds it."""
    if isinstance(part, UriPart):
        return part.uri
    return part.data_url


def _encode_tools(options: Options, dialect: ChatDialect) -> dict[str, Any]:
    # There is no choice without tools.
    if not options.tools:
        return {}
    tools, hosted, choice = options.functions, options.hosted_tools, options.tool_choice
    if isinstance(choice, dict) and not dialect.names_tool:
        tools, hosted, choice = [tool for tool in tools if tool["name"] == choice["name"]], (), "required"
    encoded = [_encode_tool(tool, dialect) for tool in tools]
    return {
        "tools": encoded + _encode_hosted_tools(hosted, dialect) or None,
        "tool_choice": {"type": "function", "function": choice} if isinstance(choice, dict) else choice,
    }


def _encode_hosted_tools(tools: Sequence[HostedTool], dialect: ChatDialect) -> list[dict[str, Any]]:
    if not tools:
        return []
    # Imported here: few calls have one.
    from pollux_sync.wire.hosted import encode_hosted_tool

    return [encode_hosted_tool(tool, dialect.hosted_tools) for tool in tools]


def _encode_tool(tool: Mapping[str, Any], dialect: ChatDialect) -> dict[str, Any]:
    lowered = lower_parameters(tool, dialect.tool_schemas) if dialect.tool_schemas else None
    parameters = lowered.schema if lowered else read_parameters(tool)
    function = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": {**function, "parameters": parameters}}


def _encode_response_format(call: Call, dialect: ChatDialect) -> dict[str, Any] | None:
    if call.options.wants_json_object:
        return {"type": "json_object"}
    if call.response_schema is None:
        return None
    named = {"name": "answer", "schema": dict(call.response_schema)} | (
        {"strict": True} if dialect.strict_schema else {}
    )
    return {"type": "json_schema", "json_schema": named}


def decode_chat(
    response: HttpResponse, dialect: ChatDialect = CHAT, tools: Sequence[Mapping[str, Any]] | None = None
) -> Reply:
    """Return the reply in an answer of ``/chat/completions``.

    ``tools`` are those of the call, by which a dialect with ``tool_schemas`` lifts the arguments of tool calls. Raises
    HttpError for an error inside the answer, ReplyError for a body without an answer.
    """
    body = response.body
    # Gateways report a failure behind them inside a 200.
    check_answer(response, "choices")
    choice, *others = _read_choices(response)
    message = choice.get("message") or {}
    if not isinstance(message, dict):
        raise ReplyError(f"the answer's message is a JSON {type(message).__name__}", response=response)
    raw_calls = _list_tool_calls(message)
    calls = tuple(map(_decode_tool_call, range(len(raw_calls)), raw_calls))
    if calls and dialect.tool_schemas:
        calls = lift_calls(calls, tools or (), dialect.tool_schemas)
    raw_reason = as_text(choice.get("finish_reason"))
    refusal = as_text(message.get("refusal"))
    text, thoughts, parts = read_content(message.get("content"))
    keeps_state = dialect.keeps_reasoning or dialect.keeps_call_reasoning
    return Reply(
        text=text or refusal or _read_transcript(message),
        reasoning=read_reasoning(message) or thoughts or None,
        tool_calls=calls,
        usage=find_usage(body, choice),
        finish_reason=_decode_finish_reason(raw_reason, has_calls=bool(calls), has_refusal=bool(refusal)),
        raw_finish_reason=raw_reason,
        response_id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        service_tier=read_service_tier(body.get("service_tier")),
        provider_state=_build_provider_state(message, raw_calls) if keeps_state else None,
        artifacts=_collect_artifacts(body, choice, message, parts=parts, choices=others),
        citations=_place_citations(read_citations(body, message), message.get("content"), text),
        files=read_images(message),
    )


def _place_citations(citations: tuple[Citation, ...] | None, content: Any, text: str) -> tuple[Citation, ...] | None:
    """Return citations without their places where thoughts were cut off the content, in which the server counts."""
    return forget_places(citations) if isinstance(content, str) and content != text else citations


def _read_choices(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the choices, the first of which is the answer; a request for several (``n``) has more."""
    choices = response.body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyError(
            "the answer has no choices",
            hint="check that base_url leads to a Chat Completions server",
            response=response,
        )
    if choices[0].get("error"):
        raise HttpError(attrs.evolve(response, body=choices[0]))
    return [choice for choice in choices if isinstance(choice, dict)]


def _read_transcript(message: Mapping[str, Any]) -> str:
    """Return the words of an answer that is spoken; empty without one."""
    audio = message.get("audio")
    return (as_text(audio.get("transcript")) if isinstance(audio, dict) else None) or ""


def _list_tool_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a message that have a name."""
    calls = message.get("tool_calls")
    # The format's older name for tools, which it has deprecated.
    if not calls and isinstance(message.get("function_call"), dict):
        calls = [{"function": message["function_call"]}]
    return [call for call in calls if _has_name(call)] if isinstance(calls, list) else []


def _has_name(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _decode_tool_call(index: int, call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    # Some servers leave the id out.
    call_id = as_text(call.get("id")) or f"call_{index}"
    return ToolCall(call_id, function["name"], read_arguments(function.get("arguments")))


def read_arguments(arguments: Any) -> str:
    """Return the arguments of a tool call as JSON text, which the format has; some servers send the object itself."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def _decode_finish_reason(raw: str | None, *, has_calls: bool, has_refusal: bool) -> FinishReason | None:
    if has_refusal:
        return "refusal"
    # Some servers end a tool call with "stop", or name no reason.
    reason = _FINISH_REASONS.get((raw or "").lower())
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def find_usage(body: Mapping[str, Any], choice: Mapping[str, Any]) -> Usage:
    """Return the usage of an answer. In streams, Moonshot has it in the choice, Groq in an object of its own."""
    usage = body.get("usage") or choice.get("usage")
    if not usage and isinstance(body.get("x_groq"), dict):
        usage = body["x_groq"].get("usage")
    # Ollama's counts are beside the answer.
    return read_usage(usage or body)


def _read_replayed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in _REPLAYED_FIELDS if message.get(name)}


def _build_provider_state(message: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the server needs again with this turn, None if text and tool calls are enough."""
    state = _read_replayed(message)
    extras = [{name: call[name] for name in _CALL_EXTRAS if call.get(name)} for call in calls]
    if any(extras):
        state[_CALL_STATES] = extras
    return state or None


def _collect_artifacts(
    body: Mapping[str, Any],
    choice: Mapping[str, Any],
    message: Mapping[str, Any],
    *,
    parts: list[Any],
    choices: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """Return what an answer has beside its text, under the server's names.

    ``parts`` are the parts of the content beside text, ``choices`` those after the first.
    """
    usage = body.get("usage")
    holders = (body, choice, message, usage if isinstance(usage, dict) else {})
    # Looked for in a loop without calls: nearly all names are missing from nearly all answers.
    found = {
        name: value
        for holder, names in zip(holders, _ARTIFACTS, strict=True)
        for name in names
        if name in holder and (value := _drop_empty(holder[name])) not in _EMPTY
    }
    if parts:
        found["parts"] = parts
    if choices:
        found["choices"] = [_drop_empty({**other, "message": _drop_empty(other.get("message"))}) for other in choices]
    return found or None


def _drop_empty(value: Any) -> Any:
    """Return an object without its empty fields, which a stream does not have; any other value unchanged."""
    if not isinstance(value, dict):
        return value
    return {name: item for name, item in value.items() if item not in _EMPTY}
