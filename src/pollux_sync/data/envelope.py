"""The types of the envelope, the dict that the caller keeps, with the results of all prompts."""

from __future__ import annotations

from typing import Any, Generic, Literal, NotRequired, TypedDict

from pollux_sync._typed import T

Status = Literal["ok", "partial", "error"]
CacheMode = Literal["none", "persistent", "implicit"]


class ToolCallDict(TypedDict):
    """A tool call in the envelope; ``arguments`` is JSON text, ``arguments_parsed`` the same as data.

    ``arguments_parsed`` is None if the model wrote something other than a JSON object.
    """

    id: str
    name: str
    arguments: str
    arguments_parsed: dict[str, Any] | None


class ErrorDict(TypedDict):
    """The error of a prompt without an answer, or with an empty one.

    ``provider_code`` names it in the provider's own words. ``source`` is the identifier of the source that cannot be
    used, or that the call was about with ``per_source``.
    """

    type: str
    message: str
    hint: str | None
    kind: str | None
    status_code: int | None
    retryable: bool
    provider_code: str | None
    source: str | None


class CitationDict(TypedDict):
    """The source of a passage of an answer, with the fields of a `Citation` that are known."""

    url: NotRequired[str]
    title: NotRequired[str]
    source: NotRequired[str]
    text: NotRequired[str]
    start: NotRequired[int]
    end: NotRequired[int]


class HostedCallDict(TypedDict):
    """One use of a tool that the provider ran, with the fields of a `HostedCall` that are known."""

    kind: NotRequired[str]
    name: str
    id: NotRequired[str]
    input: NotRequired[Any]
    output: NotRequired[Any]
    is_error: bool


class FileDict(TypedDict):
    """A file that an answer holds, with the fields of an `AnswerFile` that are known; ``data`` is base64."""

    mime_type: NotRequired[str]
    name: NotRequired[str]
    data: NotRequired[str]
    id: NotRequired[str]


class Metrics(TypedDict):
    """The durations and counts of a call.

    ``duration_s`` is wall time, including the deletion of uploads. ``cache_used`` says that a cache handle was passed.
    ``cache_mode`` is the requested caching: a handle ("persistent"), or implicit caching. ``cache_hit`` says that the
    provider read cached tokens, requested or not; None if the provider does not report it. ``service_tiers`` are the
    tiers that served the prompts; the key is there if the provider reported any. ``costs_usd`` are the prices of the
    answers that a plugin knows, None for others, and ``cost_usd`` is their sum; both are there if one is known.
    """

    duration_s: float
    n_calls: int
    n_attempts: int
    cache_used: bool
    cache_mode: CacheMode
    cache_hit: bool | None
    finish_reasons: list[str | None]
    service_tiers: NotRequired[list[str | None]]
    cost_usd: NotRequired[float]
    costs_usd: NotRequired[list[float | None]]
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
    """The index of the prompt and the identifier of the source that an answer belongs to."""

    prompt: int
    source: str


class ConversionDict(TypedDict):
    """A source that a plugin has converted, by its identifier: its type, and the one that was sent."""

    source: str
    mime_type: str
    sent_as: str


class ToolRun(TypedDict):
    """One run of a tool: the ``arguments`` that the model wrote, and the ``content`` that was returned to it.

    ``sources`` are files that were returned too, as stored sources; the key is there if there are any.
    """

    id: str
    name: str
    arguments: str
    content: str
    is_error: bool
    duration_s: float
    sources: NotRequired[list[dict[str, Any]]]


class ToolStep(TypedDict):
    """One request of a tool loop, and the tool runs after it. ``cost_usd`` is there if the price is known."""

    usage: dict[str, int]
    cost_usd: NotRequired[float]
    raw_response: dict[str, Any] | None
    attempts: list[AttemptDict]
    tool_runs: list[ToolRun]


class DeferredItem(TypedDict):
    """One request of a deferred job, as it ended. ``custom_id`` is our id of the request in the job.

    ``error`` and the four fields after it are those of its error, as in ``errors``.
    """

    custom_id: str
    status: str
    error: str | None
    kind: str | None
    status_code: int | None
    retryable: bool
    provider_code: str | None
    provider_status: str | None
    finish_reason: str | None


class UnmatchedRow(TypedDict):
    """A row of a job's results that belongs to none of its requests, with the answer that it holds."""

    custom_id: str
    status: str
    text: str
    error: str | None


class DeferredDiagnostics(TypedDict):
    """A deferred job as it ended; ``submitted_at`` and ``completed_at`` are in seconds since the epoch.

    ``unknown_rows`` counts rows of the provider that belong to no request, which are in ``unmatched``,
    ``duplicate_rows`` those that came twice, ``unreadable_rows`` those that are damaged.
    """

    job_id: str
    status: str
    submitted_at: float | None
    completed_at: float | None
    elapsed_s: float
    items: list[DeferredItem]
    unknown_rows: int
    duplicate_rows: int
    unreadable_rows: int
    unmatched: list[UnmatchedRow]


class Diagnostics(TypedDict):
    """Details for debugging; ``raw_responses`` and ``attempts`` have one entry per call.

    ``schema_errors`` is present with a response schema, ``calls`` with ``per_source``, ``steps`` after `run_tools`,
    ``conversions`` where a plugin has converted sources, and ``deferred`` for a collected job. ``notes`` are those of
    middleware, by its name, for each call; the key is there if there are any.
    """

    raw_responses: list[dict[str, Any] | None]
    attempts: list[list[AttemptDict]]
    schema_errors: NotRequired[list[str | None]]
    calls: NotRequired[list[CallLabel]]
    conversions: NotRequired[list[ConversionDict]]
    notes: NotRequired[list[dict[str, Any] | None]]
    steps: NotRequired[list[ToolStep]]
    deferred: NotRequired[DeferredDiagnostics]


class ResultEnvelope(TypedDict, Generic[T]):
    """The result of a call. Lists per prompt are in prompt order, with ``per_source`` source by source.

    ``status`` is "ok" if every prompt was answered by text or tool calls (also without any prompt), "error" if none
    was, else "partial"; ``errors`` says why an answer is missing or empty. ``usage`` has the sums over all calls; a key
    is absent if no call reported it. ``structured`` has instances of the class that was ``response_schema``, None for
    an answer that does not fit; type checkers see the class, such as ``ResultEnvelope[Invoice]``.
    ``_conversation_state`` belongs to the first prompt; ``pollux_sync.result_of`` picks another one.
    ``pollux_sync.to_jsonable`` converts an envelope to JSON-ready data.
    """

    status: Status
    answers: list[str]
    structured: NotRequired[list[T | None]]
    reasoning: NotRequired[list[str | None]]
    tool_calls: NotRequired[list[list[ToolCallDict]]]
    citations: NotRequired[list[list[CitationDict]]]
    hosted_calls: NotRequired[list[list[HostedCallDict]]]
    files: NotRequired[list[list[FileDict]]]
    errors: NotRequired[list[ErrorDict | None]]
    confidence: float
    extraction_method: str
    usage: dict[str, int]
    metrics: Metrics
    diagnostics: Diagnostics
    _conversation_state: NotRequired[dict[str, Any]]
    _conversation_states: NotRequired[list[dict[str, Any] | None]]
