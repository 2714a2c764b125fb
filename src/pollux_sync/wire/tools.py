"""Tools in a provider's schema dialect: parameters are lowered for the request, arguments lifted from the answer."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync import schemas
from pollux_sync.data.provider import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Turn
    from pollux_sync.schemas import Lowered, SchemaDialect


def read_parameters(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool's arguments as services require it: of an object, and saying so."""
    return {"type": "object", **(tool.get("parameters") or {"properties": {}})}


def lower_parameters(tool: Mapping[str, Any], dialect: SchemaDialect, *, by_default: bool = True) -> Lowered | None:
    """Return the tool's parameters in ``dialect``, or None if the tool is not strict or its schema cannot be lowered.

    ``by_default`` applies to a tool without the field "strict".
    """
    if not tool.get("strict", by_default):
        return None
    lowered = _lower_json(json.dumps(read_parameters(tool)), dialect)
    return None if _list_errors(lowered) else lowered


def find_strict_problem(tools: Iterable[Mapping[str, Any]], dialect: SchemaDialect) -> Problem | None:
    """Return the problem of a tool with ``"strict": True`` whose schema the dialect cannot hold, or None."""
    for tool in tools:
        lowered = _lower_json(json.dumps(read_parameters(tool)), dialect) if tool.get("strict") else None
        errors = _list_errors(lowered) if lowered else []
        if errors:
            return Problem(f"tool {tool['name']!r} cannot be strict: {'; '.join(errors)}", "drop 'strict', or simplify")
    return None


def _list_errors(lowered: Lowered) -> list[str]:
    return [str(finding) for finding in lowered.findings if finding.severity == "error"]


# Tools are the same in every turn of a conversation. The text is the key, since a dict cannot be one.
@lru_cache(maxsize=256)
def _lower_json(parameters: str, dialect: SchemaDialect) -> Lowered:
    return schemas.lower(json.loads(parameters), dialect)


def lift_calls(
    calls: Iterable[ToolCall],
    tools: Collection[Mapping[str, Any]],
    dialect: SchemaDialect,
    *,
    by_default: bool = True,
) -> tuple[ToolCall, ...]:
    """Return the calls with arguments as ``tools`` declare them; arguments that do not fit stay unchanged."""
    if not tools:
        return tuple(calls)
    lowered = {tool["name"]: lower_parameters(tool, dialect, by_default=by_default) for tool in tools}
    return tuple(
        call
        if call.name not in lowered
        else attrs.evolve(call, arguments=_lift_arguments(call.arguments, lowered[call.name]))
        for call in calls
    )


def _lift_arguments(arguments: str, lowered: Lowered | None) -> str:
    if lowered is None or lowered.is_same:
        return arguments
    # Wrong arguments are passed on: the tool loop reports them to the model, which can correct them.
    try:
        return json.dumps(lowered.lift(json.loads(arguments)), ensure_ascii=False)
    except (ValueError, schemas.AnswerMismatch, KeyError, TypeError, RecursionError):
        return arguments


def result_text(turn: Turn) -> str:
    """Return a tool's result as text, for formats without a field for failed tools."""
    return f"Error: {turn.content}" if turn.is_error else turn.content
