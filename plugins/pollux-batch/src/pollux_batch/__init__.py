"""Bulk work with pollux-sync: thousands to millions of prompts, answered once each, whatever happens in between."""

from pollux_batch.batching import run_batch, stream_batch
from pollux_batch.data.items import BatchItem
from pollux_batch.data.reports import BatchPlan, ExportedAnswer, JournalReport
from pollux_batch.data.responses import LLMResponse
from pollux_batch.data.results import BatchResult, Termination, WorkItemResult
from pollux_batch.data.settings import Budget, Limits, Retries
from pollux_batch.data.usage import TokenUsage
from pollux_batch.errors import BatchBudgetExceeded, DriftError, JournalError, RowError
from pollux_batch.exporting import export_answers, iter_answers
from pollux_batch.inspecting import inspect_journal
from pollux_batch.reading import read_csv, read_jsonl
from pollux_batch.surveying import plan_batch
from pollux_batch.writing import WrittenFiles, write_results

__all__ = [
    "BatchBudgetExceeded",
    "BatchItem",
    "BatchPlan",
    "BatchResult",
    "Budget",
    "DriftError",
    "ExportedAnswer",
    "JournalError",
    "JournalReport",
    "LLMResponse",
    "Limits",
    "Retries",
    "RowError",
    "Termination",
    "TokenUsage",
    "WorkItemResult",
    "WrittenFiles",
    "export_answers",
    "inspect_journal",
    "iter_answers",
    "plan_batch",
    "read_csv",
    "read_jsonl",
    "run_batch",
    "stream_batch",
    "write_results",
]
