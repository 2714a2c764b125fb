"""Carriers: the core's HTTP client with the anthropic SDK for files and jobs, or the caller's SDK client alone."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pollux_anthropic import batching
from pollux_anthropic.encoding import BETA_HEADER, FILES_BETA, VERSION_HEADER
from pollux_sync.plugin import (
    STREAM_HEADERS,
    Asset,
    ConfigurationError,
    DirectCarrier,
    HttpError,
    SDKCarrier,
    convert_body_errors,
    convert_response,
    convert_sdk_errors,
    is_terminal,
    iter_pages,
    open_client,
    open_sdk_stream,
    read_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from anthropic import Anthropic

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

#: The largest pages that the lists have, for as few requests as possible.
_PAGE_SIZE = 1000
#: The statuses with which the service may refuse to cancel a batch that has ended.
_TOO_LATE = frozenset({400, 409, 422})


def open_carrier(config: ConfigValues, info: ProviderInfo) -> DirectCarrier[AnthropicCarrier] | AnthropicCarrier:
    """Open the carrier for a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is not None:
        return AnthropicCarrier(config.client)

    def make_files() -> tuple[AnthropicCarrier, Callable[[], object]]:
        # Called when the first file is stored: a script without files and jobs never imports the SDK, which is slow.
        from anthropic import Anthropic

        client = Anthropic(api_key=config.api_key, base_url=config.base_url or info.base_url, max_retries=0)
        return AnthropicCarrier(client), client.close

    return DirectCarrier(open_client(config, info), make_files)


class AnthropicCarrier(SDKCarrier):
    """Sends requests, files and jobs through an anthropic SDK client, and reads the raw responses."""

    def __init__(self, client: Anthropic) -> None:
        import anthropic
        import httpx2

        self._sdk = anthropic
        self._raw = httpx2.Response
        # The core's retry policy is the only one: two layers would multiply the attempts and hide them.
        self._client = client.with_options(max_retries=0)
        self._is_bedrock = isinstance(client, anthropic.AnthropicBedrock)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""
        deadline = time.monotonic() + timeout_s
        path, _, query = request.path.partition("?")
        options: Any = {"timeout": timeout_s, "headers": self._build_headers(request), "params": dict(parse_qsl(query))}
        # ``stream=True`` leaves the body unread: `read_response` reads it within the deadline and the size limit.
        with convert_sdk_errors(self._sdk):
            if request.method == "GET":
                raw = self._client.get(path, cast_to=self._raw, stream=True, options=options)
            else:
                raw = self._client.post(path, body=request.body, cast_to=self._raw, stream=True, options=options)
        return read_response(raw, deadline)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events."""
        # Bedrock streams in the event format of AWS, which our parser does not read.
        if self._is_bedrock:
            raise ConfigurationError(
                "the client of Bedrock streams in a format of its own",
                hint="call run() or run_many(), or pass another client",
            )
        options: Any = {"timeout": timeout_s, "headers": self._build_headers(request) | STREAM_HEADERS}
        # Our parser reads the raw response: it is several times as fast as the SDK's typed events.
        with self._convert_errors():
            raw = self._client.post(request.path, body=request.body, cast_to=self._raw, stream=True, options=options)
        return open_sdk_stream(raw, timeout_s)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, convert_sdk_errors(self._sdk):
            stored = self._client.beta.files.upload(
                file=(name, stream, source.mime_type),
                # A file that an aborted call leaves behind expires.
                expires_in_seconds=round(lifetime_s),
                extra_headers=self._build_beta_header(FILES_BETA),
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=_read_expiry(stored))

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        headers = self._build_beta_header(FILES_BETA)
        with convert_sdk_errors(self._sdk):
            self._client.beta.files.delete(asset.id, extra_headers=headers, timeout=timeout_s)

    def submit(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Create a batch, its requests streamed from their file."""
        # The length is known, so the body need not be sent in chunks of unknown total size.
        headers = {"Content-Type": "application/json", "Content-Length": str(batching.measure_body(batch))}
        # The requests of a batch have no headers of their own, so the batch always gets the beta that lets them refer
        # to files.
        headers |= self._build_beta_header(FILES_BETA)
        remote = self._post(batching.PATH, timeout_s, headers, batching.BatchBody(batch.path))
        return batching.decode_job(remote, batch)

    def find(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """Find the batch of an interrupted submission. Raises ConfigurationError if it may be one of several."""
        candidates = []
        for remote in self._iter_objects(batching.PATH, timeout_s):
            # The list begins with the newest batch: stop reading where only older ones follow.
            if batching.is_older(remote, batch):
                break
            if batching.is_possible_match(remote, batch):
                is_match = self._is_match(remote, batch, timeout_s)
                if is_match:
                    return batching.decode_job(remote, batch)
                if is_match is None:
                    candidates.append(remote)
        # A batch without results is recognised only by its time and size. Of two, a guess may collect the wrong one.
        if len(candidates) > 1:
            raise batching.build_ambiguity_error(candidates)
        return batching.decode_job(candidates[0], batch) if candidates else None

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """Return the stored files whose names begin with the mark."""
        files = self._iter_objects("/v1/files", timeout_s, self._build_beta_header(FILES_BETA))
        return batching.decode_uploads(files, mark)

    def inspect(self, job: DeferredJob, timeout_s: float) -> JobState:
        """Return the state of a batch."""
        return batching.decode_state(self._get(f"{batching.PATH}/{job.job_id}", timeout_s))

    def collect(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """Return an iterator over the rows of a batch, which are read as they arrive."""
        tag = job.provider_state.get("tag", "")
        return (batching.decode_row(row, tag) for row in self._iter_results(job.job_id, timeout_s))

    def cancel(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask the service to cancel a batch. Does nothing for one that has ended."""
        try:
            self._post(f"{batching.PATH}/{job.job_id}/cancel", timeout_s, {}, None)
        except HttpError as error:
            # The status alone does not say why the service refused: the batch's state does.
            is_late = error.response.status in _TOO_LATE
            if not is_late or not is_terminal(self.inspect(job, timeout_s).status):
                raise

    def _is_match(self, remote: dict[str, Any], batch: DeferredBatch, timeout_s: float) -> bool | None:
        """Return whether the results of a batch answer ``batch``; None before it has results."""
        if not batching.has_ended(remote) or not remote.get("results_url"):
            return None
        # One row is enough. Closing the iterator ends the download of the others.
        with closing(self._iter_results(remote["id"], timeout_s)) as rows:
            row = next(rows, None)
        return None if row is None else batching.is_own_row(row, batch)

    def release(self, job: DeferredJob, timeout_s: float) -> None:
        """Do nothing: only answers are stored for a batch, and the core deletes the uploads."""

    def _iter_results(self, job_id: str, timeout_s: float) -> Generator[Any, None, None]:
        with self._convert_errors():
            options: Any = {"timeout": timeout_s, "headers": {"Accept": "application/binary"}}
            # Not ``results_url``: it leads to the service itself, past the caller's proxy.
            path = f"{batching.PATH}/{job_id}/results"
            raw = self._client.get(path, cast_to=self._raw, stream=True, options=options)
            with closing(raw):
                yield from batching.iter_rows(raw.iter_bytes())

    def _iter_objects(
        self, path: str, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list. Each page is requested when the one before it has been read."""

        def fetch_page(next_query: dict[str, str] | None) -> Any:
            return self._get(path, timeout_s, headers, {"limit": str(_PAGE_SIZE)} | (next_query or {}))

        for page in iter_pages(fetch_page, batching.build_next_query):
            yield from batching.read_objects(page)

    def _get(
        self,
        path: str,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        options: Any = {"timeout": timeout_s, "headers": headers or {}, "params": query or {}}
        with self._convert_errors():
            raw = self._client.get(path, cast_to=self._raw, options=options)
        return convert_response(raw).body

    def _post(self, path: str, timeout_s: float, headers: Mapping[str, str], content: Any) -> Any:
        options: Any = {"timeout": timeout_s, "headers": headers}
        with self._convert_errors():
            raw = self._client.post(path, content=content, cast_to=self._raw, options=options)
        return convert_response(raw).body

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert the exceptions of the SDK and of its HTTP client to those that the core knows."""
        try:
            # Both: a body that is read in chunks raises the HTTP client's exceptions, past the SDK.
            with convert_body_errors(), convert_sdk_errors(self._sdk):
                yield
        except self._sdk.AnthropicError as error:
            # The clients of Bedrock and Vertex raise this plain base class for what their clouds lack, e.g. batches.
            raise ConfigurationError(
                f"this client cannot do it: {error}", hint="pass a client of Anthropic's own API, or call run_many()"
            ) from error

    def _build_headers(self, request: HttpRequest) -> dict[str, str]:
        """Return the headers of a request, except for the version of the API."""
        # The SDK sends the version that belongs to its client's way of authentication.
        headers = {name: value for name, value in request.headers.items() if name != VERSION_HEADER}
        return headers | (self._build_beta_header(headers[BETA_HEADER]) if BETA_HEADER in headers else {})

    def _build_beta_header(self, betas: str) -> dict[str, str]:
        """Return the header with ``betas`` added to those that the client's owner set."""
        # A header of a request replaces the client's default, which would lose the owner's betas.
        own = self._client.default_headers.get(BETA_HEADER)
        return {BETA_HEADER: f"{own},{betas}" if isinstance(own, str) and own else betas}


def _read_expiry(stored: Any) -> float | None:
    expires_at = getattr(stored, "expires_at", None)
    return expires_at.timestamp() if isinstance(expires_at, datetime) else None
