"""Handles: what a caller keeps of something that lives at the provider. They are plain data."""

from __future__ import annotations

import time
from typing import Any, Literal, Self

import attrs

SCHEMA_VERSION = 1

DeferredStatus = Literal["queued", "running", "cancelling", "completed", "partial", "failed", "cancelled", "expired"]
_TERMINAL: frozenset[str] = frozenset({"completed", "partial", "failed", "cancelled", "expired"})


@attrs.frozen(kw_only=True)
class RemoteCache:
    """A cache as its provider tells of it; times are seconds since the epoch, ``n_tokens`` is what it holds."""

    name: str
    model: str
    expires_at: float
    n_tokens: int | None = None


@attrs.frozen
class CacheHandle:
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

    def to_dict(self) -> dict[str, Any]:
        """The handle as JSON-ready data."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The handle that `to_dict` gave. Raises ConfigurationError for anything else."""
        from pollux_sync.data.converter import restored

        return restored(data, cls, newest=SCHEMA_VERSION)


@attrs.frozen
class DeferredSnapshot:
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
        return self.status in _TERMINAL
