"""The settings of a job: every number is checked when it is set, before anything is spent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Dedupe = Literal["auto", "always", "never"]
OnDrift = Literal["stop", "resend", "reuse"]
Route = Literal["live", "batch", "auto"]


def check_number(name: str, value: object, *, minimum: float = 0.0, above: bool = False, typical: str = "") -> None:
    """Raise ConfigurationError unless ``value`` is a finite number of at least (or above) ``minimum``."""
    hint = f"a typical value is {typical}" if typical else f"pass a number {'above' if above else 'from'} {minimum:g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < minimum or (above and value == minimum):  # type: ignore[operator]
        raise ConfigurationError(
            f"{name} must be a number {'above' if above else 'of at least'} {minimum:g}, got {value!r}", hint=hint
        )


def check_whole(name: str, value: object, *, minimum: int = 1, typical: str = "") -> None:
    """Raise ConfigurationError unless ``value`` is a whole number of at least ``minimum``."""
    check_number(name, value, minimum=minimum, typical=typical)
    if not isinstance(value, int):
        raise ConfigurationError(f"{name} must be a whole number, got {value!r}", hint=f"e.g. {typical or minimum}")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ConfigurationError unless ``value`` is one of the words of a Literal."""
    words = get_args(choices)
    if value not in words:
        raise ConfigurationError(
            f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}", hint=f"e.g. {name}={words[0]!r}"
        )


def check_type(name: str, value: object, wanted: type) -> None:
    """Raise ConfigurationError unless ``value`` is a ``wanted``."""
    if not isinstance(value, wanted):
        raise ConfigurationError(
            f"{name} must be a {wanted.__name__}, got {value!r}", hint=f"pass {name}={wanted.__name__}(...), or nothing"
        )


def check_flag(name: str, value: object) -> None:
    """Raise ConfigurationError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {value!r}", hint=f"pass {name}=True, or nothing")


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of each scope: one provider, address, model and key.

    * ``requests_per_minute``, ``tokens_per_minute``: None sends as fast as the provider takes it. Tokens are reserved
      by estimate before a request and settled after its answer.
    * ``burst_s``: as much as these seconds allow may go at once.
    * ``max_concurrency``: the most calls in flight in one scope; None leaves it to the number of workers.
    * ``adaptive``: begin with a few calls in flight, go up while the provider keeps up, and down when it refuses.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_s: float = 2.0
    max_concurrency: int | None = None
    adaptive: bool = True

    def __attrs_post_init__(self) -> None:
        if self.requests_per_minute is not None:
            check_number("requests_per_minute", self.requests_per_minute, above=True, typical="500")
        if self.tokens_per_minute is not None:
            check_number("tokens_per_minute", self.tokens_per_minute, above=True, typical="200000")
        check_number("burst_s", self.burst_s, above=True, typical="2")
        if self.max_concurrency is not None:
            check_whole("max_concurrency", self.max_concurrency, typical="20")


@attrs.frozen(kw_only=True)
class Retries:
    """When an item is tried again.

    Failures and throttles have budgets of their own: a refusal for the rate says nothing about the item. After a
    throttle the whole scope pauses, exactly as long as the provider asks; ``throttle_wait_s`` is the first pause where
    it does not, doubled up to ``max_wait_s`` while nothing is answered between two pauses. While a provider is down,
    its items wait up to ``outage_s`` and use up no attempt.
    """

    max_attempts: int = 3
    initial_wait_s: float = 1.0
    max_wait_s: float = 60.0
    backoff_multiplier: float = 2.0
    max_throttles: int = 20
    throttle_wait_s: float = 1.0
    outage_s: float = 900.0

    def __attrs_post_init__(self) -> None:
        check_whole("max_attempts", self.max_attempts, typical="3")
        check_whole("max_throttles", self.max_throttles, minimum=0, typical="20")
        for name, typical in (("initial_wait_s", "1"), ("max_wait_s", "60"), ("throttle_wait_s", "1")):
            check_number(name, getattr(self, name), typical=typical)
        check_number("backoff_multiplier", self.backoff_multiplier, minimum=1, typical="2")
        check_number("outage_s", self.outage_s, typical="900")


@attrs.frozen(kw_only=True)
class Budget:
    """The most that a job may cost, over all of its runs on one journal.

    * ``usd`` needs a plugin that knows prices (`pollux_price`); ``tokens`` counts input and output together.
    * ``warn_at``: at this part of the budget a warning is logged.
    * ``on_exceeded``: "stop" ends the job; a function is asked for a new budget, and ends the job by returning None.

    The worst case of a call is reserved before it is sent, so that calls in flight cannot overshoot together.
    """

    usd: float | None = None
    tokens: int | None = None
    warn_at: float = 0.8
    on_exceeded: Literal["stop"] | Callable[[Budget], Budget | None] = "stop"

    def __attrs_post_init__(self) -> None:
        if self.usd is None and self.tokens is None:
            raise ConfigurationError("a budget needs usd or tokens", hint="Budget(usd=5.0) or Budget(tokens=1_000_000)")
        if self.usd is not None:
            check_number("usd", self.usd, typical="5.0")
        if self.tokens is not None:
            check_whole("tokens", self.tokens, minimum=0, typical="1000000")
        check_number("warn_at", self.warn_at, above=True, typical="0.8")
        if self.on_exceeded != "stop" and not callable(self.on_exceeded):
            raise ConfigurationError(
                f"on_exceeded must be 'stop' or a function, got {self.on_exceeded!r}", hint="leave it out"
            )


@attrs.frozen(kw_only=True)
class BatchSettings:
    """The settings of a job; `run_batch` explains each field."""

    workers: int = 32
    processes: int = 1
    limits: Limits = attrs.field(factory=Limits)
    retries: Retries = attrs.field(factory=Retries)
    budget: Budget | None = None
    dedupe: Dedupe = "auto"
    on_drift: OnDrift = "stop"
    warm_prefix: bool = False
    fail_fast: bool = False
    deadline_s: float | None = None
    max_pending: int = 2_000

    def __attrs_post_init__(self) -> None:
        for name, kind in (("limits", Limits), ("retries", Retries)):
            check_type(name, getattr(self, name), kind)
        if self.budget is not None:
            check_type("budget", self.budget, Budget)
        for name in ("warm_prefix", "fail_fast"):
            check_flag(name, getattr(self, name))
        check_whole("workers", self.workers, typical="32")
        check_whole("processes", self.processes, typical="4")
        check_choice("dedupe", self.dedupe, Dedupe)
        check_choice("on_drift", self.on_drift, OnDrift)
        check_whole("max_pending", self.max_pending, typical="2000")
        if self.deadline_s is not None:
            check_number("deadline_s", self.deadline_s, above=True, typical="3600")
