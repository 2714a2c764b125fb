"""Handles of caches and deferred jobs at the provider, and the states of jobs. They are plain data."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs

# As a module, whose names are loaded on first use: most calls have no schema.
from pollux_sync import schemas
from pollux_sync.data.converter import SCHEMA_VERSION, Storable
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

DeferredStatus = Literal["queued", "running", "cancelling", "completed", "partial", "failed", "cancelled", "expired"]
ItemStatus = Literal["succeeded", "failed", "cancelled", "expired", "missing"]
# No more digits than an index can have: Python refuses to read very long numbers.
_CUSTOM_ID = re.compile(r"pollux-([0-9]{6,9})")
#: More requests than a job of any provider holds: a number in a job file that is larger is damaged.
_MAX_REQUESTS = 1_000_000
#: The status of requests without an answer, by the status of a job that ended early.
_UNANSWERED: dict[DeferredStatus, ItemStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}
_TERMINAL: frozenset[str] = frozenset({"completed", "partial", "failed", "cancelled", "expired"})


@attrs.frozen(kw_only=True)
class Asset:
    """A file stored at the provider. ``expires_at`` is in seconds since the epoch, None if the file stays.

    One that is not ``is_ready`` is still being processed, and no request may refer to it yet.
    """

    id: str
    mime_type: str
    uri: str | None = None
    expires_at: float | None = None
    is_ready: bool = True


@attrs.frozen(kw_only=True)
class RemoteCache:
    """A cache as its provider reports it.

    ``expires_at`` is in seconds since the epoch, ``n_tokens`` is the size of the cached content. ``label`` is the text
    that the cache was created with, None if it has none.
    """

    name: str
    model: str
    expires_at: float
    n_tokens: int | None = None
    label: str | None = None


@attrs.frozen
class CacheHandle(Storable):
    """The handle of a cache at the provider, which serves one model. ``expires_at`` is in seconds since the epoch.

    ``account`` is a fingerprint of the account that owns the cache, or names the mock. ``base_url`` is set if the cache
    is not at the provider's usual address. ``label`` is the text that the cache was created with, as the provider
    reports it, None if it has none.
    """

    name: str
    model: str
    provider: str
    expires_at: float
    n_tokens: int | None = attrs.field(default=None, kw_only=True)
    account: str | None = attrs.field(default=None, kw_only=True)
    base_url: str | None = attrs.field(default=None, kw_only=True)
    label: str | None = attrs.field(default=None, kw_only=True)
    schema_version: int = attrs.field(default=SCHEMA_VERSION, kw_only=True)

    @property
    def is_expired(self) -> bool:
        """True if the local clock has reached ``expires_at``."""
        # The wall clock and not the monotonic one, because the provider's times are dates.
        return time.time() >= self.expires_at


@attrs.frozen(kw_only=True)
class DeferredJob:
    """One job at the provider; a handle has several if a single one would exceed the provider's limits.

    It holds ``request_count`` requests, beginning with the index ``first``. ``provider_state`` is JSON-ready data of
    the provider's own.
    """

    job_id: str
    first: int
    request_count: int
    provider_state: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class SubmissionAttempt:
    """A job whose submission was begun, so that it may exist: the facts by which it is looked up.

    ``created_at`` is the time of the first attempt, in seconds since the epoch by our clock.
    """

    first: int
    request_count: int
    created_at: float
    bookmark: str | None = None


@attrs.frozen(kw_only=True)
class DeferredHandle(Storable):
    """The handle of deferred requests: their jobs, and what is needed to read the answers.

    ``mark`` is the random text in the names of all that was stored for the jobs. ``files`` are the uploads that they
    read. ``response_schema`` is the JSON Schema of the answers; with ``answer_mode="json_object"`` it was not sent, and
    any JSON object will do. ``submitted_at`` is in seconds since the epoch.
    """

    provider: str
    model: str
    request_count: int
    submitted_at: float
    mark: str
    jobs: tuple[DeferredJob, ...]
    files: tuple[Asset, ...] = ()
    response_schema: dict[str, Any] | None = None
    answer_mode: Literal["json_object"] | None = None
    account: str | None = None
    base_url: str | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def job_id(self) -> str:
        """The provider's id of the job; the ids of several jobs are separated by commas."""
        return ",".join(job.job_id for job in self.jobs)

    @property
    def answer_type(self) -> type[Any] | dict[str, Any] | None:
        """The type that answers are read as: ``dict`` in JSON mode, else the JSON Schema, None without one."""
        return dict if self.answer_mode == "json_object" else self.response_schema

    @property
    def schema_hash(self) -> str | None:
        """The hex SHA-256 of the response schema's canonical JSON, None without a schema."""
        return None if self.response_schema is None else schemas.schema_hash(self.response_schema)


@attrs.frozen(kw_only=True)
class JobState:
    """The state of one job at the provider. ``provider_status`` is the status in the provider's own words.

    ``error`` says why the job failed as a whole, and ``provider_code`` is the provider's code for that. ``ended_as`` is
    the status with which the job itself ended; set it where ``status`` is "partial", which does not say whether the job
    was cancelled or expired. It decides the fate of requests for which `pollux_collect_deferred` yields no row.

    ``succeeded`` and ``failed`` are the provider's own counts, which explain rows that are not there: never derive them
    from each other. ``row_count`` is how many rows the provider has by these counts; leave it None where failures may
    have no row. Results with fewer rows, or fewer answers than ``succeeded``, are damaged. Times are in seconds since
    the epoch.
    """

    status: DeferredStatus
    provider_status: str
    succeeded: int = 0
    failed: int = 0
    completed_at: float | None = None
    expires_at: float | None = None
    error: str | None = None
    provider_code: str | None = None
    ended_as: DeferredStatus | None = None
    row_count: int | None = None

    def decide_unanswered(self) -> ItemStatus:
        """Return the status of a request without a row."""
        return _UNANSWERED.get(self.ended_as or self.status, "missing")


@attrs.frozen
class DeferredSnapshot(Storable):
    """The progress of a deferred job. Times are in seconds since the epoch."""

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
        """True if the job has ended, successfully or not."""
        return is_terminal(self.status)


def check_coverage(jobs: Sequence[DeferredJob], request_count: int, *, is_whole: bool = True) -> None:
    """Raise ConfigurationError unless jobs hold the requests from the first on, without gaps; all if ``is_whole``."""
    covered = 0
    for job in jobs:
        if job.first != covered or not 0 < job.request_count <= _MAX_REQUESTS:
            break
        covered += job.request_count
    else:
        if covered == request_count or (covered < request_count and not is_whole):
            return
    parts = ", ".join(f"{job.request_count} from {job.first} on" for job in jobs[:3]) or "none"
    raise ConfigurationError(
        f"the numbers of the jobs do not fit: {request_count} requests, of which the jobs hold {parts}",
        hint="pass the handle that defer_many returned, or its job_file, unchanged",
    )


def build_custom_id(index: int) -> str:
    """Return our id of the deferred request whose answer has this index."""
    # Padded with zeros, so that ids sort in the order of the requests, up to a million of them.
    return f"pollux-{index:06d}"


def read_custom_id(custom_id: str) -> int | None:
    """Return the index in an id of ours, None for any other text."""
    match = _CUSTOM_ID.fullmatch(custom_id)
    index = int(match[1]) if match else -1
    # One index has one id: with zeros too many it is not ours.
    return index if match and build_custom_id(index) == custom_id else None


def is_terminal(status: str) -> bool:
    """Return whether a job with this status has ended, successfully or not."""
    return status in _TERMINAL
