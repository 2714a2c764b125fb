"""Earlier turns and the question, encoded as ``contents``. Pure."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pollux_gemini.models import find_facts
from pollux_gemini.parts import encode_part, read_function_calls, read_objects, read_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_gemini.models import ModelFacts
    from pollux_gemini.parts import Json
    from pollux_sync.plugin import Call, Part, ToolCall, Turn

#: The key in a turn's provider state under which the parts of an answer are kept unchanged, with thought signatures.
PARTS_KEY = "gemini_parts"

_SYSTEM_ROLES = frozenset({"system", "developer"})
_MODEL_ROLES = frozenset({"assistant", "model"})
#: Google's stand-in for the signature of a call that no Gemini model made:
#: https://ai.google.dev/gemini-api/docs/thought-signatures (2025-12). Without one, Gemini 3 answers 400.
_FOREIGN_SIGNATURE = "skip_thought_signature_validator"
#: Stands in for the call of a tool result whose call is not in the history: the API requires a function name.
_UNKNOWN_FUNCTION = {"name": "unknown_tool"}


def encode_system_instruction(call: Call) -> Json | None:
    """Encode the system instruction, followed by the contents of system turns."""
    # The API has one system instruction and no system role, wherever in the history such a turn stands.
    system_turns = [turn.content for turn in _list_turns(call) if turn.role in _SYSTEM_ROLES]
    text = "\n\n".join(text for text in (call.options.system_instruction, *system_turns) if text)
    return {"parts": [{"text": text}]} if text else None


def encode_contents(call: Call) -> Iterator[Json]:
    """Yield the contents of the turns, then that of the question."""
    messages = (message for message in _encode_turns(call) if message[1])
    # Neighbours of one role become one content: the results of parallel calls belong into one content, and the question
    # after a tool's result joins it, since the model speaks next.
    for role, group in groupby(messages, key=itemgetter(0)):
        yield {"role": role, "parts": [part for _, parts in group for part in parts]}


def _list_turns(call: Call) -> tuple[Turn, ...]:
    return call.conversation.turns if call.conversation else ()


def _encode_turns(call: Call) -> Iterator[tuple[str, list[Json]]]:
    """Yield the role and the parts of each turn and of the question, in order."""
    function_calls: dict[str, Json] = {}
    for turn in _list_turns(call):
        if turn.role in _MODEL_ROLES:
            parts = _encode_answer(turn, needs_signature=find_facts(call.model).checks_signatures)
            # A call that came without an id has one of ours in the turn. Its result must name the call as it is sent.
            sent = read_function_calls(parts)
            function_calls |= {call.id: function for call, function in zip(turn.tool_calls, sent, strict=True)}
            yield "model", parts
        elif turn.role == "tool":
            function_call = function_calls.get(turn.tool_call_id or "", _UNKNOWN_FUNCTION)
            yield "user", _encode_tool_result(turn, function_call, find_facts(call.model))
        elif turn.role not in _SYSTEM_ROLES:
            yield "user", _encode_user_parts(turn.parts, turn.content)
    yield "user", _encode_user_parts(call.parts, call.prompt)


def _encode_user_parts(sources: Iterable[Part], text: str | None) -> list[Json]:
    return [part for source in sources if (part := encode_part(source)) != {"text": ""}] + _encode_text(text)


def _encode_text(text: str | None) -> list[Json]:
    return [{"text": text}] if text else []


def _encode_answer(turn: Turn, *, needs_signature: bool) -> list[Json]:
    """Encode an earlier answer: the stored parts, unless the turn was changed or comes from another provider."""
    # Stored parts go back unchanged: Gemini checks thought signatures against the parts they came with.
    stored = read_objects((turn.provider_state or {}).get(PARTS_KEY))
    calls: list[Json] = [{"functionCall": _encode_function_call(call)} for call in turn.tool_calls]
    built = _encode_text(turn.content) + calls
    if _read_text_and_calls(stored) == _read_text_and_calls(built):
        return stored
    # Of parallel calls only the first has a signature.
    if calls and needs_signature:
        calls[0]["thoughtSignature"] = _FOREIGN_SIGNATURE
    return built


def _read_text_and_calls(parts: list[Json]) -> tuple[str, list[tuple[str, Any]]]:
    calls = [(call["name"], call.get("args") or {}) for call in read_function_calls(parts)]
    return "".join(read_texts(parts, is_thought=False)), calls


def _encode_function_call(call: ToolCall) -> Json:
    return ({"id": call.id} if call.id else {}) | {"name": call.name, "args": _parse_object(call.arguments) or {}}


def _encode_tool_result(turn: Turn, function_call: Json, facts: ModelFacts) -> list[Json]:
    """Encode a result: the text, then its files, inside it where the model takes them and they are not stored."""
    parts = [encode_part(part) for part in turn.parts]
    inside = [part for part in parts if facts.reads_result_parts and "inlineData" in part]
    response = _encode_response(turn, function_call)
    if inside:
        response["functionResponse"]["parts"] = inside
    return [response, *(part for part in parts if part not in inside)]


def _encode_response(turn: Turn, function_call: Json) -> Json:
    # The service matches a result to its call by name, and by id if the model sent one.
    response = None if turn.is_error else _parse_object(turn.content)
    if response is None:
        # The field takes an object only, so any other content is put into one.
        response = {"error" if turn.is_error else "result": turn.content}
    identity = {name: function_call[name] for name in ("id", "name") if function_call.get(name)}
    return {"functionResponse": {**identity, "response": response}}


def _parse_object(text: str) -> Json | None:
    """Return the text's JSON object, or None if it is anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
