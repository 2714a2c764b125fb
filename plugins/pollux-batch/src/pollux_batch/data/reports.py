"""The contents of a journal, for those who look at it."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - the types of fields
from typing import Any, Literal

import attrs

from pollux_batch.data.usage import TokenUsage

RunState = Literal["ended", "running", "killed", "unknown"]


@attrs.frozen(kw_only=True)
class ExportedAnswer:
    """One paid answer of a journal.

    ``text`` is None where it was not decoded, or cannot be: ``error`` says why. ``body`` is the stored answer.
    ``at`` is the time at which it came, in seconds since 1970.
    """

    label: str
    text: str | None
    body: bytes = attrs.field(repr=False)
    error: str | None = None
    usage: TokenUsage = attrs.field(factory=TokenUsage)
    cost: Decimal | None = None
    request_id: str | None = None
    at: float = 0.0
    run: int = 0


@attrs.frozen(kw_only=True)
class RunReport:
    """One run.

    ``outcome`` is the kind of its termination. ``lost`` are the items that the run before it left in flight.
    ``state`` is "unknown" for a run that has not ended, where it cannot be seen whether its process lives.
    """

    number: int
    started_at: float
    ended_at: float | None
    pid: int
    state: RunState
    outcome: str | None
    versions: dict[str, str]
    lost: tuple[str, ...]


@attrs.frozen(kw_only=True)
class FailedItem:
    """An item that has failed and was not answered since."""

    label: str
    error: str
    category: str
    attempts: int


@attrs.frozen(kw_only=True)
class JournalReport:
    """The contents of a journal, in numbers.

    ``cost`` is the sum of the known prices in US dollars, ``unpriced`` the number of answers without one. ``failed``
    are counts by category, ``failures`` the first of these items. ``in_flight`` are the items of the last run that
    were sent and not answered: those at work now, or lost if it was killed. ``submitted`` are those in deferred jobs
    that are not collected.
    """

    path: str
    answers: int
    usage: TokenUsage
    cost: Decimal
    unpriced: int
    failed: dict[str, int]
    failures: tuple[FailedItem, ...]
    in_flight: tuple[str, ...]
    submitted: int
    runs: tuple[RunReport, ...]

    @property
    def has_prices(self) -> bool:
        """False if there are answers, and the price of none is known."""
        return not self.answers or self.unpriced < self.answers

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        plain = attrs.asdict(self)
        return {**plain, "cost": str(self.cost)}


@attrs.frozen(kw_only=True)
class BatchPlan:
    """The forecast of a job.

    * ``items``: all of the input. ``broken``: those that cannot be asked.
    * ``answered``: the journal has their answers. ``equal``: another item of the job has the same request.
    * ``to_send``: what is left; ``drifted`` of these are answered in the journal, but are rendered otherwise now.
    * ``input_tokens``, ``output_tokens``: the estimate for what is to be sent; ``cost`` in US dollars, None where no
      plugin knows the price.
    """

    items: int = 0
    broken: int = 0
    answered: int = 0
    equal: int = 0
    to_send: int = 0
    drifted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None
    #: The first of those that cannot be asked, and why.
    errors: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {**attrs.asdict(self), "cost": None if self.cost is None else str(self.cost)}
