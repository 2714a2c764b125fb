"""Deferred jobs over the Files and Batches APIs: submitted, found again, inspected, collected, cancelled."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from pollux_openai import batching
from pollux_openai.files import (
    build_path,
    delete_file,
    find_files,
    iter_list_pages,
    read_id,
    require_object,
    store_file,
)
from pollux_sync.plugin import (
    HttpError,
    HttpRequest,
    Source,
    as_text,
    find_marked_jobs,
    is_refusal,
    read_list,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Client, DeferredBatch, DeferredJob, DeferredRow, HttpResponse, JobState

#: The largest page that the list of batches has.
_BATCHES_PER_PAGE = 100
_JSON_LINES = "application/jsonl"


def submit(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
    """Store a job's input file, streamed, and create the job. If that is refused, the file is deleted."""
    stored = store_file(
        client,
        Source.from_file(batch.path, mime_type=_JSON_LINES),
        timeout_s,
        # The mark in the name lets the next submission find and delete the file if this one is interrupted.
        name=batching.build_input_name(batch),
        mime_type=_JSON_LINES,
        purpose="batch",
        lifetime_s=batching.LIFETIME_S,
    )
    try:
        fields = batching.build_job_fields(batch, stored.id)
        response = client.send(HttpRequest(path="/batches", body=fields), timeout_s)
    except HttpError as error:
        # Only a refusal proves that there is no job. After any other failure one may exist and need the file.
        if is_refusal(error.response.status):
            # A failed deletion must not hide the refusal, which alone proves that there is no job.
            with suppress(Exception):
                delete_file(client, stored.id, timeout_s)
        raise
    return batching.build_job(read_id(response), batch, stored.id)


def find(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
    """Find the job of an interrupted submission by its mark. Raises ConfigurationError if there are several."""
    pages = iter_list_pages(client, f"/batches?limit={_BATCHES_PER_PAGE}", timeout_s)
    listed = ((page, [batching.decode_entry(remote) for remote in read_list(page, "data")]) for page in pages)
    found = find_marked_jobs(listed, batch)
    job = batching.choose_match([entry.remote for entry in found], batch)
    if job is None or job.provider_state["files"]:
        return job
    # The interrupted submission did not record its input file either, which the job needs while it runs.
    name = batching.build_input_name(batch)
    stored = [file_id for file_id, file_name in find_files(client, name, timeout_s) if file_name == name]
    return attrs.evolve(job, provider_state={"files": stored})


def inspect(job: DeferredJob, client: Client, timeout_s: float) -> JobState:
    """Return the state of a job."""
    return batching.decode_state(require_object(_fetch_job(client, job, timeout_s)), job)


def collect(job: DeferredJob, client: Client, timeout_s: float) -> Iterator[DeferredRow]:
    """Yield the rows of the output file, then those of the error file, as they arrive."""
    remote = require_object(_fetch_job(client, job, timeout_s))
    # A job without answers has no output file, one without errors no error file.
    for file_id in filter(None, map(as_text, map(remote.get, ("output_file_id", "error_file_id")))):
        request = HttpRequest(method="GET", path=build_path("files", file_id, "/content"))
        yield from map(batching.decode_row, client.read_lines(request, timeout_s))


def cancel(job: DeferredJob, client: Client, timeout_s: float) -> bool:
    """Ask the service to cancel a job."""
    response = client.send(HttpRequest(path=build_path("batches", job.job_id, "/cancel")), timeout_s)
    # A gateway's own answer does not say that the service has heard of it.
    batching.decode_state(require_object(response), job)
    return True


def release(job: DeferredJob, client: Client, timeout_s: float) -> bool:
    """Delete the input file of a job, if it is still there."""
    for file_id in job.provider_state.get("files", ()):
        delete_file(client, file_id, timeout_s)
    return True


def _fetch_job(client: Client, job: DeferredJob, timeout_s: float) -> HttpResponse:
    return client.send(HttpRequest(method="GET", path=build_path("batches", job.job_id)), timeout_s)
