"""Queues and schedules, as far as the host has them. This is the one place where the page learns of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.hosting import Host


class QueueLike(Protocol):
    """A queue of the database."""

    name: str
    concurrency_limit: int | None
    rate_limit: tuple[int, float] | None
    per_key: int | None
    is_paused: bool
    paused_until: float | None


class ScheduleLike(Protocol):
    """A schedule of the database."""

    workflow_id: str
    key: str
    cron: str
    timezone: str
    is_paused: bool
    next_at: float
    last_at: float | None


def list_queues(host: Host) -> Sequence[QueueLike]:
    """Return the queues of the database, none if the host does not know them."""
    # Of the host and not of the module `queues`, which asks the host of the process: that may be another one.
    pauses = getattr(host, "pauses", None)
    return () if pauses is None else tuple(pauses.list_queues())


def list_schedules(host: Host) -> Sequence[ScheduleLike]:
    """Return the schedules of the database, none if the host does not know them."""
    schedules = getattr(host, "schedules", None)
    return () if schedules is None else tuple(schedules.list_all())


def has_sections(host: Host) -> bool:
    """Return whether the host knows queues or schedules."""
    return hasattr(host, "pauses") or hasattr(host, "schedules")
