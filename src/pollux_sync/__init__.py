"""Ask large language models about text, files and media by plain blocking function calls.

PYTEST_DONT_REWRITE: pytest wants to rewrite a package that brings fixtures, and warns if it is imported already.
"""

from __future__ import annotations

from pollux_sync._lazy import build_getattr
from pollux_sync._version import VERSION

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_sync.api.asking import run, run_many, to_jsonable
    from pollux_sync.api.caching import cached, create_cache, delete_cache, extend_cache, list_caches
    from pollux_sync.api.deferring import (
        as_completed,
        cancel_deferred,
        collect_deferred,
        defer,
        defer_many,
        inspect_deferred,
        wait_deferred,
    )
    from pollux_sync.api.explaining import explain
    from pollux_sync.api.interacting import interact
    from pollux_sync.api.probing import check_ready, list_models
    from pollux_sync.api.sessions import Session
    from pollux_sync.api.streaming import Stream, stream, stream_many
    from pollux_sync.api.tools import continue_tool, run_tools
    from pollux_sync.api.toolstreams import stream_tools
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.explanation import Explanation
    from pollux_sync.data.findings import AnswerFile, Citation, HostedCall
    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.hosted import (
        CodeExecution,
        FileSearch,
        ImageGeneration,
        RawTool,
        RemoteMCP,
        WebFetch,
        WebSearch,
    )
    from pollux_sync.data.interaction import Continuation, Environment, Input
    from pollux_sync.data.jobs import DeferredHandle, DeferredSnapshot
    from pollux_sync.data.message import Message, messages_from_openai, messages_to_openai
    from pollux_sync.data.models import ModelInfo, Readiness
    from pollux_sync.data.options import Options
    from pollux_sync.data.output import Output
    from pollux_sync.data.progress import Progress
    from pollux_sync.data.provider import HttpRequest, HttpResponse, Problem, ProviderInfo, SourceRule
    from pollux_sync.data.reply import Reply, ToolCall, Usage
    from pollux_sync.data.retry import RetryPolicy
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import (
        ReasoningDelta,
        StreamDone,
        StreamEvent,
        StreamFinish,
        StreamStart,
        StreamToolCall,
        StreamToolResult,
        StreamUsage,
        TextDelta,
        ToolCallDelta,
    )
    from pollux_sync.data.tool import Tool, ToolDeclaration, ToolFailure, ToolResult
    from pollux_sync.engine.enveloping import result_of, tool_arguments
    from pollux_sync.engine.interacting import outputs
    from pollux_sync.errors import (
        APIError,
        CacheError,
        ConfigurationError,
        ContextOverflowError,
        DeferredNotReadyError,
        Fault,
        InternalError,
        Interrupted,
        PlanningError,
        PluginLoadError,
        PolluxError,
        ProviderBugError,
        RateLimitError,
        SourceError,
        Terminated,
        ToolCallParseError,
    )
    from pollux_sync.hooks.config import Config
    from pollux_sync.hooks.specs import hookimpl
    from pollux_sync.signals import exit_on_sigterm

#: Where each public name lives; the module is imported when the name is first used.
_HOMES = {
    "api.asking": ("run", "run_many", "to_jsonable"),
    "api.caching": ("cached", "create_cache", "delete_cache", "extend_cache", "list_caches"),
    "api.deferring": (
        "as_completed",
        "cancel_deferred",
        "collect_deferred",
        "defer",
        "defer_many",
        "inspect_deferred",
        "wait_deferred",
    ),
    "api.explaining": ("explain",),
    "api.interacting": ("interact",),
    "api.probing": ("check_ready", "list_models"),
    "api.sessions": ("Session",),
    "api.streaming": ("Stream", "stream", "stream_many"),
    "api.toolstreams": ("stream_tools",),
    "api.tools": ("continue_tool", "run_tools"),
    "data.envelope": ("ResultEnvelope",),
    "data.explanation": ("Explanation",),
    "data.findings": ("AnswerFile", "Citation", "HostedCall"),
    "data.handles": ("CacheHandle",),
    "data.hosted": (
        "CodeExecution",
        "FileSearch",
        "ImageGeneration",
        "RawTool",
        "RemoteMCP",
        "WebFetch",
        "WebSearch",
    ),
    "data.interaction": ("Continuation", "Environment", "Input"),
    "data.jobs": ("DeferredHandle", "DeferredSnapshot"),
    "data.message": ("Message", "messages_from_openai", "messages_to_openai"),
    "data.models": ("ModelInfo", "Readiness"),
    "data.options": ("Options",),
    "data.output": ("Output",),
    "data.progress": ("Progress",),
    "data.provider": ("HttpRequest", "HttpResponse", "Problem", "ProviderInfo", "SourceRule"),
    "data.reply": ("Reply", "ToolCall", "Usage"),
    "data.retry": ("RetryPolicy",),
    "data.source": ("Source",),
    "data.streaming": (
        "ReasoningDelta",
        "StreamDone",
        "StreamEvent",
        "StreamFinish",
        "StreamStart",
        "StreamToolCall",
        "StreamToolResult",
        "StreamUsage",
        "TextDelta",
        "ToolCallDelta",
    ),
    "data.tool": ("Tool", "ToolDeclaration", "ToolFailure", "ToolResult"),
    "engine.enveloping": ("result_of", "tool_arguments"),
    "engine.interacting": ("outputs",),
    "errors": (
        "APIError",
        "CacheError",
        "ConfigurationError",
        "ContextOverflowError",
        "DeferredNotReadyError",
        "Fault",
        "InternalError",
        "Interrupted",
        "PlanningError",
        "PluginLoadError",
        "PolluxError",
        "ProviderBugError",
        "RateLimitError",
        "SourceError",
        "Terminated",
        "ToolCallParseError",
    ),
    "hooks.config": ("Config",),
    "hooks.specs": ("hookimpl",),
    "signals": ("exit_on_sigterm",),
}

__all__ = [
    "APIError",
    "AnswerFile",
    "CacheError",
    "CacheHandle",
    "Citation",
    "CodeExecution",
    "Config",
    "ConfigurationError",
    "ContextOverflowError",
    "Continuation",
    "DeferredHandle",
    "DeferredNotReadyError",
    "DeferredSnapshot",
    "Environment",
    "Explanation",
    "Fault",
    "FileSearch",
    "HostedCall",
    "HttpRequest",
    "HttpResponse",
    "ImageGeneration",
    "Input",
    "InternalError",
    "Interrupted",
    "Message",
    "ModelInfo",
    "Options",
    "Output",
    "PlanningError",
    "PluginLoadError",
    "PolluxError",
    "Problem",
    "Progress",
    "ProviderBugError",
    "ProviderInfo",
    "RateLimitError",
    "RawTool",
    "Readiness",
    "ReasoningDelta",
    "RemoteMCP",
    "Reply",
    "ResultEnvelope",
    "RetryPolicy",
    "Session",
    "Source",
    "SourceError",
    "SourceRule",
    "Stream",
    "StreamDone",
    "StreamEvent",
    "StreamFinish",
    "StreamStart",
    "StreamToolCall",
    "StreamToolResult",
    "StreamUsage",
    "Terminated",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallParseError",
    "ToolDeclaration",
    "ToolFailure",
    "ToolResult",
    "Usage",
    "WebFetch",
    "WebSearch",
    "__version__",
    "as_completed",
    "cached",
    "cancel_deferred",
    "check_ready",
    "collect_deferred",
    "continue_tool",
    "create_cache",
    "defer",
    "defer_many",
    "delete_cache",
    "exit_on_sigterm",
    "explain",
    "extend_cache",
    "hookimpl",
    "inspect_deferred",
    "interact",
    "list_caches",
    "list_models",
    "messages_from_openai",
    "messages_to_openai",
    "outputs",
    "result_of",
    "run",
    "run_many",
    "run_tools",
    "stream",
    "stream_many",
    "stream_tools",
    "to_jsonable",
    "tool_arguments",
    "wait_deferred",
]

__version__ = VERSION


def _name_successor(name: str) -> str:
    # Imported here, so that only a name that is missing costs the import.
    from pollux_sync._successors import SUCCESSORS

    return f"; coming from pollux-ai, take {SUCCESSORS[name].replace('`', '')}" if name in SUCCESSORS else ""


__getattr__ = build_getattr(__name__, _HOMES, _name_successor)


def __dir__() -> list[str]:
    return __all__
