"""Workflows, agents and tools that survive their process, by plain blocking function calls."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_durable import batch, events, queues, schedules
    from pollux_durable.agents import Agent, AgentSettings
    from pollux_durable.asking import Field, create_ask_user_tool
    from pollux_durable.codecs import Codec
    from pollux_durable.configuring import configure, reset
    from pollux_durable.contexts import AgentContext, WorkflowContext
    from pollux_durable.data.agents import (
        AgentInput,
        AgentResult,
        AgentStep,
        CompactionConfig,
        ToolCallRequest,
        ToolResult,
    )
    from pollux_durable.data.events import BatchEventPayload, EventDraft, EventPayload, Suspension
    from pollux_durable.data.queues import Queue, QueueInfo
    from pollux_durable.data.results import BatchStepResult, BatchWorkflowInput
    from pollux_durable.data.runs import RunInfo, StepRecord
    from pollux_durable.data.schedules import Schedule, SchedulePayload
    from pollux_durable.data.states import WorkflowState
    from pollux_durable.declaring import Workflow, workflow
    from pollux_durable.engines import Database, Engine, Transaction
    from pollux_durable.errors import (
        DuplicateStepError,
        PayloadError,
        RequestChangedError,
        RunCancelledError,
        RunFailedError,
        StepExecutionError,
        StepOrderError,
        StoredDataError,
        ToolRejectedError,
        WorkflowTimeoutError,
    )
    from pollux_durable.finding import get_handle, list_runs
    from pollux_durable.guardrails import GuardrailAction, GuardrailContext, GuardrailResult, guardrail
    from pollux_durable.hooks import HookAction, HookContext, HookResult, hook
    from pollux_durable.invoking import ExecutionHandle
    from pollux_durable.stopping import (
        StopCondition,
        StopContext,
        executed_tool,
        has_text,
        max_steps,
        max_tokens,
        stop_condition,
    )
    from pollux_durable.streaming import AgentStream
    from pollux_durable.tools import DurableTool, tool
    from pollux_durable.websearch import WebSearchConfig, create_web_search_tool

#: Where each public name lives; the module is imported when the name is first used.
_HOMES: dict[str, tuple[str, ...]] = {
    "": (
        "batch",
        "events",
        "queues",
        "schedules",
    ),
    "agents": (
        "Agent",
        "AgentSettings",
    ),
    "asking": (
        "Field",
        "create_ask_user_tool",
    ),
    "codecs": ("Codec",),
    "configuring": (
        "configure",
        "reset",
    ),
    "contexts": (
        "AgentContext",
        "WorkflowContext",
    ),
    "data.agents": (
        "AgentInput",
        "AgentResult",
        "AgentStep",
        "CompactionConfig",
        "ToolCallRequest",
        "ToolResult",
    ),
    "data.events": (
        "BatchEventPayload",
        "EventDraft",
        "EventPayload",
        "Suspension",
    ),
    "data.queues": (
        "Queue",
        "QueueInfo",
    ),
    "data.results": (
        "BatchStepResult",
        "BatchWorkflowInput",
    ),
    "data.runs": (
        "RunInfo",
        "StepRecord",
    ),
    "data.schedules": (
        "Schedule",
        "SchedulePayload",
    ),
    "data.states": ("WorkflowState",),
    "declaring": (
        "Workflow",
        "workflow",
    ),
    "engines": (
        "Database",
        "Engine",
        "Transaction",
    ),
    "errors": (
        "DuplicateStepError",
        "PayloadError",
        "RequestChangedError",
        "RunCancelledError",
        "RunFailedError",
        "StepExecutionError",
        "StepOrderError",
        "StoredDataError",
        "ToolRejectedError",
        "WorkflowTimeoutError",
    ),
    "finding": (
        "get_handle",
        "list_runs",
    ),
    "guardrails": (
        "GuardrailAction",
        "GuardrailContext",
        "GuardrailResult",
        "guardrail",
    ),
    "hooks": (
        "HookAction",
        "HookContext",
        "HookResult",
        "hook",
    ),
    "invoking": ("ExecutionHandle",),
    "stopping": (
        "StopCondition",
        "StopContext",
        "executed_tool",
        "has_text",
        "max_steps",
        "max_tokens",
        "stop_condition",
    ),
    "streaming": ("AgentStream",),
    "tools": (
        "DurableTool",
        "tool",
    ),
    "websearch": (
        "WebSearchConfig",
        "create_web_search_tool",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AgentContext",
    "AgentInput",
    "AgentResult",
    "AgentSettings",
    "AgentStep",
    "AgentStream",
    "BatchEventPayload",
    "BatchStepResult",
    "BatchWorkflowInput",
    "Codec",
    "CompactionConfig",
    "Database",
    "DuplicateStepError",
    "DurableTool",
    "Engine",
    "EventDraft",
    "EventPayload",
    "ExecutionHandle",
    "Field",
    "GuardrailAction",
    "GuardrailContext",
    "GuardrailResult",
    "HookAction",
    "HookContext",
    "HookResult",
    "PayloadError",
    "Queue",
    "QueueInfo",
    "RequestChangedError",
    "RunCancelledError",
    "RunFailedError",
    "RunInfo",
    "Schedule",
    "SchedulePayload",
    "StepExecutionError",
    "StepOrderError",
    "StepRecord",
    "StopCondition",
    "StopContext",
    "StoredDataError",
    "Suspension",
    "ToolCallRequest",
    "ToolRejectedError",
    "ToolResult",
    "Transaction",
    "WebSearchConfig",
    "Workflow",
    "WorkflowContext",
    "WorkflowState",
    "WorkflowTimeoutError",
    "batch",
    "configure",
    "create_ask_user_tool",
    "create_web_search_tool",
    "events",
    "executed_tool",
    "get_handle",
    "guardrail",
    "has_text",
    "hook",
    "list_runs",
    "max_steps",
    "max_tokens",
    "queues",
    "reset",
    "schedules",
    "stop_condition",
    "tool",
    "workflow",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = _HOME_OF[name]
    value: object = getattr(import_module(f"{__name__}.{home}"), name) if home else import_module(f"{__name__}.{name}")
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return __all__
