"""The result of each item, and the result of the job."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, Literal

import attrs

from pollux_batch.data.usage import TokenUsage, add_usage

TerminationKind = Literal["completed", "interrupted", "budget_exceeded", "fail_fast", "batch_timeout", "submitted"]


@attrs.frozen(kw_only=True)
class Termination:
    """The reason for the end of a job. All but "completed" can be gone on with: run it again with the same journal."""

    kind: TerminationKind = "completed"
    reason: str | None = None
    error_category: str | None = None
    triggering_item_id: str | None = None


@attrs.define(kw_only=True, weakref_slot=False)
class WorkItemResult:
    """The result of one item, whether it succeeded or not.

    * ``output``: the text of the answer, the typed value with ``response_schema``, or what the parser returned.
    * ``error``: ``Type: message`` of the failure, None for a success; ``exception`` is the error itself.
    * ``error_category``: the kind of the failure, such as "rate_limit" or "parse_error".
    * ``context``: the item's own object.
    * ``metadata``: what else is known of the answer, such as ``finish_reason``, ``model``, ``reasoning`` and
      ``citations``, and the provider's own artifacts; JSON-ready.
    * ``token_usage``: over all tries of this item in this run; empty for an answer that was not paid for now.
    * ``cost``: in US dollars, None where no price is known; 0 for an answer that was not paid for now. A try without an
      answer may be charged for: ``metadata["charged_by_estimate"]`` are its tokens, at the most, and the cost has them.
    * ``replayed``: the answer came from the journal. ``deduped_from``: it is that of this equal item.
    * ``attempts``: physical attempts in this run.
    """

    item_id: str
    success: bool
    output: Any = None
    error: str | None = None
    context: Any = None
    token_usage: TokenUsage = attrs.field(factory=TokenUsage)
    metadata: dict[str, Any] | None = None
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)
    submission_index: int = 0
    error_category: str | None = None
    cost: Decimal | None = None
    replayed: bool = False
    deduped_from: str | None = None
    attempts: int = 0
    duration_s: float = 0.0


@attrs.define(kw_only=True)
class BatchResult:
    """The results of a job in the order of its items, and how it ended.

    ``unanswered`` is the number of items that have no result because the job ended before them. It is None if the job
    ended before all items were read.
    """

    results: list[WorkItemResult] = attrs.field(factory=list)
    termination: Termination = attrs.field(factory=Termination)
    unanswered: int | None = 0
    duration_s: float = 0.0

    @property
    def total_items(self) -> int:
        """The number of items with a result."""
        return len(self.results)

    @property
    def succeeded(self) -> int:
        """The number of items that were answered."""
        return sum(result.success for result in self.results)

    @property
    def failed(self) -> int:
        """The number of items that failed."""
        return len(self.results) - self.succeeded

    @property
    def successes(self) -> list[WorkItemResult]:
        """The results of items that were answered."""
        return [result for result in self.results if result.success]

    @property
    def failures(self) -> list[WorkItemResult]:
        """The results of items that failed."""
        return [result for result in self.results if not result.success]

    @property
    def by_id(self) -> dict[str, WorkItemResult]:
        """The results by the id of their item; of several with one id, the last."""
        return {result.item_id: result for result in self.results}

    @property
    def usage(self) -> TokenUsage:
        """The tokens that were paid for in this run."""
        return add_usage(result.token_usage for result in self.results)

    @property
    def total_input_tokens(self) -> int:
        """The input tokens that were paid for in this run."""
        return self.usage.get("input_tokens", 0)

    @property
    def total_output_tokens(self) -> int:
        """The output tokens that were paid for in this run."""
        return self.usage.get("output_tokens", 0)

    @property
    def total_cached_tokens(self) -> int:
        """The input tokens of this run that providers read from their caches."""
        return self.usage.get("cached_input_tokens", 0)

    @property
    def cost(self) -> Decimal | None:
        """The cost of this run in US dollars, None if that of any answer is not known."""
        paid = [r for r in self.results if r.success or r.token_usage or r.cost is not None]
        costs = [result.cost for result in paid if not result.replayed]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None

    def outputs(self, *, with_ids: bool = False) -> list[Any]:
        """Return the output of each item in order, None for one that failed; ``with_ids`` gives pairs."""
        return [(result.item_id, result.output) if with_ids else result.output for result in self.results]

    def summary(self) -> dict[str, Any]:
        """Return counts and sums as JSON-ready data."""
        return {
            "total_items": self.total_items,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "replayed": sum(result.replayed for result in self.results),
            "deduped": sum(result.deduped_from is not None for result in self.results),
            "unanswered": self.unanswered,
            "usage": dict(self.usage),
            "cost_usd": None if self.cost is None else str(self.cost),
            "errors": dict(Counter(result.error_category or "unknown" for result in self.failures)),
            "termination": self.termination.kind,
            "duration_s": round(self.duration_s, 3),
        }
