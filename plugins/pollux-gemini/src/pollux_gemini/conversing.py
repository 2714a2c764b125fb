"""From earlier turns and the question to ``contents``. Pure."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pollux_gemini.parts import function_calls_in, objects_in, source_part, texts_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Call, Part, Turn

#: Key of a turn's provider state: the answer's parts as they came, thought signatures and all.
PARTS = "gemini_parts"

_SYSTEM_ROLES = frozenset({"system", "developer"})
_MODEL_ROLES = frozenset({"assistant", "model"})
_UNKNOWN_CALL = {"name": "unknown_tool"}


def system_instruction(call: Call) -> Json | None:
    """The instruction, with what system turns say."""
    told = [turn.content for turn in _turns(call) if turn.role in _SYSTEM_ROLES]
    text = "\n\n".join(text for text in (call.options.system_instruction, *told) if text)
    return {"parts": [{"text": text}]} if text else None


def contents(call: Call) -> Iterator[Json]:
    """Turns, then the question. Neighbours of one role become one content: after a tool's result the model speaks."""
    spoken = (turn for turn in _spoken(call) if turn[1])
    for role, turns in groupby(spoken, key=itemgetter(0)):
        yield {"role": role, "parts": [part for _, parts in turns for part in parts]}


def _turns(call: Call) -> tuple[Turn, ...]:
    return call.conversation.turns if call.conversation else ()


def _spoken(call: Call) -> Iterator[tuple[str, list[Json]]]:
    """Who says what, in order."""
    called: dict[str, Json] = {}
    for turn in _turns(call):
        if turn.role in _MODEL_ROLES:
            parts = _answer(turn)
            sent = function_calls_in(parts)
            called |= {call.id: function for call, function in zip(turn.tool_calls, sent, strict=True)}
            yield "model", parts
        elif turn.role == "tool":
            yield "user", [_result(turn, called.get(turn.tool_call_id or "", _UNKNOWN_CALL))]
        elif turn.role not in _SYSTEM_ROLES:
            yield "user", _shown(turn.parts, turn.content)
    yield "user", _shown(call.parts, call.prompt)


def _shown(sources: Iterable[Part], said: str | None) -> list[Json]:
    return [part for source in sources if (part := source_part(source)) != {"text": ""}] + _text(said)


def _text(text: str | None) -> list[Json]:
    return [{"text": text}] if text else []


def _answer(turn: Turn) -> list[Json]:
    """An earlier answer: its parts as they came, unless the turn was changed or comes from elsewhere."""
    stored = objects_in((turn.provider_state or {}).get(PARTS))
    built = _text(turn.content) + [{"functionCall": _function_call(call)} for call in turn.tool_calls]
    return stored if _says(stored) == _says(built) else built


def _says(parts: list[Json]) -> tuple[str, list[tuple[str, Any]]]:
    calls = [(call["name"], call.get("args") or {}) for call in function_calls_in(parts)]
    return "".join(texts_in(parts, is_thought=False)), calls


def _function_call(call: ToolCall) -> Json:
    return ({"id": call.id} if call.id else {}) | {"name": call.name, "args": _object(call.arguments) or {}}


def _result(turn: Turn, called: Json) -> Json:
    """A tool's result, under the call's name and, where the model gave one, its id."""
    response = None if turn.is_error else _object(turn.content)
    told = {"response": {"error" if turn.is_error else "result": turn.content} if response is None else response}
    return {"functionResponse": {name: called[name] for name in ("id", "name") if called.get(name)} | told}


def _object(text: str) -> Json | None:
    """The JSON object that the text is; None for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
