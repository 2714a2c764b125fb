"""Message batches: what goes into one, and what is read from it. Pure, but for reading the file of requests.

A batch has neither name nor metadata. What tells whose it is are the ids of its requests: each ends with a tag, the
random part of the submission's mark.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pollux_sync.data.handles import DeferredJob, JobState
from pollux_sync.data.provider import DeferredLimits, HttpResponse
from pollux_sync.data.request import Asset, DeferredRow
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.faults import ReplyError, error_message
from pollux_sync.wire.fields import as_text, read_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pollux_sync.data.handles import DeferredStatus, ItemStatus
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import DeferredBatch

#: The API takes 256 MB in one body. It is streamed from disk, so its size costs no memory; some room is left.
LIMITS = DeferredLimits(max_requests=100_000, max_bytes=250_000_000)

PATH = "/v1/messages/batches"
#: How far the service's clock may be behind ours, in seconds.
CLOCK_SLACK_S = 300.0

_TAG_LENGTH = 8
_HEAD, _TAIL = b'{"requests":[', b"]}"
_FATES = ("succeeded", "errored", "canceled", "expired")
_STATUSES: dict[str, ItemStatus] = {
    "succeeded": "succeeded",
    "errored": "failed",
    "canceled": "cancelled",
    "expired": "expired",
}


def encode_deferred(custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
    """One request of a batch."""
    return {"custom_id": f"{custom_id}-{mark[-_TAG_LENGTH:]}", "params": request.body}


def build_tag(batch: DeferredBatch) -> str:
    """The end of the batch's request ids; its mark is the submission's, and which part of it."""
    return batch.mark.removesuffix(f"-{batch.first:06d}")[-_TAG_LENGTH:]


class BatchBody:
    """The body that makes a batch, read from the file of its requests; each time anew, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        separator = _HEAD
        with self._path.open("rb") as file:
            for line in file:
                yield separator + line.rstrip(b"\n")
                separator = b","
        yield _TAIL


def measure_body(batch: DeferredBatch) -> int:
    """How many bytes `BatchBody` gives: commas take the place of line ends, but for the last."""
    return len(_HEAD) + batch.n_bytes - 1 + len(_TAIL)


def decode_job(made: Any, batch: DeferredBatch) -> DeferredJob:
    """The job that the service calls ``made``. Raises ReplyError where it has no name."""
    job_id = as_text(made.get("id")) if isinstance(made, dict) else None
    if job_id is None:
        raise ReplyError("the answer names no batch", hint="does base_url lead to a Messages API with batches?")
    state = {"tag": build_tag(batch)}
    return DeferredJob(job_id=job_id, first=batch.first, request_count=batch.request_count, provider_state=state)


def has_ended(found: dict[str, Any]) -> bool:
    """Whether the service is done with a batch."""
    return found.get("processing_status") == "ended"


def is_older(found: dict[str, Any], batch: DeferredBatch) -> bool:
    """Whether a batch was made before it was first tried to make this one."""
    created_at = parse_timestamp(found.get("created_at"))
    return created_at is not None and created_at < batch.created_at - CLOCK_SLACK_S


def is_possible_match(found: dict[str, Any], batch: DeferredBatch) -> bool:
    """Whether this might be the batch, as far as the list of batches tells."""
    return found.get("id") not in batch.other_jobs and sum(_counts(found).values()) == batch.request_count


def is_own_row(row: Any, batch: DeferredBatch) -> bool:
    """Whether a row of results answers a request of this batch."""
    custom_id, _, tag = _custom_id(row).rpartition("-")
    number = custom_id.rpartition("-")[2]
    return (
        tag == build_tag(batch)
        and number.isdecimal()
        and batch.first <= int(number) < batch.first + batch.request_count
    )


def build_ambiguity_error(candidates: list[dict[str, Any]]) -> ConfigurationError:
    """The refusal to guess which of several batches is the one."""
    names = ", ".join(str(found.get("id")) for found in candidates)
    return ConfigurationError(
        f"the interrupted submission may have made any of these batches: {names}",
        hint="try again when they have ended: their results tell whose they are; or delete the job file to start anew",
    )


def decode_state(found: Any) -> JobState:
    """How far a batch is. Raises ReplyError for what is none."""
    status = as_text(found.get("processing_status")) if isinstance(found, dict) else None
    if status is None:
        raise ReplyError("the answer is no batch", hint="does base_url lead to a Messages API with batches?")
    counts = _counts(found)
    return JobState(
        status=_ended_as(counts) if has_ended(found) else "cancelling" if status == "canceling" else "running",
        provider_status=status,
        succeeded=counts["succeeded"],
        failed=sum(counts[fate] for fate in _FATES[1:]),
        completed_at=parse_timestamp(found.get("ended_at")),
        expires_at=parse_timestamp(found.get("expires_at")),
    )


def _ended_as(counts: dict[str, int]) -> DeferredStatus:
    """What became of a batch: the one fate of all its requests, or partly this and partly that."""
    fates = [fate for fate in _FATES if counts[fate]]
    if fates == ["succeeded"]:
        return "completed"
    if len(fates) > 1:
        return "partial"
    endings: dict[str, DeferredStatus] = {"canceled": "cancelled", "expired": "expired"}
    return endings.get(fates[0], "failed") if fates else "failed"


def _counts(found: dict[str, Any]) -> dict[str, int]:
    counts = found.get("request_counts")
    return {name: read_count(counts, name) or 0 for name in ("processing", *_FATES)}


def iter_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that come in pieces, without blank ones. Only a line feed ends one: JSON may hold other breaks."""
    pending: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending.append(first)
        for other in others:
            yield b"".join(pending)
            pending = [other]
    yield b"".join(pending)


def iter_rows(chunks: Iterable[bytes]) -> Iterator[Any]:
    """The rows of results that come in pieces, one at a time. Raises ReplyError for one that is not JSON."""
    for line in filter(bytes.strip, iter_lines(chunks)):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ReplyError("a row of the results is not valid JSON, perhaps cut off", retryable=True) from error
        yield row


def decode_row(row: Any, tag: str) -> DeferredRow:
    """One row of results; that of a request with another tag keeps its id, which nobody asked for."""
    result = row.get("result") if isinstance(row, dict) else None
    result = result if isinstance(result, dict) else {}
    kind = as_text(result.get("type"))
    message = HttpResponse(status=200, body=result.get("message")) if kind == "succeeded" else None
    return DeferredRow(
        custom_id=_custom_id(row).removesuffix(f"-{tag}"),
        status=_STATUSES.get(kind or "", "failed"),
        response=message,
        error=_error(kind, result),
        provider_status=kind,
    )


def _custom_id(row: Any) -> str:
    return (as_text(row.get("custom_id")) if isinstance(row, dict) else None) or ""


def _error(kind: str | None, result: dict[str, Any]) -> str | None:
    """The text of an error, which is an answer's body of its own; None where the status says it all."""
    if kind == "errored":
        return error_message(result.get("error"))
    return None if kind in _STATUSES else f"the row holds no known result: {kind}"


def read_objects(body: Any) -> list[dict[str, Any]]:
    """What stands on one page of a list. Raises ReplyError for what is no list."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ReplyError("the answer is no list", hint="does base_url lead to a Messages API with batches and files?")
    return [item for item in data if isinstance(item, dict)]


def build_next_query(body: dict[str, Any]) -> dict[str, str]:
    """The query for the page after this one, in the form of newer or of older lists; empty after the last."""
    cursor, last = as_text(body.get("next_page")), as_text(body.get("last_id"))
    if cursor:
        return {"page": cursor}
    return {"after_id": last} if body.get("has_more") and last else {}


def decode_uploads(files: Iterable[dict[str, Any]], mark: str) -> list[Asset]:
    """Those of the stored files whose names begin with the mark."""
    return [
        Asset(
            id=file["id"],
            mime_type=as_text(file.get("mime_type")) or "",
            expires_at=parse_timestamp(file.get("expires_at")),
        )
        for file in files
        if isinstance(file.get("id"), str) and (as_text(file.get("filename")) or "").startswith(mark)
    ]


def parse_timestamp(written: Any) -> float | None:
    """A time as RFC 3339 writes it, in seconds since the epoch; None for anything else."""
    try:
        moment = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
