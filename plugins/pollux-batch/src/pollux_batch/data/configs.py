"""The settings of a processor. Every number is checked when it is set, before anything is spent."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.data.settings import check_number, check_whole
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pollux_batch.data.usage import TokenUsage
    from pollux_sync.plugin import TokenEstimate


def _number(default: float | None, *, minimum: float = 0.0, above: bool = False, typical: str) -> Any:
    """Return a field for a number; one whose default is None takes None too."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None or default is not None:
            check_number(field.name, value, minimum=minimum, above=above, typical=typical)

    return attrs.field(default=default, validator=check)


def _whole(default: int | None, *, minimum: int = 1, typical: str) -> Any:
    """Return a field for a whole number; one whose default is None takes None too."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None or default is not None:
            check_whole(field.name, value, minimum=minimum, typical=typical)

    return attrs.field(default=default, validator=check)


def _check_flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{field.name} must be True or False, got {value!r}", hint=f"e.g. {field.name}=True")


@attrs.frozen(kw_only=True)
class RetryConfig:
    """When an item is tried again.

    The wait before try n is ``initial_wait * exponential_base ** (n - 2)`` seconds, at most ``max_wait``, and with
    ``jitter`` a random half to whole of it. A refusal for the rate uses up no attempt; ``max_rate_limit_retries`` of
    them are waited out for one item.
    """

    max_attempts: int = _whole(3, typical="3 to 5")
    initial_wait: float = _number(1.0, typical="1 to 5 seconds")
    max_wait: float = _number(60.0, typical="30 to 120 seconds")
    exponential_base: float = _number(2.0, minimum=1.0, typical="2")
    jitter: bool = attrs.field(default=True, validator=_check_flag)
    max_rate_limit_retries: int = _whole(20, minimum=0, typical="10 to 50")

    def __attrs_post_init__(self) -> None:
        if self.max_wait < self.initial_wait:
            raise ConfigurationError(
                f"max_wait is {self.max_wait:g}, less than initial_wait={self.initial_wait:g}",
                hint="typical are initial_wait=1 and max_wait=60",
            )


@attrs.frozen(kw_only=True)
class RateLimitConfig:
    """The pause after a refusal for the rate: all items of its quota stop, and then go on slowly.

    The pause is what the provider asks for. Where it does not say, it is ``cooldown_seconds``, and with each refusal
    in a row ``backoff_multiplier`` times as long, up to ``max_cooldown_seconds``. Before each of the
    ``slow_start_items`` calls after it a worker waits, from ``slow_start_initial_delay`` down to
    ``slow_start_final_delay`` seconds.
    """

    cooldown_seconds: float = _number(300.0, typical="30 to 300 seconds")
    slow_start_items: int = _whole(50, minimum=0, typical="20 to 100")
    slow_start_initial_delay: float = _number(2.0, typical="1 to 5 seconds")
    slow_start_final_delay: float = _number(0.1, typical="0.05 to 0.5 seconds")
    backoff_multiplier: float = _number(1.5, minimum=1.0, typical="1.5 to 2")
    max_cooldown_seconds: float = _number(600.0, typical="600 seconds")

    def __attrs_post_init__(self) -> None:
        if self.max_cooldown_seconds < self.cooldown_seconds:
            raise ConfigurationError(
                f"max_cooldown_seconds is {self.max_cooldown_seconds:g}, less than "
                f"cooldown_seconds={self.cooldown_seconds:g}",
                hint="typical are cooldown_seconds=300 and max_cooldown_seconds=600",
            )


@attrs.frozen(kw_only=True)
class StartupRampConfig:
    """The growth of the number of calls in flight from the start, in each quota.

    It begins with ``initial_concurrency`` and grows by ``concurrency_step`` every ``ramp_interval_seconds``.
    """

    initial_concurrency: int = _whole(1, typical="1 to 5")
    concurrency_step: int = _whole(1, typical="1 to 5")
    ramp_interval_seconds: float = _number(1.0, above=True, typical="0.5 to 5 seconds")


class AbortMode(StrEnum):
    """The fate of calls in flight when a job is ended early."""

    #: They go on to their end.
    DRAIN_ACTIVE = "drain_active"
    #: They are waited for no more, and their items fail.
    CANCEL_ACTIVE = "cancel_active"


@attrs.frozen(kw_only=True)
class AttemptUsage:
    """One try as a cost function sees it. ``attempt`` is the logical number, ``try_number`` that of the call."""

    item_id: str
    attempt: int
    try_number: int
    strategy: Any
    usage: TokenUsage
    success: bool


def _to_categories(categories: Iterable[str]) -> frozenset[str]:
    if isinstance(categories, str):
        raise ConfigurationError(
            f"abort_on_error_categories must be a set, got {categories!r}", hint=f"pass {{{categories!r}}}"
        )
    return frozenset(str(category) for category in categories)


@attrs.frozen(kw_only=True)
class GuardrailConfig:
    """When an item, or the job, is ended early.

    * ``total_timeout_per_item``: the seconds that all tries of an item may take, its waits included.
    * ``batch_timeout``: the seconds after which nothing more is begun.
    * ``abort_on_error_categories``: an item that fails with one of these ends the job.
    * ``max_total_tokens``, ``max_total_cost``: once so much is spent, nothing more is begun. What is in flight then may
      exceed it. ``cost_function`` returns the cost of an `AttemptUsage`.
    * ``abort_mode``: what becomes of calls in flight when the job is ended early.
    """

    total_timeout_per_item: float | None = _number(None, above=True, typical="300 to 900 seconds")
    batch_timeout: float | None = _number(None, above=True, typical="3600 seconds")
    abort_on_error_categories: frozenset[str] = attrs.field(default=frozenset(), converter=_to_categories)
    abort_mode: AbortMode = attrs.field(default=AbortMode.DRAIN_ACTIVE)
    max_total_tokens: int | None = _whole(None, typical="1000000")
    max_total_cost: float | None = _number(None, above=True, typical="5.0")
    cost_function: Callable[[AttemptUsage], float] | None = None

    def __attrs_post_init__(self) -> None:
        if self.abort_mode not in set(AbortMode):
            raise ConfigurationError(f"abort_mode {self.abort_mode!r} is not known", hint="AbortMode.DRAIN_ACTIVE")
        if (self.max_total_cost is None) != (self.cost_function is None):
            raise ConfigurationError(
                "max_total_cost and cost_function belong together", hint="pass both of them, or none"
            )


@attrs.frozen(kw_only=True)
class ProcessorConfig:
    """The settings of a `ParallelBatchProcessor`.

    * ``max_workers``: threads, and so the most calls in flight; strategies are asked to make room for as many.
      ``concurrency`` comes before it.
    * ``attempt_timeout``: the seconds that one try may take; ``post_processor_timeout`` those of the post-processor.
    * ``max_requests_per_minute``, ``max_tokens_per_minute``: for each quota; as much as ``quota_burst_seconds`` allow
      may go at once. Tokens are reserved by the strategy's estimate, else by ``token_estimator(prompt)``, else by the
      length of the prompt.
    * ``max_provider_concurrency``: the most calls in flight in each ``concurrency_scope``.
    * ``progress_interval``: the progress callback is called after so many items; it may take
      ``progress_callback_timeout`` seconds, None for any time.
    * ``max_queue_size``, ``max_result_queue_size``: how many items and results may wait; 0 sets no limit.
    * ``dry_run``: made-up outputs; nothing is sent.
    """

    max_workers: int = _whole(5, typical="5 to 50")
    concurrency: int | None = _whole(None, typical="5 to 50")
    attempt_timeout: float = _number(120.0, above=True, typical="30 to 300 seconds")
    post_processor_timeout: float = _number(90.0, above=True, typical="90 seconds")
    retry: RetryConfig = attrs.field(factory=RetryConfig)
    rate_limit: RateLimitConfig = attrs.field(factory=RateLimitConfig)
    max_requests_per_minute: float | None = _number(None, above=True, typical="60 to 1000")
    max_tokens_per_minute: float | None = _number(None, above=True, typical="200000")
    token_estimator: Callable[[str], TokenEstimate] | None = None
    quota_burst_seconds: float = _number(2.0, above=True, typical="2 seconds")
    progress_interval: int = _whole(10, typical="10")
    progress_callback_timeout: float | None = attrs.field(default=5.0)
    max_queue_size: int = _whole(0, minimum=0, typical="0, or ten times max_workers")
    max_result_queue_size: int = _whole(0, minimum=0, typical="0, or ten times max_workers")
    dry_run: bool = attrs.field(default=False, validator=_check_flag)
    max_provider_concurrency: int | None = _whole(None, typical="20")
    startup_ramp: StartupRampConfig | None = None
    guardrails: GuardrailConfig = attrs.field(factory=GuardrailConfig)

    def __attrs_post_init__(self) -> None:
        if self.progress_callback_timeout is not None:
            check_number("progress_callback_timeout", self.progress_callback_timeout, above=True, typical="5 seconds")
        if self.token_estimator is not None and self.max_tokens_per_minute is None:
            raise ConfigurationError(
                "token_estimator is given without max_tokens_per_minute", hint="pass both, or leave it out"
            )

    @property
    def workers(self) -> int:
        """The number of threads."""
        return self.concurrency or self.max_workers
