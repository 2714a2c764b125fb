"""Workflows, agents and tools that survive their process, by plain blocking function calls."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_durable import batch, events
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
    from pollux_durable.data.events import EventDraft, EventPayload, Suspension
    from pollux_durable.data.queues import Queue
    from pollux_durable.data.results import BatchStepResult, BatchWorkflowInput
    from pollux_durable.data.runs import RunInfo
    from pollux_durable.data.states import WorkflowState
    from pollux_durable.declaring import Workflow, workflow
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
    from pollux_durable.guardrails import GuardrailAction, GuardrailContext, GuardrailResult, guardrail
    from pollux_durable.hooks import HookAction, HookContext, HookResult, hook
    from pollux_durable.invoking import ExecutionHandle, get_handle
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
_HOMES = {
    "websearch": (
        "WebSearchConfig",
        "create_web_search_tool",
    ),
    "tools": (
        "DurableTool",
        "tool",
    ),
    "streaming": ("AgentStream",),
    "stopping": (
        "StopCondition",
        "StopContext",
        "executed_tool",
        "has_text",
        "max_steps",
        "max_tokens",
        "stop_condition",
    ),
    "guardrails": (
        "GuardrailAction",
        "GuardrailContext",
        "GuardrailResult",
        "guardrail",
    ),
    "data.agents": (
        "AgentInput",
        "AgentResult",
        "AgentStep",
        "CompactionConfig",
        "ToolCallRequest",
        "ToolResult",
    ),
    "asking": (
        "Field",
        "create_ask_user_tool",
    ),
    "agents": (
        "Agent",
        "AgentSettings",
    ),
    "": ("batch", "events"),
    "codecs": ("Codec",),
    "configuring": ("configure", "reset"),
    "contexts": ("AgentContext", "WorkflowContext"),
    "data.events": ("EventDraft", "EventPayload", "Suspension"),
    "data.queues": ("Queue",),
    "data.results": ("BatchStepResult", "BatchWorkflowInput"),
    "data.runs": ("RunInfo",),
    "data.states": ("WorkflowState",),
    "declaring": ("Workflow", "workflow"),
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
    "hooks": ("HookAction", "HookContext", "HookResult", "hook"),
    "invoking": ("ExecutionHandle", "get_handle"),
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
    "BatchStepResult",
    "BatchWorkflowInput",
    "Codec",
    "CompactionConfig",
    "DuplicateStepError",
    "DurableTool",
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
    "RequestChangedError",
    "RunCancelledError",
    "RunFailedError",
    "RunInfo",
    "StepExecutionError",
    "StepOrderError",
    "StopCondition",
    "StopContext",
    "StoredDataError",
    "Suspension",
    "ToolCallRequest",
    "ToolRejectedError",
    "ToolResult",
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
    "max_steps",
    "max_tokens",
    "reset",
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
