"""From earlier turns and the question to ``contents``. Pure."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pollux_gemini.parts import encode_part, read_function_calls, read_objects, read_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Call, Part, Turn

#: Key of a turn's provider state: the answer's parts as they came, thought signatures and all.
PARTS_KEY = "gemini_parts"

_SYSTEM_ROLES = frozenset({"system", "developer"})
_MODEL_ROLES = frozenset({"assistant", "model"})
_UNKNOWN_FUNCTION = {"name": "unknown_tool"}


def encode_system_instruction(call: Call) -> Json | None:
    """The instruction, with what system turns say."""
    told = [turn.content for turn in _list_turns(call) if turn.role in _SYSTEM_ROLES]
    text = "\n\n".join(text for text in (call.options.system_instruction, *told) if text)
    return {"parts": [{"text": text}]} if text else None


def encode_contents(call: Call) -> Iterator[Json]:
    """Turns, then the question. Neighbours of one role become one content: after a tool's result the model speaks."""
    spoken = (turn for turn in _encode_turns(call) if turn[1])
    for role, turns in groupby(spoken, key=itemgetter(0)):
        yield {"role": role, "parts": [part for _, parts in turns for part in parts]}


def _list_turns(call: Call) -> tuple[Turn, ...]:
    return call.conversation.turns if call.conversation else ()


def _encode_turns(call: Call) -> Iterator[tuple[str, list[Json]]]:
    """Who says what, in order."""
    called: dict[str, Json] = {}
    for turn in _list_turns(call):
        if turn.role in _MODEL_ROLES:
            parts = _encode_answer(turn)
            sent = read_function_calls(parts)
            called |= {call.id: function for call, function in zip(turn.tool_calls, sent, strict=True)}
            yield "model", parts
        elif turn.role == "tool":
            yield "user", [_encode_tool_result(turn, called.get(turn.tool_call_id or "", _UNKNOWN_FUNCTION))]
        elif turn.role not in _SYSTEM_ROLES:
            yield "user", _encode_user_parts(turn.parts, turn.content)
    yield "user", _encode_user_parts(call.parts, call.prompt)


def _encode_user_parts(sources: Iterable[Part], said: str | None) -> list[Json]:
    return [part for source in sources if (part := encode_part(source)) != {"text": ""}] + _encode_text(said)


def _encode_text(text: str | None) -> list[Json]:
    return [{"text": text}] if text else []


def _encode_answer(turn: Turn) -> list[Json]:
    """An earlier answer: its parts as they came, unless the turn was changed or comes from elsewhere."""
    stored = read_objects((turn.provider_state or {}).get(PARTS_KEY))
    built = _encode_text(turn.content) + [{"functionCall": _encode_function_call(call)} for call in turn.tool_calls]
    return stored if _read_text_and_calls(stored) == _read_text_and_calls(built) else built


def _read_text_and_calls(parts: list[Json]) -> tuple[str, list[tuple[str, Any]]]:
    calls = [(call["name"], call.get("args") or {}) for call in read_function_calls(parts)]
    return "".join(read_texts(parts, is_thought=False)), calls


def _encode_function_call(call: ToolCall) -> Json:
    return ({"id": call.id} if call.id else {}) | {"name": call.name, "args": _parse_object(call.arguments) or {}}


def _encode_tool_result(turn: Turn, called: Json) -> Json:
    """A tool's result, under the call's name and, where the model gave one, its id."""
    response = None if turn.is_error else _parse_object(turn.content)
    told = {"response": {"error" if turn.is_error else "result": turn.content} if response is None else response}
    return {"functionResponse": {name: called[name] for name in ("id", "name") if called.get(name)} | told}


def _parse_object(text: str) -> Json | None:
    """The JSON object that the text is; None for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
