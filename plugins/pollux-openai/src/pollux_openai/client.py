"""Carriers: the core's HTTP client with the openai SDK for files and jobs, or the caller's SDK client alone."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pollux_openai import batching
from pollux_sync.plugin import (
    OCTET_STREAM,
    STREAM_HEADERS,
    Asset,
    DirectCarrier,
    HttpError,
    ReplyError,
    SDKCarrier,
    as_text,
    convert_body_errors,
    convert_response,
    convert_sdk_errors,
    is_refusal,
    is_terminal,
    iter_pages,
    open_client,
    open_sdk_stream,
    read_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai import OpenAI

    from pollux_sync.plugin import (
        ConfigValues,
        DeferredBatch,
        DeferredJob,
        DeferredRow,
        EventStream,
        HttpRequest,
        HttpResponse,
        JobState,
        ProviderInfo,
        Source,
    )

#: The statuses with which the service refuses to cancel a job that has ended.
_TOO_LATE = frozenset({400, 409})
_NOT_FOUND = 404
#: The largest pages that the two lists have, for as few requests as possible.
_BATCHES_PER_PAGE = 100
_FILES_PER_PAGE = 10_000


def open_carrier(config: ConfigValues, info: ProviderInfo) -> DirectCarrier[OpenAICarrier] | OpenAICarrier:
    """Open the carrier for a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is not None:
        return OpenAICarrier(config.client)

    def make_files() -> tuple[OpenAICarrier, Callable[[], object]]:
        # Called when the first file is stored: a script without files and jobs never imports the SDK, which is slow.
        from openai import OpenAI

        client = OpenAI(api_key=config.api_key, base_url=config.base_url or info.base_url, max_retries=0)
        return OpenAICarrier(client), client.close

    return DirectCarrier(open_client(config, info), make_files)


class OpenAICarrier(SDKCarrier):
    """Sends requests, files and jobs through an openai SDK client, and reads the raw responses."""

    def __init__(self, client: OpenAI) -> None:
        import httpx2
        import openai

        self._sdk = openai
        self._raw = httpx2.Response
        # The core's retry policy is the only one: two layers would multiply the attempts and hide them.
        self._client = client.with_options(max_retries=0)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""
        deadline = time.monotonic() + timeout_s
        # The SDK would add an idempotency key, which serves to repeat a request. This one is never repeated.
        options: Any = {"timeout": timeout_s, "idempotency_key": ""}
        # ``stream=True`` leaves the body unread: `read_response` reads it within the deadline and the size limit.
        with convert_sdk_errors(self._sdk):
            if request.method == "GET":
                raw = self._client.get(request.path, cast_to=self._raw, stream=True, options=options)
            else:
                raw = self._client.post(
                    request.path, body=request.body, cast_to=self._raw, stream=True, options=options
                )
        return read_response(raw, deadline)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events."""
        options: Any = {"timeout": timeout_s, "headers": STREAM_HEADERS}
        # Our parser reads the raw response: it is several times as fast as the SDK's typed events.
        with convert_body_errors(), convert_sdk_errors(self._sdk):
            raw = self._client.post(request.path, body=request.body, cast_to=self._raw, stream=True, options=options)
        return open_sdk_stream(raw, timeout_s)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, convert_sdk_errors(self._sdk):
            stored = self._client.files.create(
                file=(name, stream, source.mime_type),
                purpose="user_data",
                # A file that an aborted call leaves behind expires.
                expires_after={"anchor": "created_at", "seconds": round(lifetime_s)},
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=stored.expires_at)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with convert_sdk_errors(self._sdk):
            self._client.files.delete(asset.id, timeout=timeout_s)

    def submit(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Store a job's input file, streamed, and create the job. If that is refused, the file is deleted."""
        files, batches = self._client.files.with_raw_response, self._client.batches.with_raw_response
        with batch.path.open("rb") as stream:
            stored = self._call_sdk(
                files.create,
                timeout_s,
                # The mark in the name lets the next submission find and delete the file if this one is interrupted.
                file=(f"{batch.mark}.jsonl", stream, "application/jsonl"),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": batching.LIFETIME_S},
            )
        file_id = batching.read_id(stored)
        try:
            remote = self._call_sdk(batches.create, timeout_s, **batching.build_job_fields(batch, file_id))
        except HttpError as error:
            # Only a refusal proves that there is no job. After any other failure one may exist and need the file.
            if is_refusal(error.response.status):
                # The refusal is what the caller must see, not a failure to tidy up after it.
                with suppress(HttpError, ReplyError, OSError):
                    self._delete_file(file_id, timeout_s)
            raise
        return batching.decode_job({"input_file_id": file_id} | remote, batch)

    def find(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """Find the job of an interrupted submission. Raises ConfigurationError if there are several."""
        batches = self._client.batches.with_raw_response
        return batching.find_job(self._iter_objects(batches.list, timeout_s, limit=_BATCHES_PER_PAGE), batch)

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """Return the stored files whose names begin with the mark."""
        files = self._client.files.with_raw_response
        stored = self._iter_objects(files.list, timeout_s, limit=_FILES_PER_PAGE)
        names = ((as_text(file.get("id")), as_text(file.get("filename")) or "") for file in stored)
        return [
            Asset(id=file_id, mime_type=OCTET_STREAM) for file_id, name in names if file_id and name.startswith(mark)
        ]

    def inspect(self, job: DeferredJob, timeout_s: float) -> JobState:
        """Return the state of a job."""
        return batching.decode_state(self._fetch_batch(job, timeout_s), job)

    def collect(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """Yield the rows of the output file, then those of the error file, as they arrive."""
        remote = self._fetch_batch(job, timeout_s)
        # A job without answers has no output file, one without errors no error file.
        for file_id in filter(None, map(as_text, map(remote.get, ("output_file_id", "error_file_id")))):
            yield from map(batching.decode_row, self._iter_file_lines(file_id, timeout_s))

    def cancel(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask the service to cancel a job. Does nothing for one that has ended, or is being cancelled."""
        try:
            self._call_sdk(self._client.batches.with_raw_response.cancel, timeout_s, job.job_id)
        except HttpError as error:
            if error.response.status not in _TOO_LATE:
                raise
            # The status alone does not say why the service refused: the job's state does.
            status = self.inspect(job, timeout_s).status
            if status != "cancelling" and not is_terminal(status):
                raise

    def release(self, job: DeferredJob, timeout_s: float) -> None:
        """Delete the input file of a job, if it is still there."""
        for file_id in job.provider_state.get("files", ()):
            self._delete_file(file_id, timeout_s)

    def _fetch_batch(self, job: DeferredJob, timeout_s: float) -> dict[str, Any]:
        return self._call_sdk(self._client.batches.with_raw_response.retrieve, timeout_s, job.job_id)

    def _delete_file(self, file_id: str, timeout_s: float) -> None:
        try:
            self._call_sdk(self._client.files.with_raw_response.delete, timeout_s, file_id)
        except HttpError as error:
            if error.response.status != _NOT_FOUND:
                raise

    def _iter_objects(self, method: Callable[..., Any], timeout_s: float, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list. Each page is requested when the one before it has been read."""

        def fetch_page(cursor: str | None) -> dict[str, Any]:
            return self._call_sdk(method, timeout_s, **query, **({"after": cursor} if cursor else {}))

        for page in iter_pages(fetch_page, batching.read_cursor):
            yield from batching.read_objects(page)

    def _call_sdk(self, method: Callable[..., Any], timeout_s: float, *arguments: Any, **fields: Any) -> dict[str, Any]:
        """Call a raw method of the SDK and return the JSON object that it receives."""
        # Raw answers, so that our decoders see what the service sent, with any version of the SDK.
        with convert_sdk_errors(self._sdk):
            raw = method(*arguments, timeout=timeout_s, **fields)
        response = convert_response(raw.http_response)
        if not isinstance(response.body, dict):
            raise ReplyError(f"the answer is a JSON {type(response.body).__name__}, not an object", response=response)
        return response.body

    def _iter_file_lines(self, file_id: str, timeout_s: float) -> Iterator[bytes]:
        content = self._client.files.with_streaming_response.content
        # Streamed, since the answers of a large job may not fit into memory.
        with convert_body_errors(), convert_sdk_errors(self._sdk), content(file_id, timeout=timeout_s) as response:
            yield from batching.iter_lines(response.iter_bytes())
