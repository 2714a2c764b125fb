"""Items -> plan: what a job would send, without sending anything."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_batch.budgeting import check_price
from pollux_batch.data.items import Asked
from pollux_batch.data.reports import BatchPlan
from pollux_batch.data.settings import BatchSettings
from pollux_batch.feeding import Feeder
from pollux_batch.inspecting import JournalView
from pollux_batch.lanes import Lanes
from pollux_batch.remembering import MemoryJournal
from pollux_sync.plugin import Usage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from pollux_batch.data.settings import Budget, Dedupe
    from pollux_batch.data.work import Refused, Work
    from pollux_sync import Config, Options, Source

_MAX_ERRORS = 10


def plan_batch(
    items: Iterable[object],
    *,
    config: Config,
    options: Options | None = None,
    sources: Iterable[Source] = (),
    journal: str | os.PathLike[str] | None = None,
    dedupe: Dedupe = "auto",
    budget: Budget | None = None,
) -> BatchPlan:
    """Return what `run_batch` would do with these arguments. Nothing is sent, stored or uploaded.

    The journal is only read, also while a job writes to it; one that does not exist has no answers. For each item 32
    bytes are kept, so that equal ones are found. Raises ConfigurationError as `run_batch` does.
    """
    settings = BatchSettings(dedupe=dedupe)
    path = None if journal is None else Path(journal)
    view = JournalView(path) if path is not None and path.exists() else None
    try:
        with Lanes(settings) as lanes:
            asked = Asked(items=items, config=config, options=options, sources=tuple(sources))
            return _Survey(view, budget).read(asked, settings, lanes)
    finally:
        if view is not None:
            view.__exit__(None, None, None)


class _Survey:
    """The counts of a plan, as its items are read."""

    def __init__(self, view: JournalView | None, budget: Budget | None) -> None:
        self._budget = budget
        # Most plans are made before the first run.
        self._view = view if view is not None and view.count_answers() else None
        self._seen: set[bytes] = set()
        self._errors: list[str] = []
        self._answered = self._equal = self._broken = self._to_send = self._drifted = 0
        self._input_tokens = self._output_tokens = 0
        self._cost: Decimal | None = Decimal(0)

    def read(self, asked: Asked, settings: BatchSettings, lanes: Lanes) -> BatchPlan:
        """Read all items and return the plan."""
        memory = MemoryJournal(lambda _: None)
        try:
            feeder = Feeder(asked, settings, lanes, memory)
            while (planned := feeder.plan_chunk()) is not None:
                works, refused = planned
                self._add_refused(refused)
                self._add_works(works)
        finally:
            memory.close("completed")
        return BatchPlan(
            items=feeder.count,
            broken=self._broken,
            answered=self._answered,
            equal=self._equal,
            to_send=self._to_send,
            drifted=self._drifted,
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cost=self._cost,
            errors=tuple(self._errors),
        )

    def _add_refused(self, refused: Sequence[Refused]) -> None:
        self._broken += len(refused)
        room = _MAX_ERRORS - len(self._errors)
        self._errors += [f"{entry.label}: {entry.error.message}" for entry in refused[:room]]

    def _add_works(self, works: Sequence[Work]) -> None:
        found = self._view.find_answered([work.key for work in works]) if self._view else set()
        missed = []
        for work in works:
            if work.key in found:
                self._answered += 1
            elif work.key in self._seen:
                self._equal += 1
            else:
                missed.append(work)
                self._seen.add(work.key)
        if self._view and missed:
            asked = self._view.find_asked([work.ask for work in missed])
            self._drifted += sum(work.ask in asked for work in missed)
        self._to_send += len(missed)
        for work in missed:
            self._estimate(work)

    def _estimate(self, work: Work) -> None:
        hooks = work.lane.hooks
        check_price(self._budget, work.lane.config.model, hooks)
        estimate = hooks.estimate_tokens(work.call)
        self._input_tokens += estimate.input_tokens
        self._output_tokens += estimate.output_tokens
        if self._cost is None:
            return
        usage = Usage(
            input_tokens=estimate.input_tokens,
            output_tokens=estimate.output_tokens,
            total_tokens=estimate.input_tokens + estimate.output_tokens,
        )
        tier = work.call.options.priced_tier
        price = hooks.price(work.call.model, usage, tier=tier) if hooks.can_price else None
        self._cost = None if price is None else self._cost + price
