"""Deferred jobs in the form of the Batches API: requests, states and rows, encoded and decoded. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    DeferredBatch,
    DeferredJob,
    DeferredRow,
    DeferredStatus,
    HttpRequest,
    HttpResponse,
    ItemStatus,
    JobState,
    ListedJob,
    ReplyError,
    as_text,
    build_custom_id,
    choose_job,
    error_message,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Lifetime of an input file. A job may take a day and reads its file within it; three days leave room, and a file
#: that nobody deletes still expires.
LIFETIME_S = 3 * 86_400
#: The metadata field by which an interrupted submission finds its job.
_MARK = "pollux_mark"
#: A bad model name is reported once for every request; a few of these errors are enough.
_MAX_ERRORS = 3

_RUNNING_STATUSES: dict[str, DeferredStatus] = {
    "validating": "queued",
    "in_progress": "running",
    "finalizing": "running",
    "cancelling": "cancelling",
}
#: The statuses of a job that ended early, which the service and we call alike.
_EARLY_ENDS: dict[str, DeferredStatus] = {"failed": "failed", "cancelled": "cancelled", "expired": "expired"}
#: The fate of a request by the error code of its row. Both spellings of "cancelled" are accepted.
_ROW_FATES: dict[str, ItemStatus] = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
    "batch_canceled": "cancelled",
}
_END_TIMES = ("completed_at", "cancelled_at", "expired_at", "failed_at")
_OK = 200
_STATUSES = range(100, 600)
_SUCCESSES = range(200, 300)


def encode_deferred(custom_id: str, request: HttpRequest) -> dict[str, Any]:
    """Encode one request as a line of a job's input file."""
    # The service wants the path from its root here, while our paths are relative to a base_url that ends in /v1.
    return {"custom_id": custom_id, "method": request.method, "url": f"/v1{request.path}", "body": request.body}


def build_input_name(batch: DeferredBatch) -> str:
    """Return the name of a job's input file."""
    return f"{batch.mark}.jsonl"


def build_job_fields(batch: DeferredBatch, file_id: str) -> dict[str, Any]:
    """Return the fields that create a job from a stored input file."""
    return {
        "input_file_id": file_id,
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {_MARK: batch.mark, "pollux_request_count": str(batch.request_count)},
    }


def build_job(job_id: str, batch: DeferredBatch, input_file: str | None) -> DeferredJob:
    """Return the job that was created from ``batch``, with the id of its input file."""
    return DeferredJob(
        job_id=job_id,
        first=batch.first,
        request_count=batch.request_count,
        # `pollux_release_deferred` deletes these files after the answers were collected.
        provider_state={"files": [input_file] if input_file else []},
    )


def decode_entry(remote: Any) -> ListedJob:
    """Decode an entry of the list of jobs. One whose id or metadata are damaged may be any job."""
    if not isinstance(remote, dict):
        return ListedJob(remote=remote, is_readable=False)
    metadata = remote.get("metadata")
    # The service writes null for a job without metadata.
    mark = metadata.get(_MARK) if isinstance(metadata, dict) else None
    is_readable = isinstance(metadata, dict | None) and isinstance(mark, str | None)
    return ListedJob(
        remote=remote,
        mark=as_text(mark),
        created_at=read_count(remote, "created_at") or None,
        is_readable=is_readable and bool(as_text(remote.get("id"))),
    )


def choose_match(matches: Sequence[Mapping[str, Any]], batch: DeferredBatch) -> DeferredJob | None:
    """Return the job among those that were created from ``batch``, None without any.

    Raises ConfigurationError if several were, of which all but one would cost money for nothing.
    """
    jobs = [build_job(read_remote_id(remote), batch, as_text(remote.get("input_file_id"))) for remote in matches]
    if len(jobs) < 2:  # noqa: PLR2004
        return jobs[0] if jobs else None
    chosen = choose_job({job.job_id: decode_state(remote, job) for job, remote in zip(jobs, matches, strict=True)})
    return next(job for job in jobs if job.job_id == chosen)


def read_remote_id(remote: Mapping[str, Any]) -> str:
    """Return the id of an object of the service. Raises ReplyError if it has none."""
    object_id = as_text(remote.get("id"))
    if not object_id:
        raise ReplyError("the answer has no id", hint="check that base_url leads to the Files and Batches API")
    return object_id


def decode_state(remote: Mapping[str, Any], job: DeferredJob) -> JobState:
    """Decode the state of a job. Raises ReplyError for an answer that is not a batch."""
    provider_status = as_text(remote.get("status"))
    if provider_status is None:
        raise ReplyError("the answer is not a batch: it has no status", hint="check base_url")
    has_answers, has_errors = (bool(remote.get(name)) for name in ("output_file_id", "error_file_id"))
    succeeded, failed = _read_counts(remote, job.request_count)
    ended_as: DeferredStatus | None = _EARLY_ENDS.get(provider_status)
    is_over = ended_as is not None
    if provider_status == "completed":
        ended_as = "completed"
        # Some servers report the end before the files exist. Waiting loses nothing. Failures may never have a file.
        is_over = has_answers or (not succeeded and (has_errors or failed > 0))
    # An unknown status counts as running: waiting loses nothing, while a wrong end would give up paid answers.
    status: DeferredStatus = _RUNNING_STATUSES.get(provider_status, "running")
    if is_over:
        has_some = succeeded > 0 or (has_answers and not _has_counts(remote))
        is_whole = succeeded == job.request_count
        status = _decide_status(provider_status, has_some=has_some, is_whole=is_whole)
    return JobState(
        status=status,
        provider_status=provider_status,
        succeeded=succeeded,
        failed=failed,
        completed_at=_read_end_time(remote) if is_over else None,
        expires_at=read_count(remote, "expires_at"),
        error=_describe_errors(remote, job),
        provider_code=next((as_text(error.get("code")) for error in _read_errors(remote)), None),
        ended_as=ended_as,
        # Each failure that is counted has a row in the error file, if there is one.
        row_count=succeeded + failed if has_errors else None,
    )


def _has_counts(remote: Mapping[str, Any]) -> bool:
    return bool(read_count(remote.get("request_counts"), "total"))


def _read_counts(remote: Mapping[str, Any], request_count: int) -> tuple[int, int]:
    """Return how many requests succeeded and failed. Never more than there are, whatever a compatible server counts."""
    # Some servers count nothing. Then only the two files show how the job went.
    if remote.get("status") == "completed" and not _has_counts(remote):
        return request_count if remote.get("output_file_id") and not remote.get("error_file_id") else 0, 0
    counts = remote.get("request_counts")
    succeeded = min(read_count(counts, "completed") or 0, request_count)
    return succeeded, min(read_count(counts, "failed") or 0, request_count - succeeded)


def _decide_status(provider_status: str, *, has_some: bool, is_whole: bool) -> DeferredStatus:
    """Return our status of a job that has ended, with some answers or with all."""
    if provider_status == "completed" and is_whole:
        return "completed"
    # Jobs that expired or were cancelled keep the answers so far. One that failed did not pass the validation of its
    # input file, so nothing was answered.
    if has_some and provider_status != "failed":
        return "partial"
    return _EARLY_ENDS.get(provider_status, "failed")


def _read_end_time(remote: Mapping[str, Any]) -> int | None:
    return next(filter(None, (read_count(remote, name) for name in _END_TIMES)), None)


def decode_row(line: bytes) -> DeferredRow:
    """Decode one line of an output or error file."""
    try:
        remote = json.loads(line)
    except (ValueError, RecursionError):
        remote = None
    custom_id = as_text(remote.get("custom_id")) if isinstance(remote, dict) else None
    if custom_id is None:
        return DeferredRow(custom_id="", status="failed", error="the row cannot be read", is_readable=False)
    response, error = (remote[name] if isinstance(remote.get(name), dict) else {} for name in ("response", "error"))
    status, code = _read_status(response), as_text(error.get("code"))
    if status is not None and status in _SUCCESSES:
        answer = _decode_response(response, status)
        return DeferredRow(custom_id=custom_id, status="succeeded", response=answer, provider_status=str(status))
    message = f"status {status}: {error_message(response.get('body'))}" if status else as_text(error.get("message"))
    # A request that got no answer has an error of the job in its place, with a code but no status.
    failure = _decode_response(response, status) if status else HttpResponse(status=_OK, body={"error": error})
    return DeferredRow(
        custom_id=custom_id,
        status=_ROW_FATES.get(code or "", "failed"),
        error=message or code,
        error_response=failure if status or error else None,
        provider_status=code or (str(status) if status else None),
    )


def _read_status(response: Mapping[str, Any]) -> int | None:
    """Return the status of the answer in a row, None without one."""
    status, body = response.get("status_code"), response.get("body")
    if type(status) is int:
        return status if status in _STATUSES else None
    if body is None:
        return None
    # An answer is paid for, however its status is written: as text, as 200.0, or not at all.
    try:
        number = float(status) if isinstance(status, str | float) else None
    except ValueError:
        number = None
    if number is not None:
        return int(number) if number in _STATUSES else None
    is_answer = status is None and isinstance(body, dict) and bool(body) and not body.get("error")
    return _OK if is_answer else None


def _decode_response(response: Mapping[str, Any], status: int) -> HttpResponse:
    """Return the answer in a row as the direct call would have received it."""
    request_id = as_text(response.get("request_id"))
    # A direct call gets its request id in this header.
    headers = {"x-request-id": request_id} if request_id else {}
    return HttpResponse(status=status, headers=headers, body=response.get("body"))


def _describe_errors(remote: Mapping[str, Any], job: DeferredJob) -> str | None:
    """Describe the first few errors of a job as a whole, each with the request that caused it."""
    known = _read_errors(remote)
    texts = list(dict.fromkeys(_describe_error(error, job) for error in known[:_MAX_ERRORS]))
    more = len(known) - _MAX_ERRORS
    return "; ".join([*texts, f"and {more} more"] if more > 0 else texts) or None


def _read_errors(remote: Mapping[str, Any]) -> list[dict[str, Any]]:
    errors = remote.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    return [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []


def _describe_error(error: Mapping[str, Any], job: DeferredJob) -> str:
    line = read_count(error, "line")
    # Lines count from 1 within the input file, custom ids from 0 within the whole submission.
    where = f"{build_custom_id(job.first + line - 1)}: " if line and line <= job.request_count else ""
    return f"{where}{error_message(error.get('message') or error.get('code'))}"
