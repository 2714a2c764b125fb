"""Deferred jobs in the form of message batches: requests, states and rows, encoded and decoded.

No I/O, except that `BatchBody` reads the file of requests. A batch has neither a name nor metadata. It is recognised by
the custom ids of its requests: each ends with a tag, the random part of the submission's mark.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    ConfigurationError,
    DeferredJob,
    DeferredRow,
    HttpResponse,
    JobState,
    ReplyError,
    as_text,
    error_message,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import DeferredBatch, DeferredStatus, HttpRequest, ItemStatus

PATH = "/v1/messages/batches"
#: The random part at the end of a mark.
_TAG_LENGTH = 8
_MAX_DIGITS = 9
_HEAD, _TAIL = b'{"requests":[', b"]}"
#: The counts of a batch by fate; all but the first are failures.
_FATES = ("succeeded", "errored", "canceled", "expired")
_ROW_FATES: dict[str, ItemStatus] = {
    "succeeded": "succeeded",
    "errored": "failed",
    "canceled": "cancelled",
    "expired": "expired",
}
#: The status of a direct call by the type of its error: https://docs.anthropic.com/en/api/errors
_ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_BATCHES_HINT = "check that base_url leads to a Messages API with batches"


def encode_deferred(custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
    """Encode one request of a batch, its custom id followed by the tag of the submission."""
    return {"custom_id": f"{custom_id}-{mark[-_TAG_LENGTH:]}", "params": request.body}


def build_tag(batch: DeferredBatch) -> str:
    """Return the tag in the custom ids of a batch's requests."""
    # The mark of a batch is the submission's mark, followed by the index of the batch's first request.
    return batch.mark.removesuffix(f"-{batch.first:06d}")[-_TAG_LENGTH:]


class BatchBody:
    """The body that creates a batch, read from the file of its requests, anew each time it is sent."""

    def __init__(self, batch: DeferredBatch) -> None:
        self._batch = batch

    @property
    def size_bytes(self) -> int:
        """The exact length."""
        # Each line's end becomes a comma, except for the last.
        return len(_HEAD) + self._batch.n_bytes - 1 + len(_TAIL)

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body, a request at a time."""
        separator = _HEAD
        with self._batch.path.open("rb") as file:
            for line in file:
                yield separator + line.rstrip(b"\n")
                separator = b","
        yield _TAIL


def read_id(remote: Any) -> str:
    """Return the id of a batch. Raises ReplyError if it has none."""
    job_id = as_text(remote.get("id")) if isinstance(remote, dict) else None
    if not job_id:
        raise ReplyError("the answer has no batch id", hint=_BATCHES_HINT)
    return job_id


def decode_job(remote: Any, batch: DeferredBatch) -> DeferredJob:
    """Decode a batch of the service that was created from ``batch``. Raises ReplyError if it has no id."""
    # `collect` gets only the job, and removes the tag from the custom ids of its rows.
    state = {"tag": build_tag(batch)}
    return DeferredJob(
        job_id=read_id(remote), first=batch.first, request_count=batch.request_count, provider_state=state
    )


def has_ended(remote: dict[str, Any]) -> bool:
    """Return whether the service has finished a batch."""
    return remote.get("processing_status") == "ended"


def is_readable(remote: Any) -> bool:
    """Return whether an entry of the list of batches is one."""
    return isinstance(remote, dict) and bool(as_text(remote.get("id")))


def is_possible_match(remote: dict[str, Any], batch: DeferredBatch) -> bool:
    """Return whether a batch may be the one that was submitted, as far as the list of batches shows."""
    # A batch has at least one request: counts that are damaged, or all 0, do not say how many.
    size = _read_size(remote)
    # A submission of several jobs has batches of equal size: those that are known already are not the lost one.
    return size in {batch.request_count, 0} and as_text(remote.get("id")) not in batch.other_jobs


def has_lost_results(remote: dict[str, Any]) -> bool:
    """Return whether the results of a batch are archived: the service keeps them for 29 days."""
    return has_ended(remote) and not remote.get("results_url") and remote.get("archived_at") is not None


def is_row(value: Any) -> bool:
    """Return whether a JSON value is a row of results at all."""
    return bool(_read_custom_id(value))


def is_own_row(row: Any, batch: DeferredBatch) -> bool:
    """Return whether a row of results answers a request of ``batch``."""
    custom_id, _, tag = _read_custom_id(row).rpartition("-")
    number = custom_id.rpartition("-")[2]
    # Our numbers have at least six digits; int() refuses those of thousands.
    if tag != build_tag(batch) or not number.isdecimal() or len(number) > _MAX_DIGITS:
        return False
    # All batches of a submission share the tag. The number says which of them a request is in.
    return batch.first <= int(number) < batch.first + batch.request_count


def build_ambiguity_error(remotes: list[dict[str, Any]], batch: DeferredBatch) -> ConfigurationError:
    """Return the error for batches of which any may be the one that was submitted: nothing proves it yet."""
    ids = ", ".join(str(remote.get("id")) for remote in remotes)
    return ConfigurationError(
        f"the interrupted submission of {batch.request_count} requests may have created any of these batches: {ids}; "
        "their results will show whether one of them is it",
        hint="call again with the same job_file when they have ended; without one, look at their results first: "
        "calling again begins a new job. One that has ended and stays without results cannot be collected: if none "
        "of them runs any more, delete the job file, or pass another one",
    )


def build_unreadable_error(count: int) -> ReplyError:
    """Return the error of a list in which entries cannot be read: any of them may be the one that was submitted."""
    return ReplyError(
        f"{count} entries in the list of batches cannot be read, and one of them may be the job", hint="try again later"
    )


def decode_state(remote: Any) -> JobState:
    """Decode the state of a batch. Raises ReplyError for an answer that is not a batch."""
    provider_status = as_text(remote.get("processing_status")) if isinstance(remote, dict) else None
    if provider_status is None:
        raise ReplyError("the answer is not a batch", hint=_BATCHES_HINT)
    counts, size = _read_counts(remote), _read_size(remote)
    status: DeferredStatus = "cancelling" if provider_status == "canceling" else "running"
    # A batch may say so before its results are there. Waiting loses nothing, unless they are gone for good.
    has_no_results = "results_url" in remote and remote["results_url"] is None and not has_lost_results(remote)
    is_early = has_no_results and (counts["succeeded"] > 0 or not size)
    if has_ended(remote) and not is_early:
        status = _decide_status(counts) if size else "partial"
    return JobState(
        status=status,
        provider_status=provider_status,
        succeeded=counts["succeeded"],
        failed=sum(counts[fate] for fate in _FATES[1:]),
        completed_at=parse_timestamp(remote.get("ended_at")),
        expires_at=parse_timestamp(remote.get("expires_at")),
        # However the requests ended, the results have a row for each.
        ended_as="completed" if has_ended(remote) else None,
        row_count=sum(counts[fate] for fate in _FATES),
    )


def _decide_status(counts: dict[str, int]) -> DeferredStatus:
    """Return our status of a batch that has ended."""
    # The service says "ended" whatever happened. Only the counts show how: one fate for all requests, or several.
    fates = [fate for fate in _FATES if counts[fate]]
    if fates == ["succeeded"]:
        return "completed"
    if len(fates) > 1:
        return "partial"
    endings: dict[str, DeferredStatus] = {"canceled": "cancelled", "expired": "expired"}
    return endings.get(fates[0], "failed") if fates else "failed"


def _read_size(remote: dict[str, Any]) -> int:
    """Return the number of a batch's requests, 0 if its counts do not say it."""
    counts = remote.get("request_counts")
    known = [counts[name] for name in ("processing", *_FATES) if name in counts] if isinstance(counts, dict) else []
    is_whole = all(read_count({"count": count}, "count") is not None for count in known)
    return sum(known) if is_whole else 0


def _read_counts(remote: dict[str, Any]) -> dict[str, int]:
    counts = remote.get("request_counts")
    return {name: read_count(counts, name) or 0 for name in ("processing", *_FATES)}


def parse_row(line: bytes) -> Any:
    """Return the JSON value of a line of results, None for a line that is not JSON, perhaps cut off."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def decode_row(row: Any, tag: str) -> DeferredRow:
    """Decode one row of results, its custom id without the tag.

    A row with another tag keeps its id, which the core counts among the unknown ones.
    """
    if not isinstance(row, dict):
        return DeferredRow(custom_id="", status="failed", error="the row cannot be read", is_readable=False)
    result = row.get("result")
    result = result if isinstance(result, dict) else {}
    kind, message = as_text(result.get("type")), result.get("message")
    # A message is paid for, under whatever name it comes.
    is_answer = kind == "succeeded" or (kind not in _ROW_FATES and isinstance(message, dict))
    return DeferredRow(
        custom_id=_read_custom_id(row).removesuffix(f"-{tag}"),
        status="succeeded" if is_answer else _ROW_FATES.get(kind or "", "failed"),
        response=HttpResponse(status=200, body=message) if is_answer else None,
        error=None if is_answer else _describe_error(kind, result),
        error_response=_read_error_response(result.get("error")) if kind == "errored" else None,
        provider_status=kind,
    )


def _read_custom_id(row: Any) -> str:
    return (as_text(row.get("custom_id")) if isinstance(row, dict) else None) or ""


def _describe_error(kind: str | None, result: dict[str, Any]) -> str | None:
    """Return the message of a failed row; None if the status needs no message."""
    if kind == "errored":
        # The error is a whole error body, as a direct call would have received it.
        return error_message(result.get("error"))
    return None if kind in _ROW_FATES else f"the row has a result of unknown type: {kind}"


def _read_error_response(body: Any) -> HttpResponse | None:
    """Return the error of a row as the answer that a direct call would have received; None without an error."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    kind = as_text(error.get("type")) if isinstance(error, dict) else None
    request_id = as_text(body.get("request_id"))
    # An unknown type keeps status 200, and is read like an error in a stream that has begun.
    return HttpResponse(
        status=_ERROR_STATUSES.get(kind or "", 200), headers={"request-id": request_id} if request_id else {}, body=body
    )


def read_list(body: Any) -> list[Any]:
    """Return what is on one page of a list. Raises ReplyError for an answer that is not a list."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ReplyError(
            "the answer is not a list", hint="check that base_url leads to a Messages API with batches and files"
        )
    return data


def read_objects(body: Any) -> list[dict[str, Any]]:
    """Return the objects on one page of a list. Raises ReplyError for an answer that is not a list."""
    return [item for item in read_list(body) if isinstance(item, dict)]


def build_next_query(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the query for the page after this one, as pairs; empty after the last page.

    Raises ReplyError for a page that goes on but does not say where, or has nothing on it.
    """
    cursor, last = body.get("next_page"), as_text(body.get("last_id"))
    if cursor:
        if not isinstance(cursor, str):
            raise ReplyError("the list goes on, but names no next page", hint=_BATCHES_HINT)
        return (("page", cursor),)
    if not body.get("has_more"):
        return ()
    # The older lists of the API have no cursor. There the next page begins after the last id.
    if not last:
        raise ReplyError("the list goes on, but names no last id", hint=_BATCHES_HINT)
    if not body.get("data"):
        raise ReplyError("the list goes on after a page without entries", hint=_BATCHES_HINT)
    return (("after_id", last),)


def parse_timestamp(text: Any) -> float | None:
    """Parse an RFC 3339 time into seconds since the epoch; return None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        # A time without a zone would be taken for local time.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):  # the last at the ends of the calendar
        return None
