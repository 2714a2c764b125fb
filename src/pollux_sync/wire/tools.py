"""Tools whose parameters a provider takes in its own dialect: lowered on the way out, arguments lifted back."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.provider import Problem
from pollux_sync.schemas import AnswerMismatch, Lowered, SchemaDialect, lower

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Turn

_EMPTY_OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


def lower_parameters(tool: Mapping[str, Any], dialect: SchemaDialect, *, by_default: bool = True) -> Lowered | None:
    """The tool's parameters in ``dialect``; None for a tool that is not strict, or a schema that cannot be.

    ``by_default``: whether a tool that does not say is strict.
    """
    if not tool.get("strict", by_default):
        return None
    lowered = _lower_json(json.dumps(tool.get("parameters") or _EMPTY_OBJECT), dialect)
    return None if _list_errors(lowered) else lowered


def find_strict_problem(tools: Iterable[Mapping[str, Any]], dialect: SchemaDialect) -> Problem | None:
    """Why a tool that says ``"strict": True`` cannot be."""
    for tool in tools:
        lowered = (
            _lower_json(json.dumps(tool.get("parameters") or _EMPTY_OBJECT), dialect) if tool.get("strict") else None
        )
        errors = _list_errors(lowered) if lowered else []
        if errors:
            return Problem(f"tool {tool['name']!r} cannot be strict: {'; '.join(errors)}", "drop 'strict', or simplify")
    return None


def _list_errors(lowered: Lowered) -> list[str]:
    return [str(finding) for finding in lowered.findings if finding.severity == "error"]


@lru_cache(maxsize=256)
def _lower_json(parameters: str, dialect: SchemaDialect) -> Lowered:
    return lower(json.loads(parameters), dialect)


def lift_calls(
    calls: Iterable[ToolCall],
    tools: Collection[Mapping[str, Any]],
    dialect: SchemaDialect,
    *,
    by_default: bool = True,
) -> tuple[ToolCall, ...]:
    """The calls with arguments as ``tools`` declare them; as they came where they do not fit."""
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
    try:
        return json.dumps(lowered.lift(json.loads(arguments)), ensure_ascii=False)
    except (ValueError, AnswerMismatch, KeyError, TypeError, RecursionError):
        return arguments


def result_text(turn: Turn) -> str:
    """A tool's result for formats that have no field to say that the tool failed: the text says so."""
    return f"Error: {turn.content}" if turn.is_error else turn.content
