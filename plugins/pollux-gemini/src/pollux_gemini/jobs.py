"""Deferred jobs as Gemini's batches: submitted, found again, inspected, collected, cancelled."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pollux_gemini import batching
from pollux_gemini.files import delete_file, find_files, iter_file_rows, store_file
from pollux_gemini.paging import iter_batch_pages
from pollux_sync.plugin import HttpError, Source, find_marked_jobs, is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Client, DeferredBatch, DeferredJob, DeferredRow, JobState


def submit(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
    """Create a batch, its requests inside of it or in a stored file. If that is refused, the file is deleted."""
    requests = batching.read_inline_requests(batch)
    if requests is not None:
        return batching.decode_job(client.send(batching.build_create_request(batch, requests), timeout_s), batch)
    source = Source.from_file(batch.path, mime_type="application/jsonl")
    asset = store_file(client, source, timeout_s, batch.mark)
    try:
        response = client.send(batching.build_create_request(batch, {"fileName": asset.id}), timeout_s)
    except HttpError as error:
        # Only a refusal proves that no batch was created. In any other case a batch may need the file.
        if is_refusal(error.response.status):
            with suppress(Exception):
                delete_file(client, asset.id, timeout_s)
        raise
    return batching.decode_job(response, batch, [asset.id])


def find(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
    """Find the batch of an interrupted submission by its mark."""
    pages = iter_batch_pages(client, timeout_s)
    found = find_marked_jobs(((page, batching.decode_entries(page)) for page in pages), batch)
    remote = batching.choose_match(found)
    if remote is None:
        return None
    # The interrupted submission did not record its input file either, which has the same name.
    uploads = find_files(client, batch.mark, timeout_s)
    return batching.build_job(remote, batch, [asset.id for name, asset in uploads if name == batch.mark])


def inspect(job: DeferredJob, client: Client, timeout_s: float) -> JobState:
    """Return the state of a batch."""
    response = client.send(batching.build_get_request(job.job_id), timeout_s)
    return batching.build_state(batching.decode_batch(response))


def collect(job: DeferredJob, client: Any, timeout_s: float) -> Iterator[DeferredRow]:
    """Yield the answers of a batch."""
    remote = batching.decode_batch(client.send(batching.build_get_request(job.job_id), timeout_s))
    if remote.answers_file is None:
        yield from batching.decode_inline_rows(remote.answers, job)
        return
    # Read line by line: the file of answers is never in memory as a whole.
    yield from batching.iter_rows(iter_file_rows(client, remote.answers_file, timeout_s))


def cancel(job: DeferredJob, client: Client, timeout_s: float) -> bool:
    """Ask the service to cancel a batch."""
    client.send(batching.build_cancel_request(job.job_id), timeout_s)
    return True


def release(job: DeferredJob, client: Client, timeout_s: float) -> bool:
    """Delete the input files of a batch that are still there."""
    for name in job.provider_state.get("files", ()):
        delete_file(client, name, timeout_s)
    return True
