"""What the Batches API takes and tells: lines of requests, states of jobs, rows of answers. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pollux_sync.data.handles import DeferredJob, DeferredStatus, ItemStatus, JobState, build_custom_id
from pollux_sync.data.provider import DeferredLimits, HttpRequest, HttpResponse
from pollux_sync.data.request import DeferredBatch, DeferredRow
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.faults import ReplyError, error_message
from pollux_sync.wire.fields import as_text, read_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: As documented: 50,000 requests and 200 MB a file.
LIMITS = DeferredLimits(max_requests=50_000, max_bytes=200_000_000)
#: A file of requests is read within the day that a job may take; should nobody delete it, it goes by itself.
LIFETIME_S = 3 * 86_400
#: How far two clocks may differ: jobs made earlier than this before a submission are not of it.
_CLOCKS_S = 86_400
#: No row comes near this; more is a mistake or an attack.
_MAX_LINE_BYTES = 64 * 1024 * 1024
_MARK = "pollux_mark"
_TOLD_ERRORS = 3

_UNDERWAY: dict[str, DeferredStatus] = {
    "validating": "queued",
    "in_progress": "running",
    "finalizing": "running",
    "cancelling": "cancelling",
}
#: What becomes of the requests without an answer in a job that ended early.
_FATES: dict[str, ItemStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}
_ROW_FATES: dict[str, ItemStatus] = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
    "batch_canceled": "cancelled",
}
_ENDS = ("completed_at", "cancelled_at", "expired_at", "failed_at")
_OK = 200


def line_of(custom_id: str, request: HttpRequest) -> dict[str, Any]:
    """One request of a job."""
    return {"custom_id": custom_id, "method": request.method, "url": f"/v1{request.path}", "body": request.body}


def creation_of(batch: DeferredBatch, file_id: str) -> dict[str, Any]:
    """What makes a job of the stored lines."""
    return {
        "input_file_id": file_id,
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {_MARK: batch.mark, "pollux_request_count": str(batch.request_count)},
    }


def id_in(answer: Mapping[str, Any]) -> str:
    """The id of what was made. Raises ReplyError when there is none."""
    found = as_text(answer.get("id"))
    if not found:
        raise ReplyError("the answer holds no id", hint="does base_url lead to the Files and Batches API?")
    return found


def job_of(told: Mapping[str, Any], batch: DeferredBatch) -> DeferredJob:
    """The job that the batch became."""
    files = [file_id for file_id in (as_text(told.get("input_file_id")),) if file_id]
    return DeferredJob(
        job_id=id_in(told),
        first=batch.first,
        request_count=batch.request_count,
        provider_state={"files": files},
    )


def found_among(listed: Iterable[Mapping[str, Any]], batch: DeferredBatch) -> DeferredJob | None:
    """The job that was made of the batch, from a list with the newest first; it is not read further than needed.

    Raises ConfigurationError for several: all but one would be paid for nothing.
    """
    found = []
    for told in listed:
        created_at = read_count(told, "created_at")
        if created_at is not None and created_at < batch.created_at - _CLOCKS_S:
            break
        metadata = told.get("metadata")
        if isinstance(metadata, dict) and metadata.get(_MARK) == batch.mark:
            found.append(told)
    if len(found) > 1:
        found = [told for told in found if told.get("status") not in {"cancelling", "cancelled"}] or found[:1]
    if len(found) > 1:
        names = ", ".join(map(id_in, found))
        raise ConfigurationError(
            f"several jobs were made of the same requests: {names}", hint="cancel all but one of them, then try again"
        )
    return job_of(found[0], batch) if found else None


def state_of(told: Mapping[str, Any], job: DeferredJob) -> JobState:
    """Return the state of a job. A request without an answer has failed once the job has ended."""
    request_count = job.request_count
    word = as_text(told.get("status")) or "unknown"
    is_over = word in _FATES or word == "completed"
    counts = told.get("request_counts")
    is_counted = bool(read_count(counts, "total"))
    has_answers, has_errors = (bool(told.get(name)) for name in ("output_file_id", "error_file_id"))
    succeeded = min(read_count(counts, "completed") or 0, request_count)
    if word == "completed" and not is_counted:
        succeeded = request_count if has_answers and not has_errors else 0
    failed = request_count - succeeded if is_over else read_count(counts, "failed") or 0
    status: DeferredStatus = _UNDERWAY.get(word, "running")
    if is_over:
        status = _end_of(word, failed, is_some=succeeded > 0 or (has_answers and not is_counted))
    return JobState(
        status=status,
        provider_status=word,
        succeeded=succeeded,
        failed=failed,
        completed_at=next(filter(None, (read_count(told, name) for name in _ENDS)), None) if is_over else None,
        expires_at=read_count(told, "expires_at"),
        error=_job_errors(told, job),
        unanswered_status=_FATES.get(word),
    )


def _end_of(word: str, failed: int, *, is_some: bool) -> DeferredStatus:
    """The status of a job that has ended with this word; ``is_some`` says whether there are answers."""
    if word == "completed" and not failed:
        return "completed"
    if is_some and word != "failed":
        return "partial"
    return "cancelled" if word == "cancelled" else "expired" if word == "expired" else "failed"


def lines_in(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines from pieces of a file; they end at line feeds only, as JSON may hold all other separators."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(bytes.strip, lines)
        if len(rest) > _MAX_LINE_BYTES:
            raise ReplyError(f"a row is larger than {_MAX_LINE_BYTES} bytes")
    if rest.strip():
        yield rest


def row_of(line: bytes) -> DeferredRow:
    """One line of an output or error file; one that cannot be read belongs to no request."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    custom_id = as_text(row.get("custom_id")) if isinstance(row, dict) else None
    if custom_id is None:
        return DeferredRow(custom_id="", status="failed", error="the row cannot be read")
    response, error = (row[name] if isinstance(row.get(name), dict) else {} for name in ("response", "error"))
    status, code = read_count(response, "status_code"), as_text(error.get("code"))
    if status == _OK:
        named = as_text(response.get("request_id"))
        answer = HttpResponse(
            status=status, headers={"x-request-id": named} if named else {}, body=response.get("body")
        )
        return DeferredRow(custom_id=custom_id, status="succeeded", response=answer, provider_status=str(status))
    told = f"status {status}: {error_message(response.get('body'))}" if status else as_text(error.get("message"))
    return DeferredRow(
        custom_id=custom_id,
        status=_ROW_FATES.get(code or "", "failed"),
        error=told or code,
        provider_status=code or (str(status) if status else None),
    )


def _job_errors(told: Mapping[str, Any], job: DeferredJob) -> str | None:
    """The first few errors of a whole job, each with the request that it is about."""
    errors = told.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    found = [error for error in listed or () if isinstance(error, dict)]
    texts = list(dict.fromkeys(_job_error(error, job) for error in found[:_TOLD_ERRORS]))
    more = len(found) - _TOLD_ERRORS
    return "; ".join([*texts, f"and {more} more"] if more > 0 else texts) or None


def _job_error(error: Mapping[str, Any], job: DeferredJob) -> str:
    line = read_count(error, "line")
    where = f"{build_custom_id(job.first + line - 1)}: " if line else ""
    return f"{where}{error_message(error.get('message') or error.get('code'))}"
