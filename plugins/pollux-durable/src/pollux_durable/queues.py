"""Queues, while a program runs: which there are, and pauses."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pollux_durable import configuring
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.queues import Queue, QueueInfo


def pause(name: str | Queue, until: datetime | None = None) -> None:
    """Let no run of a queue begin, in any process, until it is resumed or the time has come.

    Runs that go on do so; one that waits without a thread goes on after the pause. A time without time zone is UTC.
    Raises ConfigurationError for a queue that does not exist, or a time that is over.
    """
    pauses = configuring.find_host().pauses
    pauses.pause(pauses.find_name(_read_name(name)), _read_until(until))


def resume(name: str | Queue) -> None:
    """Let the runs of a queue begin again. Raises ConfigurationError for a queue that does not exist."""
    pauses = configuring.find_host().pauses
    pauses.resume(pauses.find_name(_read_name(name)))


def list() -> Sequence[QueueInfo]:  # noqa: A001 - the short name reads well behind that of the module
    """Return all queues of the database."""
    return configuring.find_host().pauses.list_queues()


def _read_name(queue: str | Queue) -> str:
    return queue if isinstance(queue, str) else queue.name


def _read_until(until: datetime | None) -> float | None:
    if until is None:
        return None
    if not isinstance(until, datetime):
        raise ConfigurationError(
            f"until is {until!r}", hint="use a datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    moment = (until if until.tzinfo is not None else until.replace(tzinfo=UTC)).timestamp()
    if moment <= time.time():
        raise ConfigurationError(f"the queue is to pause until {until}, which is over", hint="use a time to come")
    return moment
