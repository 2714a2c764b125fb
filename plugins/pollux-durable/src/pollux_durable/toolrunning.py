"""Calls of tools -> results: those that are runs side by side, those that are steps one by one."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

import attrs

from pollux_durable.data.agents import COMPLETED, FAILED, ToolResult
from pollux_durable.data.results import BatchWorkflowInput
from pollux_durable.errors import StepExecutionError
from pollux_durable.hooks import run_hooks
from pollux_sync import ToolCall
from pollux_sync.errors import ToolCallParseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.agentrun import AgentRun
    from pollux_durable.data.agents import ToolCallRequest
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.tools import DurableTool


@attrs.frozen
class _PreparedCall:
    """A call whose tool exists and whose arguments can be read."""

    call: ToolCallRequest
    tool: DurableTool
    arguments: JsonObject


class ToolRunner:
    """The tools of one round of an agent."""

    def __init__(self, run: AgentRun, number: int) -> None:
        self._run = run
        self._number = number

    def run_all(self, calls: Sequence[ToolCallRequest]) -> tuple[ToolResult, ...]:
        """Run the tools that were called; return their results in order. A failure is one of them."""
        prepared = [self._prepare(index, call) for index, call in enumerate(calls)]
        # Not by the ids of the calls, which some models repeat.
        of_runs = iter(self._run_children([one for one in prepared if _is_run(one)]))
        results = []
        for index, one in enumerate(prepared):
            if isinstance(one, ToolResult):
                result = one
            else:
                result = self._run_step(index, one) if one.tool.is_step else next(of_runs)
            results.append(self._finish(index, result))
        return tuple(results)

    def _prepare(self, index: int, call: ToolCallRequest) -> _PreparedCall | ToolResult:
        tools = self._run.plan.tools
        tool = tools.get(call.name)
        if tool is None:
            return _build_failure(call, f"there is no tool {call.name!r}; the tools are: {', '.join(tools) or 'none'}")
        try:
            arguments = ToolCall(call.id, call.name, call.arguments).arguments_dict()
        except ToolCallParseError as error:
            return _build_failure(call, str(error))
        seen = self._run.build_seen(arguments, tool=call.name)
        key = f"tool_start:{self._number}[{index}]"
        arguments = run_hooks(self._run.context, key, self._run.plan.on_tool_start, seen).current_payload
        self._run.publish("tool_start", {"step": self._number, "tool": call.name, "tool_call_id": call.id})
        return _PreparedCall(call, tool, arguments)

    def _run_children(self, prepared: Sequence[_PreparedCall]) -> list[ToolResult]:
        if not prepared:
            return []
        inputs = [BatchWorkflowInput(one.tool.id, one.arguments) for one in prepared]
        outcomes = self._run.steps.collect(f"tools:{self._number}", inputs)
        return [
            _build_result(one.call, outcome["value"])
            if "value" in outcome
            else _build_failure(one.call, outcome["error"]["message"])
            for one, outcome in zip(prepared, outcomes, strict=True)
        ]

    def _run_step(self, index: int, one: _PreparedCall) -> ToolResult:
        call = partial(one.tool.call, self._run.context, one.arguments)
        try:
            return _build_result(one.call, self._run.steps.run(f"tool:{self._number}[{index}]", call, max_retries=0))
        except StepExecutionError as error:
            return _build_failure(one.call, str(error))

    def _finish(self, index: int, result: ToolResult) -> ToolResult:
        facts = {"tool": result.tool_name, "tool_call_id": result.tool_call_id, "status": result.status}
        self._run.publish("tool_finish", {"step": self._number, **facts})
        hooks = self._run.plan.on_tool_end
        if not hooks:
            return result
        seen = self._run.build_seen(None, result.content, result.tool_name)
        output = run_hooks(self._run.context, f"tool_end:{self._number}[{index}]", hooks, seen).current_output
        return attrs.evolve(result, content=output if isinstance(output, str) else json.dumps(output))


def _is_run(one: _PreparedCall | ToolResult) -> TypeGuard[_PreparedCall]:
    return isinstance(one, _PreparedCall) and not one.tool.is_step


def _build_result(call: ToolCallRequest, value: JsonObject) -> ToolResult:
    is_error = value.get("is_error", False)
    return ToolResult(
        tool_name=call.name,
        tool_call_id=call.id,
        status=FAILED if is_error else COMPLETED,
        content=value["content"],
        error=value["content"] if is_error else None,
        result=value["value"],
        sources=tuple(value["sources"]),
    )


def _build_failure(call: ToolCallRequest, message: str) -> ToolResult:
    # Each provider marks a result that is an error in its own way.
    return ToolResult(tool_name=call.name, tool_call_id=call.id, status=FAILED, content=message, error=message)
