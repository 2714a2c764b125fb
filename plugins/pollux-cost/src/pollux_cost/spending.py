"""Reply -> the same with its price; and a budget that refuses calls before they are sent."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from pollux_cost.pricing import Price, compute_price
from pollux_sync.plugin import (
    ConfigurationError,
    PlanningError,
    PolluxError,
    Reply,
    Usage,
    check_number,
    hookimpl,
    read_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from pollux_sync.plugin import Attempt, Call, DeferredBatch, DeferredJob, Delta, Hooks, Plan

_NOTHING = Usage(input_tokens=0, output_tokens=0, total_tokens=0)
#: The output that is set aside for a call whose length nothing limits.
_UNLIMITED_OUTPUT = 4_096
#: The failures of attempts that the provider may have carried out, and bills.
_BILLED = frozenset({"timeout", "malformed"})


class Cost:
    """Puts the price of each answer into the result, and keeps a budget.

    * ``budget_usd``: the dollars that all calls through this object may cost. Default: POLLUX_COST_BUDGET_USD, else
      no limit.
    * ``prices``: prices by model, which take precedence over those of genai-prices.

    ``spent_usd`` is what the calls have cost so far.
    """

    def __init__(self, budget_usd: float | None = None, *, prices: Mapping[str, Price] | None = None) -> None:
        budget_usd = read_number("POLLUX_COST_BUDGET_USD") if budget_usd is None else budget_usd
        if budget_usd is not None:
            check_number("budget_usd", budget_usd, minimum=0)
        self._prices = dict(prices or {})
        _check_prices(self._prices)
        self._budget_usd = None if budget_usd is None else Decimal(str(budget_usd))
        self._lock = threading.Lock()
        self._reserved_usd = Decimal(0)
        # What each request of a submitted job may cost, by job, and the answers that have been counted.
        self._shares_usd: dict[str, Decimal] = {}
        self._collected: dict[str, bytearray] = {}
        self._planned = threading.local()
        self.spent_usd = Decimal(0)

    @hookimpl
    def pollux_price(self, provider: str, model: str, usage: Usage, tier: str) -> Decimal | None:
        own = self._prices.get(model)
        return own.compute(usage) if own is not None else compute_price(provider, model, usage, tier)

    @hookimpl(wrapper=True)
    def pollux_plan(self, hooks: Hooks) -> Generator[None, Plan, Plan]:
        plan = yield
        if self._budget_usd is not None and not plan.is_dry_run:
            for model in {call.model for call in plan.calls}:
                self._check_price(model, hooks)
            if plan.is_deferred:
                amount = sum((self._estimate(call, hooks, "batch") for call in plan.calls), Decimal(0))
                with self._lock:
                    self._check_left(amount)
                # For the jobs that this thread submits next.
                self._planned.share_usd = amount / max(1, len(plan.calls))
        return plan

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch: DeferredBatch) -> Generator[None, DeferredJob, DeferredJob]:
        job = yield
        self._set_aside(job, batch)
        return job

    @hookimpl(wrapper=True)
    def pollux_find_deferred(self, batch: DeferredBatch) -> Generator[None, DeferredJob | None, DeferredJob | None]:
        job = yield
        if job is not None:
            self._set_aside(job, batch)
        return job

    def _set_aside(self, job: DeferredJob, batch: DeferredBatch) -> None:
        """Set aside what a submitted job may cost, until its answers are collected."""
        share: Decimal = getattr(self._planned, "share_usd", Decimal(0))
        with self._lock:
            if job.job_id not in self._shares_usd:
                self._shares_usd[job.job_id] = share
                self._reserved_usd += share * batch.request_count

    @hookimpl
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply], hooks: Hooks) -> Reply:
        with self._reserve(call, hooks) as reservation:
            reply = self._add_price(call, proceed(call), hooks, call.options.priced_tier)
            reservation.settle(reply)
            return reply

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks
    ) -> Iterator[Delta | Reply]:
        with self._reserve(call, hooks) as reservation:
            for item in proceed(call):
                reservation.has_begun = True
                if isinstance(item, Reply):
                    reply = self._add_price(call, item, hooks, call.options.priced_tier)
                    reservation.settle(reply)
                    yield reply
                else:
                    yield item

    @hookimpl
    def pollux_call_deferred(
        self, call: Call, proceed: Callable[[Call], Reply], job: DeferredJob, hooks: Hooks
    ) -> Reply:
        cost = Decimal(0)
        try:
            reply = self._add_price(call, proceed(call), hooks, "batch")
            cost = reply.cost_usd or cost
        finally:
            self._count_collected(job, call, cost)
        return reply

    def _count_collected(self, job: DeferredJob, call: Call, cost: Decimal) -> None:
        with self._lock:
            # A job can be collected again, which costs nothing.
            if self._is_new(job, call):
                self._reserved_usd -= self._shares_usd.get(job.job_id, Decimal(0))
                self.spent_usd += cost

    def _is_new(self, job: DeferredJob, call: Call) -> bool:
        """Return whether an answer is collected for the first time, and note it."""
        # A byte for each: a job may have a million.
        noted = self._collected.setdefault(job.job_id, bytearray())
        noted.extend(bytes(max(0, call.index + 1 - len(noted))))
        is_new, noted[call.index] = not noted[call.index], 1
        return is_new

    def _add_price(self, call: Call, reply: Reply, hooks: Hooks, tier: str) -> Reply:
        # Middleware inside may know it: an answer of a cache costs nothing.
        if reply.cost_usd is not None:
            return reply
        tier = "batch" if tier == "batch" else reply.service_tier or tier
        cost = hooks.price(call.model, reply.usage, tier=tier)
        # A router names the model that it has chosen only in the answer.
        if cost is None and reply.model is not None:
            cost = hooks.price(reply.model, reply.usage, tier=tier)
        return reply if cost is None else attrs.evolve(reply, cost_usd=cost)

    # Budget

    @contextmanager
    def _reserve(self, call: Call, hooks: Hooks) -> Iterator[_Reservation]:
        """Set aside the most that a call may cost, until its end is known.

        Raises PlanningError if the budget does not allow the call.
        """
        amount = Decimal(0) if self._budget_usd is None else self._estimate(call, hooks, call.options.priced_tier)
        reservation = _Reservation(amount, spent=amount)
        with self._lock:
            self._check_left(amount)
            self._reserved_usd += amount
        try:
            yield reservation
        except PolluxError as error:
            reservation.fail(error)
            raise
        finally:
            with self._lock:
                self._reserved_usd -= amount
                self.spent_usd += reservation.spent

    def _check_left(self, amount: Decimal) -> None:
        if self._budget_usd is None:
            return
        left = self._budget_usd - self.spent_usd - self._reserved_usd
        if amount > left:
            raise PlanningError(
                f"not sent: it may cost ${amount:.6f}, and ${max(left, Decimal(0)):.6f} of "
                f"budget_usd={self._budget_usd} are left",
                hint="raise budget_usd, or lower Options(max_tokens=...)",
            )

    def _check_price(self, model: str, hooks: Hooks) -> None:
        if hooks.price(model, _NOTHING) is None:
            raise ConfigurationError(
                f"the price of {hooks.info.name} {model!r} is not known, so budget_usd cannot be kept",
                hint=f'pass Cost(prices={{"{model}": Price(input=..., output=...)}}), or leave budget_usd out',
            )

    def _estimate(self, call: Call, hooks: Hooks, tier: str) -> Decimal:
        """Return the most that a call is expected to cost. In a tier without a price it counts as in the usual one."""
        estimate = hooks.estimate_tokens(call)
        output = estimate.max_output_tokens or max(estimate.output_tokens, _UNLIMITED_OUTPUT)
        usage = Usage(input_tokens=estimate.input_tokens, output_tokens=output)
        cost = hooks.price(call.model, usage, tier=tier)
        if cost is None:
            cost = hooks.price(call.model, usage)
        return cost or Decimal(0)


@attrs.define
class _Reservation:
    """The most that one call may cost, and what it has ``spent``, which is the most until its end is known."""

    amount: Decimal
    spent: Decimal
    has_begun: bool = False

    def settle(self, reply: Reply) -> None:
        """Count an answer, and the attempts before it that may be billed too."""
        cost = self.amount if reply.cost_usd is None else reply.cost_usd
        self.spent = cost + self._count_lost(reply.attempts)

    def fail(self, error: PolluxError) -> None:
        """Count the attempts at a call that failed which may be billed. A stream that has begun is."""
        least = self.amount if self.has_begun else Decimal(0)
        self.spent = max(least, self._count_lost(error.attempts))

    def _count_lost(self, attempts: tuple[Attempt, ...]) -> Decimal:
        return sum((self.amount for attempt in attempts if attempt.kind in _BILLED), Decimal(0))


def _check_prices(prices: Mapping[str, object]) -> None:
    for price in prices.values():
        if not isinstance(price, Price):
            raise ConfigurationError(
                f"prices must be Prices by model, got {type(price).__name__}",
                hint='prices={"my-model": Price(input=0.25, output=2)}',
            )
