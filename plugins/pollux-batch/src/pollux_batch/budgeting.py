"""The budget of a job: reserved before a call, settled after it."""

from __future__ import annotations

import logging
import threading
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.plugin import Usage

if TYPE_CHECKING:
    from pollux_batch.data.settings import Budget
    from pollux_sync.data.request import Call
    from pollux_sync.stages import Hooks

log = logging.getLogger("pollux_batch")

#: The output that is reserved for a call whose length nothing limits.
_UNLIMITED_OUTPUT = 4_096


@attrs.frozen(kw_only=True)
class Reservation:
    """A part of the budget set aside for one call until its usage is known. ``usd`` is None without a known price."""

    usd: Decimal | None
    tokens: int


def estimate_worst_case(call: Call, hooks: Hooks) -> Reservation:
    """Return the most that a call is expected to take."""
    estimate = hooks.estimate_tokens(call)
    output = estimate.max_output_tokens or max(estimate.output_tokens, _UNLIMITED_OUTPUT)
    tokens = estimate.input_tokens + output
    usage = Usage(input_tokens=estimate.input_tokens, output_tokens=output, total_tokens=tokens)
    usd = hooks.price(call.model, usage, tier=call.options.priced_tier) if hooks.can_price else None
    return Reservation(usd=usd, tokens=tokens)


def check_price(budget: Budget | None, model: str, hooks: Hooks) -> None:
    """Raise ConfigurationError for a money budget where the price of a model is not known."""
    if budget is None or budget.usd is None:
        return
    nothing = Usage(input_tokens=0, output_tokens=0, total_tokens=0)
    if not hooks.can_price or hooks.price(model, nothing) is None:
        raise _build_price_error(model, hooks)


def _build_price_error(model: str, hooks: Hooks) -> ConfigurationError:
    return ConfigurationError(
        f"the price of {hooks.info.name} {model!r} is not known, so a budget in dollars cannot be kept",
        hint="add a plugin that knows prices (pollux_price), or use Budget(tokens=...)",
    )


class Ledger:
    """Counts the tokens and dollars that a job has spent and reserved."""

    def __init__(self, budget: Budget | None, spent_tokens: int = 0, spent_usd: Decimal = Decimal(0)) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._has_warned = False
        self.spent_tokens = spent_tokens
        self.spent_usd = spent_usd
        self._reserved_tokens = 0
        self._reserved_usd = Decimal(0)
        self.is_exceeded = False

    @property
    def is_limited(self) -> bool:
        """True if there is a budget."""
        return self._budget is not None

    def reserve(self, call: Call, hooks: Hooks) -> Reservation | None:
        """Set aside the worst case of a call; return None if the budget does not allow it now.

        Raises ConfigurationError for a money budget where the price is not known.
        """
        if self._budget is None:
            return Reservation(usd=None, tokens=0)
        reservation = estimate_worst_case(call, hooks)
        if self._budget.usd is not None and reservation.usd is None:
            raise _build_price_error(call.model, hooks)
        with self._lock:
            while not self._fits(reservation):
                if self._reserved_tokens or not self._ask_for_more():
                    # Calls in flight may take less than was reserved for them.
                    self.is_exceeded = not self._reserved_tokens
                    return None
            self._reserved_usd += reservation.usd or 0
            self._reserved_tokens += reservation.tokens
        return reservation

    def _fits(self, reservation: Reservation) -> bool:
        budget = self._budget
        if budget is None:
            return True
        if budget.tokens is not None and self.spent_tokens + self._reserved_tokens + reservation.tokens > budget.tokens:
            return False
        usd = self.spent_usd + self._reserved_usd + (reservation.usd or 0)
        return budget.usd is None or usd <= Decimal(str(budget.usd))

    def _ask_for_more(self) -> bool:
        """Ask the caller's function for another budget; return whether there is one."""
        budget = self._budget
        if budget is None or budget.on_exceeded == "stop":
            return False
        more = budget.on_exceeded(budget)
        if more is None or more == budget:
            return False
        self._budget = more
        return True

    def settle(self, reservation: Reservation | None, usage: Usage, usd: Decimal | None) -> None:
        """Replace a reservation by what the call took; what it did not report counts as reserved."""
        if reservation is None or self._budget is None:
            return
        known = None not in {usage.input_tokens, usage.output_tokens}
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if known else reservation.tokens
        with self._lock:
            self._release(reservation)
            self.spent_tokens += tokens
            self.spent_usd += (reservation.usd or 0) if usd is None else usd
            self._warn()

    def release(self, reservation: Reservation | None) -> None:
        """Give a reservation back: nothing was sent, or nothing was charged."""
        if reservation is None or self._budget is None:
            return
        with self._lock:
            self._release(reservation)

    def _release(self, reservation: Reservation) -> None:
        self._reserved_usd -= reservation.usd or 0
        self._reserved_tokens -= reservation.tokens

    def _warn(self) -> None:
        budget = self._budget
        if budget is None or self._has_warned:
            return
        parts = [
            self.spent_tokens / budget.tokens if budget.tokens else 0.0,
            float(self.spent_usd) / budget.usd if budget.usd else 0.0,
        ]
        if max(parts) >= budget.warn_at:
            self._has_warned = True
            log.warning("%.0f %% of the budget is spent", max(parts) * 100)
