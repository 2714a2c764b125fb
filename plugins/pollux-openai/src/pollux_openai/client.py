"""What carries the calls: the core's HTTP client, with the SDK for files; or the caller's SDK client for all."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pollux_openai import batching
from pollux_sync.data.handles import is_terminal
from pollux_sync.data.mime import OCTET_STREAM
from pollux_sync.data.request import Asset
from pollux_sync.errors import is_refusal
from pollux_sync.wire.bodies import convert_response
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text
from pollux_sync.wire.http import STREAM_HEADERS, open_client
from pollux_sync.wire.sdkerrors import convert_body_errors, convert_sdk_errors
from pollux_sync.wire.sdks import DirectCarrier, SDKCarrier, open_sdk_stream, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai import OpenAI

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import DeferredJob, JobState
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.request import DeferredBatch, DeferredRow
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import EventStream

#: Answers to the cancellation of a job that has ended.
_NOTHING_TO_CANCEL = frozenset({400, 409})
_NOT_FOUND = 404
_BATCHES_A_PAGE = 100
_FILES_A_PAGE = 10_000


def open_carrier(config: ConfigValues, info: ProviderInfo) -> DirectCarrier | SDKCarrier:
    """The carrier that the configuration asks for."""
    if config.client is not None:
        return OpenAICarrier(config.client)

    def make_files() -> tuple[SDKCarrier, Callable[[], object]]:
        from openai import OpenAI

        client = OpenAI(api_key=config.api_key, base_url=config.base_url or info.base_url, max_retries=0)
        return OpenAICarrier(client), client.close

    return DirectCarrier(open_client(config, info), make_files)


class OpenAICarrier(SDKCarrier):
    """Every call through the openai SDK, in its raw form."""

    def __init__(self, client: OpenAI) -> None:
        import httpx2
        import openai

        self._sdk = openai
        self._http = httpx2
        self._client = client.with_options(max_retries=0)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange."""
        deadline = time.monotonic() + timeout_s
        kind = self._http.Response
        # The key that the SDK would make names a request that is repeated: this one is not.
        options: Any = {"timeout": timeout_s, "idempotency_key": ""}
        with convert_sdk_errors(self._sdk):
            if request.method == "GET":
                raw = self._client.get(request.path, cast_to=kind, stream=True, options=options)
            else:
                raw = self._client.post(request.path, body=request.body, cast_to=kind, stream=True, options=options)
        return read_response(raw, deadline)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """An exchange whose answer comes as server-sent events. Raises what `send` raises; so does reading them."""
        options: Any = {"timeout": timeout_s, "headers": STREAM_HEADERS}
        with convert_body_errors(), convert_sdk_errors(self._sdk):
            raw = self._client.post(
                request.path, body=request.body, cast_to=self._http.Response, stream=True, options=options
            )
        return open_sdk_stream(raw, timeout_s)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, convert_sdk_errors(self._sdk):
            stored = self._client.files.create(
                file=(name, stream, source.mime_type),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": round(lifetime_s)},
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=stored.expires_at)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with convert_sdk_errors(self._sdk):
            self._client.files.delete(asset.id, timeout=timeout_s)

    def submit(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Store the lines of a job, streamed, and make it; where it is refused, nothing stays stored."""
        files, batches = self._client.files.with_raw_response, self._client.batches.with_raw_response
        with batch.path.open("rb") as stream:
            stored = self._asked(
                files.create,
                timeout_s,
                file=(f"{batch.mark}.jsonl", stream, "application/jsonl"),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": batching.LIFETIME_S},
            )
        file_id = batching.id_in(stored)
        try:
            told = self._asked(batches.create, timeout_s, **batching.creation_of(batch, file_id))
        except HttpError as error:
            if is_refusal(error.response.status):
                with suppress(HttpError, ReplyError, OSError):
                    self._forget(file_id, timeout_s)
            raise
        return batching.job_of({"input_file_id": file_id} | told, batch)

    def find(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """The job that was made of the batch. Raises ConfigurationError for several."""
        batches = self._client.batches.with_raw_response
        return batching.found_among(self._pages(batches.list, timeout_s, limit=_BATCHES_A_PAGE), batch)

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """The stored files whose names begin with the mark."""
        files = self._client.files.with_raw_response
        stored = self._pages(files.list, timeout_s, limit=_FILES_A_PAGE)
        names = ((as_text(file.get("id")), as_text(file.get("filename")) or "") for file in stored)
        return [
            Asset(id=file_id, mime_type=OCTET_STREAM) for file_id, name in names if file_id and name.startswith(mark)
        ]

    def inspect(self, job: DeferredJob, timeout_s: float) -> JobState:
        """How far a job is."""
        return batching.state_of(self._batch(job, timeout_s), job)

    def collect(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """Yield the rows of the output file and of the error file as they arrive."""
        told = self._batch(job, timeout_s)
        for file_id in filter(None, map(as_text, map(told.get, ("output_file_id", "error_file_id")))):
            yield from map(batching.row_of, self._lines(file_id, timeout_s))

    def cancel(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask for a job to be cancelled; fine for one that has ended, or is being cancelled."""
        try:
            self._asked(self._client.batches.with_raw_response.cancel, timeout_s, job.job_id)
        except HttpError as error:
            if error.response.status not in _NOTHING_TO_CANCEL:
                raise
            status = self.inspect(job, timeout_s).status
            if status != "cancelling" and not is_terminal(status):
                raise

    def release(self, job: DeferredJob, timeout_s: float) -> None:
        """Delete the files of a job's requests; fine for those that are gone."""
        for file_id in job.provider_state.get("files", ()):
            self._forget(file_id, timeout_s)

    def _batch(self, job: DeferredJob, timeout_s: float) -> dict[str, Any]:
        return self._asked(self._client.batches.with_raw_response.retrieve, timeout_s, job.job_id)

    def _forget(self, file_id: str, timeout_s: float) -> None:
        try:
            self._asked(self._client.files.with_raw_response.delete, timeout_s, file_id)
        except HttpError as error:
            if error.response.status != _NOT_FOUND:
                raise

    def _pages(self, ask: Callable[..., Any], timeout_s: float, **query: Any) -> Iterator[dict[str, Any]]:
        """Everything in a list, page by page as it is read."""
        cursor = None
        while True:
            page = self._asked(ask, timeout_s, **query)
            data = page.get("data")
            items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
            yield from items
            last = as_text(items[-1].get("id")) if items else None
            if not page.get("has_more") or last in {None, cursor}:
                return
            cursor = query["after"] = last

    def _asked(self, ask: Callable[..., Any], timeout_s: float, *arguments: Any, **fields: Any) -> dict[str, Any]:
        """The JSON object that the SDK's raw method gets."""
        with convert_sdk_errors(self._sdk):
            raw = ask(*arguments, timeout=timeout_s, **fields)
        response = convert_response(raw.http_response)
        if not isinstance(response.body, dict):
            raise ReplyError(f"the answer is a JSON {type(response.body).__name__}, not an object", response=response)
        return response.body

    def _lines(self, file_id: str, timeout_s: float) -> Iterator[bytes]:
        content = self._client.files.with_streaming_response.content
        with convert_body_errors(), convert_sdk_errors(self._sdk), content(file_id, timeout=timeout_s) as response:
            yield from batching.lines_in(response.iter_bytes())
