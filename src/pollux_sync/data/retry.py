"""The retry policy: the number of attempts, and the waits between them."""

from __future__ import annotations

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_bool, check_int, check_number, check_seconds


@attrs.frozen(eq=False, repr=False)
class RetryPolicy(Value):
    """The retry policy of a call: at most ``max_attempts`` physical attempts, whatever the provider.

    The policy is the only place that decides about retries; neither vendors' SDKs nor the HTTP layer retry. Before
    retry k (k >= 1) the wait is ``min(max_delay_s, initial_delay_s * backoff_multiplier**(k-1))`` seconds, or a random
    part of it with ``jitter``. A server's Retry-After lengthens the wait and is never shortened; a call
    fails at once if it does not fit. ``max_elapsed_s`` (None: no limit) bounds waiting and new attempts, counted from
    the start of the first attempt; a first attempt that itself took longer may still be retried once. An answer that
    arrived whole but cannot be read is paid for, and asking again pays again: that is done only with
    ``retry_unreadable``; the error has what arrived as ``unread_answer``. Before a deferred job is submitted again, two
    look-ups that are ``max_delay_s`` apart must not find it (one, if ``initial_delay_s`` is 0).

    Raises ConfigurationError (also a ValueError) for values out of range.
    """

    max_attempts: int = 2
    initial_delay_s: float = 0.5
    backoff_multiplier: float = 2.0
    max_delay_s: float = 5.0
    jitter: bool = True
    max_elapsed_s: float | None = 15.0
    retry_unreadable: bool = False

    def __attrs_post_init__(self) -> None:
        check_int("max_attempts", self.max_attempts, minimum=1)
        check_seconds("initial_delay_s", self.initial_delay_s)
        check_number("backoff_multiplier", self.backoff_multiplier, minimum=0, above=True)
        check_seconds("max_delay_s", self.max_delay_s)
        check_bool("jitter", self.jitter)
        check_bool("retry_unreadable", self.retry_unreadable)
        if self.max_elapsed_s is not None:
            check_seconds("max_elapsed_s", self.max_elapsed_s)

    def backoff_s(self, retry: int) -> float:
        """Return the seconds to wait before retry number ``retry`` (1 is the first), without any Retry-After."""
        try:
            delay: float = min(self.max_delay_s, self.initial_delay_s * float(self.backoff_multiplier) ** (retry - 1))
        except OverflowError:
            # The power is too large for a float, and so beyond every limit; zero times it stays zero.
            delay = self.max_delay_s if self.initial_delay_s else 0.0
        import random  # for a wait, which most scripts do not have

        return random.uniform(0, delay) if self.jitter else float(delay)  # noqa: S311 - spreads load, hides nothing
