"""Handles: what a caller keeps of something that lives at the provider. They are plain data."""

from __future__ import annotations

import time
from typing import Any, Literal

import attrs

from pollux_sync.data.converter import SCHEMA_VERSION, Storable
from pollux_sync.data.request import Asset  # noqa: TC001 - read from stored data
from pollux_sync.schemas import schema_hash

DeferredStatus = Literal["queued", "running", "cancelling", "completed", "partial", "failed", "cancelled", "expired"]
ItemStatus = Literal["succeeded", "failed", "cancelled", "expired", "missing"]
#: The fate of a job's requests that it left unanswered when it ended early.
_UNANSWERED: dict[DeferredStatus, ItemStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}
_TERMINAL: frozenset[str] = frozenset({"completed", "partial", "failed", "cancelled", "expired"})


@attrs.frozen(kw_only=True)
class RemoteCache:
    """A cache as its provider tells of it; times are seconds since the epoch, ``n_tokens`` is what it holds."""

    name: str
    model: str
    expires_at: float
    n_tokens: int | None = None


@attrs.frozen
class CacheHandle(Storable):
    """A provider-side cache: which one, for which model, and until when (seconds since the epoch).

    ``account`` is a fingerprint that tells accounts apart, ``base_url`` is where the cache is if not at the
    provider's usual address.
    """

    name: str
    model: str
    provider: str
    expires_at: float
    n_tokens: int | None = attrs.field(default=None, kw_only=True)
    account: str | None = attrs.field(default=None, kw_only=True)
    base_url: str | None = attrs.field(default=None, kw_only=True)
    schema_version: int = attrs.field(default=SCHEMA_VERSION, kw_only=True)

    @property
    def is_expired(self) -> bool:
        """Whether the local clock is past ``expires_at``."""
        return time.time() >= self.expires_at


@attrs.frozen(kw_only=True)
class DeferredJob:
    """One job at the provider; a handle has several where one would be too large.

    It holds the requests from ``first`` on. ``provider_state`` is the provider's own, as JSON-ready data.
    """

    job_id: str
    first: int
    request_count: int
    provider_state: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class DeferredHandle(Storable):
    """Deferred requests: which jobs, of whom, and what is needed to read their answers. Plain data.

    ``mark`` is in the names of what was stored for the jobs, ``files`` are the uploads that they read.
    ``response_schema`` is the JSON Schema that the answers were asked for with.
    """

    provider: str
    model: str
    request_count: int
    submitted_at: float
    mark: str
    jobs: tuple[DeferredJob, ...]
    files: tuple[Asset, ...] = ()
    response_schema: dict[str, Any] | None = None
    account: str | None = None
    base_url: str | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def job_id(self) -> str:
        """The provider's id of the job; of several, apart by commas."""
        return ",".join(job.job_id for job in self.jobs)

    @property
    def schema_hash(self) -> str | None:
        """Hex SHA-256 of the response schema's canonical JSON."""
        return None if self.response_schema is None else schema_hash(self.response_schema)


@attrs.frozen(kw_only=True)
class JobState:
    """The state of one job at the provider. ``provider_status`` is the provider's own word.

    ``error`` says why the job failed as a whole. ``unanswered_status`` is the fate of requests for which
    `pollux_collect_deferred` yields no row; None derives it from ``status``, which is too little for a job that was
    cancelled or expired with some answers ("partial").
    """

    status: DeferredStatus
    provider_status: str
    succeeded: int = 0
    failed: int = 0
    completed_at: float | None = None
    expires_at: float | None = None
    error: str | None = None
    unanswered_status: ItemStatus | None = None

    def decide_unanswered(self) -> ItemStatus:
        """Return the fate of a request without a row."""
        return self.unanswered_status or _UNANSWERED.get(self.status, "missing")


@attrs.frozen
class DeferredSnapshot(Storable):
    """How far a deferred job is. Times are seconds since the epoch."""

    job_id: str
    provider: str
    model: str
    status: DeferredStatus
    provider_status: str
    request_count: int
    succeeded: int
    failed: int
    pending: int
    submitted_at: float | None = None
    completed_at: float | None = None
    expires_at: float | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, well or not."""
        return is_terminal(self.status)


def build_custom_id(index: int) -> str:
    """Return our id of a deferred request, by the index of its answer."""
    return f"pollux-{index:06d}"


def is_terminal(status: str) -> bool:
    """Whether a job of this status has ended, well or not."""
    return status in _TERMINAL
