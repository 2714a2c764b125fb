"""Deferred jobs at the provider: their requests, their states and their handle. They are plain data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import attrs

# As a module, whose names are loaded on first use: most jobs have no schema.
from pollux_sync import schemas
from pollux_sync._values import Value
from pollux_sync.data.converter import SCHEMA_VERSION, Storable
from pollux_sync.data.handles import Asset  # noqa: TC001 - read from files
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import Outcome

DeferredStatus = Literal["queued", "running", "cancelling", "completed", "partial", "failed", "cancelled", "expired"]
ItemStatus = Literal["succeeded", "failed", "cancelled", "expired", "missing"]
# No more digits than an index can have: Python refuses to read very long numbers.
_CUSTOM_ID = re.compile(r"pollux-([0-9]{6,9})")
#: More requests than a job of any provider holds: a number in a job file that is larger is damaged.
_MAX_REQUESTS = 1_000_000
#: The status of requests without an answer, by the status of a job that ended early.
_UNANSWERED: dict[DeferredStatus, ItemStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}
_TERMINAL: frozenset[str] = frozenset({"completed", "partial", "failed", "cancelled", "expired"})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeferredJob(Value):
    """One job at the provider; a handle has several if a single one would exceed the provider's limits.

    It holds ``request_count`` requests, beginning with the index ``first``. ``provider_state`` is JSON-ready data of
    the provider's own.
    """

    job_id: str
    first: int
    request_count: int
    provider_state: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SubmissionAttempt(Value):
    """A job whose submission was begun, so that it may exist: the facts by which it is looked up.

    ``created_at`` is the time of the first attempt, in seconds since the epoch by our clock.
    """

    first: int
    request_count: int
    created_at: float
    bookmark: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeferredBatch(Value):
    """The requests of one deferred job, ready to be submitted.

    ``path`` is a file of JSON lines, each as `pollux_encode_deferred` wrote it, ``n_bytes`` long in all. ``first`` is
    the index of its first request. Put ``mark`` into the names of the job and of all that is stored for it, so that an
    interrupted submission can find them again. ``created_at`` is the time of the first attempt to submit, in seconds
    since the epoch by our clock, which must not be compared with the provider's. ``bookmark`` is what
    `pollux_bookmark_deferred` returned before that attempt. ``other_jobs`` are the ids of the submission's earlier
    jobs, which must not be taken for this one.
    """

    path: Path
    model: str
    first: int
    request_count: int
    n_bytes: int
    mark: str
    created_at: float
    bookmark: str | None = None
    other_jobs: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JobState(Value):
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeferredRow(Value):
    """One row of a deferred job's results.

    ``response`` is what a call would have received; it is None without an answer, and ``error`` says why.
    ``error_response`` is the error answer that a direct call would have received instead, status and body: the core
    reads the kind, status and code of the failure from it. ``provider_status`` is the status in the provider's own
    words. A row that is not ``is_readable`` is damaged: the job's results are then not collected.
    """

    custom_id: str
    status: ItemStatus
    response: HttpResponse | None = None
    error: str | None = None
    error_response: HttpResponse | None = None
    provider_status: str | None = None
    is_readable: bool = True


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JobItem(Value):
    """One request of a deferred job that has ended: its outcome, and what the provider says about it.

    ``index`` is the position of its call. ``response`` is the answer as it came, also where it cannot be decoded; None
    without an answer. It may quote the key, if the provider does. ``provider_status`` is the status in the provider's
    own words.
    """

    index: int
    custom_id: str
    outcome: Outcome
    status: ItemStatus
    provider_status: str | None = None
    response: HttpResponse | None = attrs.field(default=None, repr=False)


@attrs.frozen(eq=False, repr=False)
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
