"""Bulk work with pollux-sync: thousands to millions of prompts, answered once each, whatever happens in between."""

from pollux_batch.batching import run_batch, stream_batch
from pollux_batch.data.items import BatchItem
from pollux_batch.data.responses import LLMResponse
from pollux_batch.data.results import BatchResult, Termination, WorkItemResult
from pollux_batch.data.settings import Budget, Limits, Retries
from pollux_batch.data.usage import TokenUsage
from pollux_batch.errors import BatchBudgetExceeded, DriftError, JournalError, RowError
from pollux_batch.reading import read_csv, read_jsonl
from pollux_batch.writing import WrittenFiles, write_results

__all__ = [
    "BatchBudgetExceeded",
    "BatchItem",
    "BatchResult",
    "Budget",
    "DriftError",
    "JournalError",
    "LLMResponse",
    "Limits",
    "Retries",
    "RowError",
    "Termination",
    "TokenUsage",
    "WorkItemResult",
    "WrittenFiles",
    "read_csv",
    "read_jsonl",
    "run_batch",
    "stream_batch",
    "write_results",
]
