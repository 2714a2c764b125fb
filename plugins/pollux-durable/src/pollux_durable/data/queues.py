"""Queues: how many runs go on at the same time, and how many begin in a period."""

from __future__ import annotations

import attrs

from pollux_sync.errors import ConfigurationError

#: The queue of runs that have none of their own. It has no limit across workers.
SHARED_QUEUE = "pollux"


@attrs.frozen
class Queue:
    """A queue of runs, shared by all workers of a database.

    At most ``concurrency_limit`` of its runs go on at a time, at most ``per_key`` of those with the same
    ``concurrency_key``, and at most ``per_worker`` in one process. ``rate_limit=(count, seconds)`` lets so many begin
    in any period of that length. A run that waits holds no place. Raises ConfigurationError for limits that nothing
    could pass.
    """

    name: str
    concurrency_limit: int | None = None
    rate_limit: tuple[int, float] | None = attrs.field(default=None, kw_only=True)
    per_key: int | None = attrs.field(default=None, kw_only=True)
    per_worker: int | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ConfigurationError("a queue needs a name", hint='Queue("mail", concurrency_limit=5)')
        for name in ("concurrency_limit", "per_key", "per_worker"):
            limit = getattr(self, name)
            if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
                raise ConfigurationError(
                    f"{name} of queue {self.name!r} is {limit!r}", hint="use a whole number from 1 on"
                )
        if self.rate_limit is not None:
            self._check_rate(self.rate_limit)

    def _check_rate(self, given: object) -> None:
        numbers = [n for n in given if isinstance(n, int | float)] if isinstance(given, tuple | list) else []
        if len(numbers) != len(("count", "period")) or numbers[0] < 1 or numbers[1] <= 0:
            raise ConfigurationError(
                f"rate_limit of queue {self.name!r} is {self.rate_limit!r}",
                hint="use (count, seconds), such as (100, 60.0)",
            )

    def tighten(self, other: Queue) -> Queue:
        """Return this queue with the lower one of each limit of both."""
        rates = [queue.rate_limit for queue in (self, other) if queue.rate_limit is not None]
        return attrs.evolve(
            self,
            concurrency_limit=_find_lower(self.concurrency_limit, other.concurrency_limit),
            rate_limit=min(rates, key=lambda rate: rate[0] / rate[1], default=None),
            per_key=_find_lower(self.per_key, other.per_key),
            per_worker=_find_lower(self.per_worker, other.per_worker),
        )

    @property
    def is_limited(self) -> bool:
        """True if it has any limit."""
        return (self.concurrency_limit, self.rate_limit, self.per_key, self.per_worker) != (None, None, None, None)


@attrs.frozen(kw_only=True)
class QueueInfo:
    """A queue of a database. ``paused_until`` is in seconds since the epoch, None for a pause without an end."""

    name: str
    concurrency_limit: int | None = None
    rate_limit: tuple[int, float] | None = None
    per_key: int | None = None
    per_worker: int | None = None
    is_paused: bool = False
    paused_until: float | None = None


def _find_lower(first: int | None, second: int | None) -> int | None:
    return min((limit for limit in (first, second) if limit is not None), default=None)
