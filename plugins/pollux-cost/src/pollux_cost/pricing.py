"""Model -> its price, by the data that genai-prices brings along."""

from __future__ import annotations

import time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.plugin import Usage

#: The providers that genai-prices calls otherwise.
_NAMES = {"gemini": "google"}
#: The tiers that have no price of their own.
_USUAL_TIERS = frozenset({"default", "auto", "standard"})
_MILLION = 1_000_000
#: Prices may change with the hour, so that a price that was looked up counts for a minute.
_KEPT_S = 60


def _to_decimal(value: Any) -> Decimal | None:
    # By its text, since a float such as 0.1 has more digits than were meant.
    return None if value is None else Decimal(str(value))


@attrs.frozen(kw_only=True)
class Price:
    """US dollars for a million tokens, and for one search.

    Without a price of their own, tokens that were read from a cache or written to one cost as much as others.
    """

    input: Decimal = attrs.field(converter=_to_decimal)
    output: Decimal = attrs.field(converter=_to_decimal)
    cached: Decimal | None = attrs.field(default=None, converter=_to_decimal)
    cache_write: Decimal | None = attrs.field(default=None, converter=_to_decimal)
    search: Decimal = attrs.field(default=Decimal(0), converter=_to_decimal)

    def compute(self, usage: Usage) -> Decimal | None:
        """Return the price of a usage, None if it does not say how many tokens went in and out."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
        tokens = (
            (usage.input_tokens - cached - written) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + usage.output_tokens * self.output
        )
        return tokens / _MILLION + (usage.web_search_requests or 0) * self.search


def compute_price(provider: str, model: str, usage: Usage, tier: str) -> Decimal | None:
    """Return the price of a usage, None if that of the model in this tier is not known."""
    price = _find_price(provider, model, tier, int(time.time() // _KEPT_S))
    if isinstance(price, Price):
        return price.compute(usage)
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return price(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or 0,
        cache_write_tokens=usage.cache_write_tokens or 0,
        web_searches=usage.web_search_requests or 0,
    )


# genai-prices takes 0.25 ms to compute one price, which most models have in proportion to the tokens.
@lru_cache(maxsize=256)
def _find_price(provider: str, model: str, tier: str, _minute: int) -> Price | Callable[..., Decimal] | None:
    """Return a Price, a function of counts where the price depends on the length, or None if it is not known."""
    compute = _find_calculation(provider, model, tier)
    if compute is None:
        return None
    price = Price(
        input=compute(input_tokens=_MILLION),
        output=compute(output_tokens=_MILLION),
        cached=compute(input_tokens=_MILLION, cache_read_tokens=_MILLION),
        cache_write=compute(input_tokens=_MILLION, cache_write_tokens=_MILLION),
        search=compute(web_searches=1),
    )
    return price if compute(input_tokens=1) * _MILLION == price.input else compute


def _find_calculation(provider: str, model: str, tier: str) -> Callable[..., Decimal] | None:
    """Return a function from counts to the price, None for a model or a tier without a known price."""
    # Imported late: it brings pydantic and 1.5 MB of data along, a third of a second.
    from genai_prices import Usage as Counts
    from genai_prices.data_snapshot import get_snapshot

    try:
        origin, found = get_snapshot().find_provider_model(model, None, _NAMES.get(provider, provider), None)
    except LookupError:
        return None
    context = None if tier in _USUAL_TIERS else _build_context(tier)
    if context is not None and not any(dict(variant.when) == context for variant in found.price_variants or ()):
        return None

    def compute(**counts: int) -> Decimal:
        return found.calc_price(Counts(**counts), origin, price_context=context).total_price

    return compute


def _build_context(tier: str) -> dict[str, str]:
    return {"processing": tier} if tier == "batch" else {"service_tier": tier}
