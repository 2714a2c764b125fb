"""Deferred jobs as Gemini's batches: requests, states and rows, encoded and decoded. Sends nothing.

A small job carries its requests inline and gets its answers inline; a large one names an input file and gets a file of
answers. Everything about a batch is read from the long-running operation that the service returns for it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from pollux_gemini.encoding import build_path
from pollux_gemini.parts import as_object
from pollux_gemini.paths import build_list_path, build_resource_path, read_entries, read_objects
from pollux_sync.plugin import (
    Asset,
    DeferredJob,
    DeferredRow,
    HttpRequest,
    HttpResponse,
    JobState,
    ListedJob,
    ReplyError,
    as_text,
    build_custom_id,
    choose_job,
    error_message,
    is_terminal,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pollux_gemini.parts import Json
    from pollux_sync.plugin import DeferredBatch, DeferredStatus

#: The size limit of a create request with inline requests, by Google's documentation.
MAX_INLINE_BYTES = 20_000_000
#: Inline answers come back in one body, and the core's client reads at most 64 MiB of a body: 2 MiB for each answer.
MAX_INLINE_REQUESTS = 32

#: The page size of the list of batches. Pages are short because every batch in them may hold its inline answers.
PAGE_SIZE = 10
_MAX_DIGITS = 19
#: google.rpc.Code by number: its name, and the status of a direct call that fails so.
#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_RPC_CODES = (
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
)
_CANCELLED_CODE = 1
#: Our status by Gemini's state, without the prefix BATCH_STATE_ or JOB_STATE_.
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


@attrs.frozen(kw_only=True)
class RemoteBatch:
    """A batch at Gemini, as the service describes it.

    ``state`` is Gemini's name of the state and ``status`` is ours. ``error`` is the reason why the batch failed as a
    whole, ``error_code`` the name of its code. The answers are in ``answers``, or in the file that ``answers_file``
    names.
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
    error_code: str | None
    answers: list[Any]
    answers_file: str | None


def encode_deferred(custom_id: str, request: HttpRequest) -> Json:
    """Encode one request as a line of a job's input file."""
    return {"key": custom_id, "request": request.body}


def read_inline_requests(batch: DeferredBatch) -> Json | None:
    """Return the batch's requests as an inline ``inputConfig``, or None if they are too many or too large for one."""
    if batch.request_count > MAX_INLINE_REQUESTS or batch.n_bytes > MAX_INLINE_BYTES:
        return None
    with batch.path.open("rb") as lines:
        rows = [json.loads(row) for row in lines]
    requests = [{"request": row["request"], "metadata": {"key": row["key"]}} for row in rows]
    # The file is UTF-8, but the SDK escapes everything to ASCII, so the body may be longer than n_bytes.
    is_small = len(json.dumps(requests)) <= MAX_INLINE_BYTES
    return {"requests": {"requests": requests}} if is_small else None


def build_create_request(batch: DeferredBatch, input_config: Json) -> HttpRequest:
    """Build the request that creates a batch.

    ``input_config`` holds the requests inline, or names the input file: ``{"fileName": "files/..."}``.
    """
    # The display name carries the mark, by which an interrupted submission finds its batch again.
    body = {"batch": {"displayName": batch.mark, "inputConfig": input_config}}
    return HttpRequest(path=build_path(batch.model, "batchGenerateContent"), body=body)


def build_get_request(name: str) -> HttpRequest:
    """Build the request for the current state of a batch, which has the answers or names their file once it ended."""
    return HttpRequest(method="GET", path=build_resource_path(name))


def build_cancel_request(name: str) -> HttpRequest:
    """Build the request that cancels a batch."""
    return HttpRequest(path=build_resource_path(name, ":cancel"))


def build_list_request(page_token: str | None, page_size: int) -> HttpRequest:
    """Build the request for one page of the account's batches; the first page has no token."""
    return HttpRequest(method="GET", path=build_list_path("/batches", page_size, page_token))


def decode_job(response: HttpResponse, batch: DeferredBatch, files: Iterable[str] = ()) -> DeferredJob:
    """Decode the answer to a create request as a job. Raises ReplyError for an answer without a batch."""
    return build_job(decode_batch(response), batch, files)


def build_job(remote: RemoteBatch, batch: DeferredBatch, files: Iterable[str]) -> DeferredJob:
    """Build the job for a batch at Gemini. ``files`` are the names of its input files, deleted when it is released."""
    stored = list(files)
    return DeferredJob(
        job_id=remote.name,
        first=batch.first,
        request_count=batch.request_count,
        provider_state={"files": stored} if stored else {},
    )


def decode_batch(response: HttpResponse) -> RemoteBatch:
    """Decode an answer that is one batch. Raises ReplyError for an answer without a batch."""
    remote = _decode_operation(as_object(response.body))
    if remote is None:
        raise ReplyError("the answer describes no batch: it has no name", response=response)
    return remote


def decode_entries(response: HttpResponse) -> list[ListedJob]:
    """Decode a page of the list of batches. Raises ReplyError for an answer that is not such a list."""
    return [_decode_entry(operation) for operation in read_entries(response, "operations")]


def _decode_entry(operation: Any) -> ListedJob:
    """Decode one entry of the list. One without a name, or whose metadata are damaged, may be any batch."""
    remote = _decode_operation(as_object(operation))
    if remote is None:
        return ListedJob(remote=None, is_readable=False)
    metadata = operation.get("metadata")
    is_readable = isinstance(metadata, dict) and isinstance(metadata.get("displayName"), str | None)
    return ListedJob(remote=remote, mark=remote.mark, created_at=remote.created_at, is_readable=is_readable)


def choose_match(found: Sequence[ListedJob]) -> RemoteBatch | None:
    """Return the batch among those that were created from the same requests, None without any.

    Raises ConfigurationError if several were, of which all but one would cost money for nothing.
    """
    remotes: dict[str, RemoteBatch] = {entry.remote.name: entry.remote for entry in found}
    if len(remotes) < 2:  # noqa: PLR2004
        return next(iter(remotes.values()), None)
    return remotes[choose_job({name: build_state(remote) for name, remote in remotes.items()})]


def decode_uploads(response: HttpResponse, mark: str) -> list[tuple[str, Asset]]:
    """Return the uploads on a page of files whose display names begin with ``mark``, each after its display name."""
    return [
        (file["displayName"], decode_asset(file))
        for file in read_objects(response, "files")
        if (as_text(file.get("displayName")) or "").startswith(mark)
        and as_text(file.get("name"))
        # A file of answers may have its batch's display name. It must not be deleted as a stray upload.
        and file.get("source") != "GENERATED"
    ]


def read_page_token(response: HttpResponse) -> str | None:
    """Return the token of the next page, or None on the last page. All of Gemini's lists have it.

    Raises ReplyError for a token of another type: the list goes on, but cannot be read to its end.
    """
    token = as_object(response.body).get("nextPageToken")
    if not isinstance(token, str | None):
        raise ReplyError("the list goes on, but its page token is no text", hint="check base_url", response=response)
    return token or None


def build_state(remote: RemoteBatch) -> JobState:
    """Build the state of a job from its batch."""
    status = _refine_status(remote)
    return JobState(
        status=status,
        provider_status=remote.state,
        succeeded=remote.succeeded,
        failed=remote.failed,
        completed_at=remote.ended_at if is_terminal(status) else None,
        error=remote.error,
        provider_code=remote.error_code,
        ended_as=remote.status,
        # Rows of requests that failed are beside the answers, if there are any.
        row_count=remote.succeeded + remote.failed if _has_output(remote) else None,
    )


def _has_output(remote: RemoteBatch) -> bool:
    return bool(remote.answers) or remote.answers_file is not None


def _refine_status(remote: RemoteBatch) -> DeferredStatus:
    # Gemini's state is about the batch alone: SUCCEEDED says that it ran to its end, even if every request failed,
    # and a batch that was cancelled or expired keeps the answers that it has.
    if remote.status in {"cancelled", "expired"} and remote.succeeded:
        return "partial"
    # A batch may say so before its answers are there. Waiting loses nothing.
    if remote.status == "completed" and remote.succeeded and not _has_output(remote):
        return "running"
    if remote.status == "completed" and remote.failed:
        return "partial" if remote.succeeded else "failed"
    return remote.status


def iter_rows(answers: Iterable[Any]) -> Iterator[DeferredRow]:
    """Yield a row for each line of a file of answers."""
    return map(_decode_row, answers)


def decode_inline_rows(answers: list[Any], job: DeferredJob) -> list[DeferredRow]:
    """Decode the answers that a batch holds itself.

    Answers that all came back without their metadata are in the order of their requests, if there are as many.
    """
    rows = list(map(_decode_row, answers))
    if len(rows) != job.request_count or any(row.custom_id for row in rows):
        return rows
    return [attrs.evolve(row, custom_id=build_custom_id(job.first + place)) for place, row in enumerate(rows)]


def parse_lines(lines: Iterable[bytes]) -> Iterator[Any]:
    """Yield the JSON value of each line of a file of answers, and None for a line that is not JSON."""
    for line in lines:
        try:
            yield json.loads(line)
        # One broken line must not cost the other answers, which are paid for.
        except (ValueError, RecursionError):
            yield None


def _decode_row(answer: Any) -> DeferredRow:
    if not isinstance(answer, dict):
        return DeferredRow(custom_id="", status="failed", error="the row cannot be read", is_readable=False)
    # A line of a file has the key itself; an inline answer has it in its metadata.
    key = as_text(answer.get("key")) or as_text(as_object(answer.get("metadata")).get("key")) or ""
    error, response = _read_error(answer), answer.get("response")
    if not error and isinstance(response, dict):
        return DeferredRow(custom_id=key, status="succeeded", response=HttpResponse(status=200, body=response))
    if not error:
        return DeferredRow(custom_id=key, status="failed", error="the row has neither a response nor an error")
    code = as_object(error).get("code")
    return DeferredRow(
        custom_id=key,
        status="cancelled" if code == _CANCELLED_CODE else "failed",
        error=error_message(error),
        error_response=_read_error_response(error),
        provider_status=None if code is None else str(code),
    )


def _read_error(holder: Json) -> Any:
    """Return the error of a row or a batch, or None. The code 0 of google.rpc means success."""
    error = holder.get("error")
    code = as_object(error).get("code")
    is_ok = type(code) in {int, float, str} and code in {0, "0", "OK"}
    return None if not error or is_ok else error


def _read_error_response(error: Any) -> HttpResponse | None:
    """Return the error of a row as the answer that a direct call would have received; None for one without a code."""
    name, status = _read_rpc_code(error)
    if status is None:
        return None
    # A direct call has the status as its code, and the name of the code beside it.
    return HttpResponse(status=status, body={"error": {**error, "code": status} | ({"status": name} if name else {})})


def _read_rpc_code(error: Any) -> tuple[str | None, int | None]:
    """Return the name of an error's code and its HTTP status, each None if it is not known."""
    code, name = as_object(error).get("code"), as_text(as_object(error).get("status"))
    if type(code) is not int:  # a boolean is one too
        return name, dict(_RPC_CODES).get(name or "")
    if 0 <= code < len(_RPC_CODES):
        return _RPC_CODES[code]
    # Some rows have the HTTP status in place of the code.
    return name, code if 400 <= code < 600 else None  # noqa: PLR2004


def _decode_operation(operation: Json) -> RemoteBatch | None:
    name, metadata = as_text(operation.get("name")), as_object(operation.get("metadata"))
    if not name:
        return None
    error = _read_error(operation)
    state = as_text(metadata.get("state")) or "BATCH_STATE_UNSPECIFIED"
    output, stats = _find_output(operation), as_object(metadata.get("batchStats"))
    return RemoteBatch(
        name=name,
        state=state,
        status=_decode_status(operation, state),
        mark=as_text(metadata.get("displayName")),
        succeeded=_parse_count(stats.get("successfulRequestCount")),
        failed=_parse_count(stats.get("failedRequestCount")),
        created_at=_parse_time(metadata.get("createTime")),
        ended_at=_parse_time(metadata.get("endTime")),
        error=error_message(error) if error else None,
        error_code=_read_rpc_code(error)[0],
        answers=_read_inline_answers(output),
        answers_file=as_text(output.get("responsesFile")) or None,
    )


def _decode_status(operation: Json, state: str) -> DeferredStatus:
    # Google's contract and its SDK spell the same states with different prefixes.
    name = state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    # A state that is newer than this table is taken for "running": waiting on is harmless, since `done` ends it.
    status = _STATUSES.get(name, "running")
    # An operation that is done has ended, whatever its metadata still say.
    if is_terminal(status) or operation.get("done") is not True:
        return status
    error = _read_error(operation)
    if not error:
        return "completed"
    return "cancelled" if as_object(error).get("code") == _CANCELLED_CODE else "failed"


def _find_output(operation: Json) -> Json:
    # Gemini puts the output into the metadata, into the response of the operation, or into both.
    response = as_object(operation.get("response"))
    places = (as_object(operation.get("metadata")).get("output"), response.get("output"), response)
    return next((place for place in map(as_object, places) if place.keys() & {"inlinedResponses", "responsesFile"}), {})


def _read_inline_answers(output: Json) -> list[Any]:
    # All of them, whatever they are: one that cannot be read shows that the answers are damaged.
    listed = as_object(output.get("inlinedResponses")).get("inlinedResponses")
    return listed if isinstance(listed, list) else []


def decode_asset(file: Json) -> Asset:
    """Decode a stored file, which has a name."""
    return Asset(
        id=file["name"],
        uri=as_text(file.get("uri")),
        mime_type=as_text(file.get("mimeType")) or "",
        expires_at=_parse_time(file.get("expirationTime")),
        # An answer without a state, as gateways give it, says nothing against the file. Any other state is looked at.
        is_ready=file.get("state", "ACTIVE") == "ACTIVE",
    )


def _parse_count(value: Any) -> int:
    # Google's JSON has 64-bit integers as text, of at most 19 digits.
    if isinstance(value, str) and value.isdecimal() and len(value) <= _MAX_DIGITS:
        value = int(value)
    return read_count({"count": value}, "count") or 0


def _parse_time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, TypeError, OverflowError):  # the last at the ends of the calendar
        return None
