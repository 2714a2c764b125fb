"""What the caller keeps: one dict for all prompts."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from pollux_sync.schemas import unstructure

Status = Literal["ok", "partial", "error"]
CacheMode = Literal["none", "persistent", "implicit"]


class ToolCallDict(TypedDict):
    """A tool call in the envelope; ``arguments`` is JSON text, ``arguments_parsed`` the same as data.

    ``arguments_parsed`` is None where the model wrote something that is not a JSON object.
    """

    id: str
    name: str
    arguments: str
    arguments_parsed: dict[str, Any] | None


class ErrorDict(TypedDict):
    """Why one prompt has no answer."""

    type: str
    message: str
    hint: str | None
    kind: str | None
    status_code: int | None
    retryable: bool


class Metrics(TypedDict):
    """``duration_s`` is wall time including upload clean-up; ``cache_used``: a cache handle was passed.

    ``cache_mode`` is what was asked for: a handle, or implicit caching. ``cache_hit``: the provider read
    cached tokens, whoever asked for it; None where it does not say.
    """

    duration_s: float
    n_calls: int
    n_attempts: int
    cache_used: bool
    cache_mode: CacheMode
    cache_hit: bool | None
    finish_reasons: list[str | None]
    deferred: NotRequired[bool]


class AttemptDict(TypedDict):
    """One physical attempt; times in seconds, ``started_at`` since the epoch."""

    started_at: float
    duration_s: float
    wait_s: float
    status_code: int | None
    kind: str | None
    reason: str | None
    request_id: str | None


class CallLabel(TypedDict):
    """Which prompt (its index) of which source (its identifier) an answer belongs to."""

    prompt: int
    source: str


class ToolRun(TypedDict):
    """One tool that ran: what the model wrote as ``arguments``, and what it was told as ``content``."""

    id: str
    name: str
    arguments: str
    content: str
    is_error: bool
    duration_s: float


class ToolStep(TypedDict):
    """One request of a tool loop, and the tools that ran after it."""

    usage: dict[str, int]
    raw_response: dict[str, Any] | None
    attempts: list[AttemptDict]
    tool_runs: list[ToolRun]


class DeferredItem(TypedDict):
    """The fate of one request of a deferred job. ``custom_id`` is our id of it in the job."""

    custom_id: str
    status: str
    error: str | None
    provider_status: str | None
    finish_reason: str | None


class DeferredDiagnostics(TypedDict):
    """A deferred job as it ended; times in seconds since the epoch.

    Rows of the provider's that belong to no request, or came twice, are counted.
    """

    job_id: str
    status: str
    submitted_at: float | None
    completed_at: float | None
    elapsed_s: float
    items: list[DeferredItem]
    unknown_rows: int
    duplicate_rows: int


class Diagnostics(TypedDict):
    """``raw_responses`` and ``attempts``: one entry a call. ``schema_errors`` needs a schema, ``calls`` per_source.

    ``steps`` are those of `run_tools`, ``deferred`` is about a collected job.
    """

    raw_responses: list[dict[str, Any] | None]
    attempts: list[list[AttemptDict]]
    schema_errors: NotRequired[list[str | None]]
    calls: NotRequired[list[CallLabel]]
    steps: NotRequired[list[ToolStep]]
    deferred: NotRequired[DeferredDiagnostics]


class ResultEnvelope(TypedDict):
    """The result of a call; per-prompt lists are in prompt order (with ``per_source``: source by source).

    ``status``: "ok" when every prompt was answered by text or tool calls (also for no prompts), "error"
    when none was, else "partial". ``usage`` sums over calls; a key is absent when no call reported it.
    ``_conversation_state`` is that of the first prompt; with several, ``pollux_sync.result_of`` picks one.
    ``pollux_sync.to_jsonable`` turns an envelope into JSON-ready data.
    """

    status: Status
    answers: list[str]
    structured: NotRequired[list[Any]]
    reasoning: NotRequired[list[str | None]]
    tool_calls: NotRequired[list[list[ToolCallDict]]]
    errors: NotRequired[list[ErrorDict | None]]
    confidence: float
    extraction_method: str
    usage: dict[str, int]
    metrics: Metrics
    diagnostics: Diagnostics
    _conversation_state: NotRequired[dict[str, Any]]
    _conversation_states: NotRequired[list[dict[str, Any] | None]]


def dump_envelope(envelope: ResultEnvelope) -> dict[str, Any]:
    """Return the envelope as JSON-ready data: typed answers in ``structured`` become dicts, lists and texts."""
    return {key: unstructure(value) if key == "structured" else value for key, value in envelope.items()}
