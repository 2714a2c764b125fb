"""Tools whose parameters a provider takes in its own dialect: lowered on the way out, arguments lifted back."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas import AnswerMismatch, Lowered, SchemaDialect, lower

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pollux_sync.data.reply import ToolCall

_EMPTY_OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


def lowered_parameters(tool: Mapping[str, Any], dialect: SchemaDialect) -> Lowered | None:
    """The tool's parameters in ``dialect``; None where ``"strict": False`` or the schema itself rules that out."""
    if tool.get("strict") is False:
        return None
    lowered = _lowered(json.dumps(tool.get("parameters") or _EMPTY_OBJECT), dialect)
    return None if any(finding.severity == "error" for finding in lowered.findings) else lowered


@lru_cache(maxsize=256)
def _lowered(parameters: str, dialect: SchemaDialect) -> Lowered:
    return lower(json.loads(parameters), dialect)


def lifted_calls(
    calls: Iterable[ToolCall], tools: Sequence[Mapping[str, Any]], dialect: SchemaDialect
) -> tuple[ToolCall, ...]:
    """The calls with arguments as ``tools`` declare them; as they came where they do not fit."""
    declared = {tool["name"]: tool for tool in tools}
    return tuple(
        attrs.evolve(call, arguments=_lifted(call.arguments, declared[call.name], dialect))
        if call.name in declared
        else call
        for call in calls
    )


def _lifted(arguments: str, tool: Mapping[str, Any], dialect: SchemaDialect) -> str:
    lowered = lowered_parameters(tool, dialect)
    if lowered is None or lowered.is_same:
        return arguments
    try:
        return json.dumps(lowered.lift(json.loads(arguments)), ensure_ascii=False)
    except (ValueError, AnswerMismatch, KeyError, TypeError):
        return arguments
