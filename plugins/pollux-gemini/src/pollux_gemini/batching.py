"""Batches: the requests about them, and what Gemini tells of them. Nothing here sends."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from pollux_gemini.encoding import path_of
from pollux_gemini.parts import objects_in
from pollux_sync.data.handles import DeferredJob, JobState, is_terminal
from pollux_sync.data.provider import DeferredLimits, HttpRequest, HttpResponse
from pollux_sync.data.request import Asset, DeferredRow
from pollux_sync.wire.faults import ReplyError, error_message
from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.data.handles import DeferredStatus, ItemStatus
    from pollux_sync.data.request import DeferredBatch

#: Google takes input files of 2 GB; a quarter keeps temporary files and repeated uploads bearable. No number of
#: requests is published; the replies of one job are in memory together when they are read.
LIMITS = DeferredLimits(max_requests=100_000, max_bytes=500_000_000)
#: What one request for a batch may hold, by Google's documentation.
INLINE_BYTES = 20_000_000
#: Answers to inline requests come back in one body, of which the core's client reads 64 MiB: that is 2 MiB for each.
INLINE_REQUESTS = 32
#: What deleting a file that is gone gives.
GONE = frozenset({403, 404})

_PAGE_SIZE = 10
_FILES_PAGE_SIZE = 100
#: By how much the clocks of both sides may differ, in seconds.
_SKEW_S = 86_400.0
_CANCELLED = 1
_STATUSES: dict[str, DeferredStatus] = {
    "UNSPECIFIED": "queued",
    "QUEUED": "queued",
    "PENDING": "queued",
    "RUNNING": "running",
    "PAUSED": "running",
    "UPDATING": "running",
    "CANCELLING": "cancelling",
    "SUCCEEDED": "completed",
    "PARTIALLY_SUCCEEDED": "partial",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
#: What becomes of requests that a batch of this status left unanswered.
_FATES: dict[DeferredStatus, ItemStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}


@attrs.frozen(kw_only=True)
class Batch:
    """A batch as Gemini tells of it. ``state`` is its own word, ``error`` says why the batch failed as a whole.

    The answers are in ``answers`` or in the file ``answers_file``.
    """

    name: str
    state: str
    status: DeferredStatus
    mark: str | None
    succeeded: int
    failed: int
    created_at: float | None
    ended_at: float | None
    error: str | None
    answers: list[Json]
    answers_file: str | None


def line(key: str, request: HttpRequest) -> Json:
    """A request as a line of the input file."""
    return {"key": key, "request": request.body}


def inlined(batch: DeferredBatch) -> Json | None:
    """The batch's requests as they go inside the one that makes it; None where they are too much for that."""
    if batch.request_count > INLINE_REQUESTS or batch.n_bytes > INLINE_BYTES:
        return None
    with batch.path.open("rb") as lines:
        rows = [json.loads(row) for row in lines]
    requests = [{"request": row["request"], "metadata": {"key": row["key"]}} for row in rows]
    # As ASCII, which is how the SDK writes it, it may be longer than n_bytes.
    is_small = len(json.dumps(requests)) <= INLINE_BYTES
    return {"requests": {"requests": requests}} if is_small else None


def creation(batch: DeferredBatch, input_config: Json) -> HttpRequest:
    """The request that makes a batch."""
    body = {"batch": {"displayName": batch.mark, "inputConfig": input_config}}
    return HttpRequest(path=path_of(batch.model, "batchGenerateContent"), body=body)


def look(name: str) -> HttpRequest:
    """The request for a batch as it is now, with its answers if it has ended."""
    return HttpRequest(method="GET", path=f"/{quote(name)}")


def cancellation(name: str) -> HttpRequest:
    """The request to cancel a batch."""
    return HttpRequest(path=f"/{quote(name)}:cancel")


def deletion(name: str) -> HttpRequest:
    """The request that deletes a file."""
    return HttpRequest(method="DELETE", path=f"/{quote(name)}")


def listing(page: str | None) -> HttpRequest:
    """The request for one page of the account's batches: a short one, they may hold their answers."""
    return _page_of("/batches", _PAGE_SIZE, page)


def files_listing(page: str | None) -> HttpRequest:
    """The request for one page of the account's files."""
    return _page_of("/files", _FILES_PAGE_SIZE, page)


def _page_of(path: str, size: int, page: str | None) -> HttpRequest:
    token = f"&pageToken={quote(page, safe='')}" if page else ""
    return HttpRequest(method="GET", path=f"{path}?pageSize={size}{token}")


def job_in(response: HttpResponse, batch: DeferredBatch, files: Iterable[str] = ()) -> DeferredJob:
    """The job of the batch that an answer tells of. Raises ReplyError for an answer that tells of none."""
    return job_of(batch_in(response), batch, files)


def job_of(made: Batch, batch: DeferredBatch, files: Iterable[str]) -> DeferredJob:
    """What was made of a batch, as a job; ``files`` were stored for it."""
    stored = list(files)
    return DeferredJob(
        job_id=made.name,
        first=batch.first,
        request_count=batch.request_count,
        provider_state={"files": stored} if stored else {},
    )


def batch_in(response: HttpResponse) -> Batch:
    """The batch that an answer tells of. Raises ReplyError for an answer that tells of none."""
    batch = _batch(_object(response.body))
    if batch is None:
        raise ReplyError("the answer tells of no batch", response=response)
    return batch


def batches_in(response: HttpResponse) -> list[Batch]:
    """The batches on a page."""
    told = map(_batch, objects_in(_object(response.body).get("operations")))
    return [batch for batch in told if batch is not None]


def files_in(response: HttpResponse, mark: str) -> list[tuple[str, Asset]]:
    """The uploads on a page whose display names begin with ``mark``, with these names."""
    return [
        (file["displayName"], _asset(file))
        for file in objects_in(_object(response.body).get("files"))
        if (as_text(file.get("displayName")) or "").startswith(mark)
        and as_text(file.get("name"))
        and file.get("source") != "GENERATED"  # answers
    ]


def next_page(response: HttpResponse) -> str | None:
    """The token of the page after this one."""
    return as_text(_object(response.body).get("nextPageToken")) or None


def is_past(page: list[Batch], created_at: float) -> bool:
    """Whether no later page can hold a batch that was made at ``created_at`` or after.

    Google does not document the order of the list: what this page shows has to do.
    """
    times = [batch.created_at for batch in page if batch.created_at is not None]
    is_newest_first = len(set(times)) > 1 and times == sorted(times, reverse=True)
    return is_newest_first and max(times) < created_at - _SKEW_S


def state_of(batch: Batch) -> JobState:
    """How far a batch is."""
    return JobState(
        status=_joint_status(batch),
        provider_status=batch.state,
        succeeded=batch.succeeded,
        failed=batch.failed,
        completed_at=batch.ended_at if is_terminal(batch.status) else None,
        error=batch.error,
        unanswered_status=_FATES.get(batch.status),
    )


def _joint_status(batch: Batch) -> DeferredStatus:
    """The status, with regard to what became of the requests."""
    if batch.status in {"cancelled", "expired"} and batch.succeeded:
        return "partial"
    if batch.status == "completed" and batch.failed:
        return "partial" if batch.succeeded else "failed"
    return batch.status


def rows_of(answers: Iterable[Any]) -> Iterator[DeferredRow]:
    """Yield a row for each answer."""
    return (_row(_object(answer)) for answer in answers)


def parsed(lines: Iterable[bytes]) -> Iterator[Any]:
    """The lines of a file of answers; a broken one must not cost the others, it is None."""
    for text in filter(None, map(bytes.strip, lines)):
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            yield None


def _row(answer: Json) -> DeferredRow:
    """One answer, by its key: a file's line has it itself, an inline answer among its metadata."""
    key = as_text(answer.get("key")) or as_text(_object(answer.get("metadata")).get("key")) or ""
    error, response = answer.get("error"), answer.get("response")
    if not error and isinstance(response, dict):
        return DeferredRow(custom_id=key, status="succeeded", response=HttpResponse(status=200, body=response))
    if not error:
        return DeferredRow(custom_id=key, status="failed", error="its row holds no answer")
    code = _object(error).get("code")
    return DeferredRow(
        custom_id=key,
        status="cancelled" if code == _CANCELLED else "failed",
        error=error_message(error),
        provider_status=None if code is None else str(code),
    )


def _batch(operation: Json) -> Batch | None:
    name, told = as_text(operation.get("name")), _object(operation.get("metadata"))
    if not name:
        return None
    error = operation.get("error")
    state, status = _state(operation, as_text(told.get("state")) or "BATCH_STATE_UNSPECIFIED")
    output, stats = _output(operation), _object(told.get("batchStats"))
    return Batch(
        name=name,
        state=state,
        status=status,
        mark=as_text(told.get("displayName")),
        succeeded=_count(stats.get("successfulRequestCount")),
        failed=_count(stats.get("failedRequestCount")),
        created_at=_time(told.get("createTime")),
        ended_at=_time(told.get("endTime")),
        error=error_message(error) if error else None,
        answers=objects_in(_object(output.get("inlinedResponses")).get("inlinedResponses")),
        answers_file=as_text(output.get("responsesFile")) or None,
    )


def _state(operation: Json, told: str) -> tuple[str, DeferredStatus]:
    """Gemini's word and ours. An operation that is done has ended, whatever its metadata still say."""
    word = told.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    status = _STATUSES.get(word, "running")
    if is_terminal(status) or operation.get("done") is not True:
        return told, status
    error = operation.get("error")
    if not error:
        return told, "completed"
    return told, "cancelled" if _object(error).get("code") == _CANCELLED else "failed"


def _output(operation: Json) -> Json:
    """Where the answers are: Gemini puts it into the metadata, the answer of the operation, or both."""
    response = _object(operation.get("response"))
    places = (_object(operation.get("metadata")).get("output"), response.get("output"), response)
    return next((place for place in map(_object, places) if place.keys() & {"inlinedResponses", "responsesFile"}), {})


def _asset(file: Json) -> Asset:
    return Asset(
        id=file["name"],
        uri=as_text(file.get("uri")),
        mime_type=as_text(file.get("mimeType")) or "",
        expires_at=_time(file.get("expirationTime")),
    )


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    """A count: JSON has 64-bit integers as text."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, TypeError):
        return None
