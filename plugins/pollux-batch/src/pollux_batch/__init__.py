"""Bulk work with pollux-sync: thousands to millions of prompts, answered once each, whatever happens in between."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_batch.batching import run_batch, stream_batch
    from pollux_batch.caching import GeminiCachedModel
    from pollux_batch.calling import LLMCallPool, LLMGateway, call, call_result
    from pollux_batch.carrying import carry_out_chunk
    from pollux_batch.classifying import DefaultErrorClassifier, PolluxErrorClassifier
    from pollux_batch.data.categories import ErrorCategory, ErrorClassifier, ErrorInfo, TimeoutCategory
    from pollux_batch.data.chunks import ChunkCall, FleetAnswer, FleetChunk
    from pollux_batch.data.configs import (
        AbortMode,
        AttemptUsage,
        GuardrailConfig,
        ProcessorConfig,
        RateLimitConfig,
        RetryConfig,
        StartupRampConfig,
    )
    from pollux_batch.data.items import BatchItem
    from pollux_batch.data.reports import BatchPlan, ExportedAnswer, JournalReport
    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.results import BatchResult, Termination, WorkItemResult
    from pollux_batch.data.settings import Budget, Limits, Retries
    from pollux_batch.data.state import RetryState
    from pollux_batch.data.strategy import CallOutcome, LLMCallStrategy
    from pollux_batch.data.usage import TokenUsage
    from pollux_batch.data.workitems import LLMWorkItem
    from pollux_batch.errors import (
        AdmissionTimeoutError,
        BatchAbortedError,
        BatchAdmissionClosedError,
        DriftError,
        EmptyResponseError,
        FrameworkTimeoutError,
        ItemDeadlineExceeded,
        JournalError,
        LLMCallError,
        MiddlewareContractError,
        ProcessorStateError,
        QuotaScopeError,
        RateLimitRetriesExceeded,
        RowError,
        StrategyPrepareError,
        TokenEstimationError,
        TokenTrackingError,
        WrongTypeError,
    )
    from pollux_batch.exporting import export_answers, iter_answers
    from pollux_batch.fleets import Fleet
    from pollux_batch.inspecting import inspect_journal
    from pollux_batch.models import (
        AnthropicModel,
        DeepSeekModel,
        GeminiModel,
        LLMModel,
        LocalModel,
        ManagedLLMModel,
        OpenAIModel,
        OpenRouterModel,
        PolluxModel,
    )
    from pollux_batch.observing import BaseMiddleware, BaseObserver, Middleware, ProcessingEvent, ProcessorObserver
    from pollux_batch.processing import ParallelBatchProcessor, process_prompts, process_stream
    from pollux_batch.reading import read_csv, read_jsonl, read_parquet
    from pollux_batch.reporting import write_report
    from pollux_batch.strategies import (
        CallableStrategy,
        DeepSeekStrategy,
        GeminiStrategy,
        ModelStrategy,
        OpenAIStrategy,
        OpenRouterStrategy,
        PydanticAIStrategy,
    )
    from pollux_batch.surveying import plan_batch
    from pollux_batch.writing import WrittenFiles, write_results

#: Where each public name lives; the module is imported when the name is first used.
_HOMES: dict[str, tuple[str, ...]] = {
    "batching": ("run_batch", "stream_batch"),
    "caching": ("GeminiCachedModel",),
    "calling": ("LLMCallPool", "LLMGateway", "call", "call_result"),
    "classifying": ("DefaultErrorClassifier", "PolluxErrorClassifier"),
    "carrying": ("carry_out_chunk",),
    "data.categories": ("ErrorCategory", "ErrorClassifier", "ErrorInfo", "TimeoutCategory"),
    "data.chunks": ("ChunkCall", "FleetAnswer", "FleetChunk"),
    "data.configs": (
        "AbortMode",
        "AttemptUsage",
        "GuardrailConfig",
        "ProcessorConfig",
        "RateLimitConfig",
        "RetryConfig",
        "StartupRampConfig",
    ),
    "data.items": ("BatchItem",),
    "data.reports": ("BatchPlan", "ExportedAnswer", "JournalReport"),
    "data.responses": ("LLMResponse",),
    "data.results": ("BatchResult", "Termination", "WorkItemResult"),
    "data.settings": ("Budget", "Limits", "Retries"),
    "data.state": ("RetryState",),
    "data.strategy": ("CallOutcome", "LLMCallStrategy"),
    "data.usage": ("TokenUsage",),
    "data.workitems": ("LLMWorkItem",),
    "errors": (
        "AdmissionTimeoutError",
        "BatchAbortedError",
        "BatchAdmissionClosedError",
        "DriftError",
        "EmptyResponseError",
        "FrameworkTimeoutError",
        "ItemDeadlineExceeded",
        "JournalError",
        "LLMCallError",
        "MiddlewareContractError",
        "ProcessorStateError",
        "QuotaScopeError",
        "RateLimitRetriesExceeded",
        "RowError",
        "StrategyPrepareError",
        "TokenEstimationError",
        "TokenTrackingError",
        "WrongTypeError",
    ),
    "exporting": ("export_answers", "iter_answers"),
    "fleets": ("Fleet",),
    "inspecting": ("inspect_journal",),
    "models": (
        "AnthropicModel",
        "DeepSeekModel",
        "GeminiModel",
        "LLMModel",
        "LocalModel",
        "ManagedLLMModel",
        "OpenAIModel",
        "OpenRouterModel",
        "PolluxModel",
    ),
    "observing": ("BaseMiddleware", "BaseObserver", "Middleware", "ProcessingEvent", "ProcessorObserver"),
    "processing": ("ParallelBatchProcessor", "process_prompts", "process_stream"),
    "reading": ("read_csv", "read_jsonl", "read_parquet"),
    "reporting": ("write_report",),
    "strategies": (
        "CallableStrategy",
        "DeepSeekStrategy",
        "GeminiStrategy",
        "ModelStrategy",
        "OpenAIStrategy",
        "OpenRouterStrategy",
        "PydanticAIStrategy",
    ),
    "surveying": ("plan_batch",),
    "writing": ("WrittenFiles", "write_results"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AbortMode",
    "AdmissionTimeoutError",
    "AnthropicModel",
    "AttemptUsage",
    "BaseMiddleware",
    "BaseObserver",
    "BatchAbortedError",
    "BatchAdmissionClosedError",
    "BatchItem",
    "BatchPlan",
    "BatchResult",
    "Budget",
    "CallOutcome",
    "CallableStrategy",
    "ChunkCall",
    "DeepSeekModel",
    "DeepSeekStrategy",
    "DefaultErrorClassifier",
    "DriftError",
    "EmptyResponseError",
    "ErrorCategory",
    "ErrorClassifier",
    "ErrorInfo",
    "ExportedAnswer",
    "Fleet",
    "FleetAnswer",
    "FleetChunk",
    "FrameworkTimeoutError",
    "GeminiCachedModel",
    "GeminiModel",
    "GeminiStrategy",
    "GuardrailConfig",
    "ItemDeadlineExceeded",
    "JournalError",
    "JournalReport",
    "LLMCallError",
    "LLMCallPool",
    "LLMCallStrategy",
    "LLMGateway",
    "LLMModel",
    "LLMResponse",
    "LLMWorkItem",
    "Limits",
    "LocalModel",
    "ManagedLLMModel",
    "Middleware",
    "MiddlewareContractError",
    "ModelStrategy",
    "OpenAIModel",
    "OpenAIStrategy",
    "OpenRouterModel",
    "OpenRouterStrategy",
    "ParallelBatchProcessor",
    "PolluxErrorClassifier",
    "PolluxModel",
    "ProcessingEvent",
    "ProcessorConfig",
    "ProcessorObserver",
    "ProcessorStateError",
    "PydanticAIStrategy",
    "QuotaScopeError",
    "RateLimitConfig",
    "RateLimitRetriesExceeded",
    "Retries",
    "RetryConfig",
    "RetryState",
    "RowError",
    "StartupRampConfig",
    "StrategyPrepareError",
    "Termination",
    "TimeoutCategory",
    "TokenEstimationError",
    "TokenTrackingError",
    "TokenUsage",
    "WorkItemResult",
    "WrittenFiles",
    "WrongTypeError",
    "call",
    "call_result",
    "carry_out_chunk",
    "export_answers",
    "inspect_journal",
    "iter_answers",
    "plan_batch",
    "process_prompts",
    "process_stream",
    "read_csv",
    "read_jsonl",
    "read_parquet",
    "run_batch",
    "stream_batch",
    "write_report",
    "write_results",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return __all__
