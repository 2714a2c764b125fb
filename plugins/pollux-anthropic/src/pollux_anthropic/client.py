"""What carries the calls: the core's HTTP client, with the SDK for files and batches; or the caller's SDK client."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pollux_anthropic import batching
from pollux_anthropic.encoding import BETA_HEADER, FILES_BETA, VERSION_HEADER
from pollux_sync.data.handles import is_terminal
from pollux_sync.data.request import Asset
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.bodies import convert_response
from pollux_sync.wire.faults import HttpError
from pollux_sync.wire.http import STREAM_HEADERS, open_client
from pollux_sync.wire.sdkerrors import convert_body_errors, convert_sdk_errors
from pollux_sync.wire.sdks import DirectCarrier, SDKCarrier, open_sdk_stream, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from anthropic import Anthropic

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import DeferredJob, JobState
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.request import DeferredBatch, DeferredRow
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import EventStream

_PAGE = 1000
#: How the service may refuse to cancel a batch that has ended.
_TOO_LATE = frozenset({400, 409, 422})


def open_carrier(config: ConfigValues, info: ProviderInfo) -> DirectCarrier | SDKCarrier:
    """The carrier that the configuration asks for."""
    if config.client is not None:
        return AnthropicCarrier(config.client)

    def make_files() -> tuple[SDKCarrier, Callable[[], object]]:
        from anthropic import Anthropic

        client = Anthropic(api_key=config.api_key, base_url=config.base_url or info.base_url, max_retries=0)
        return AnthropicCarrier(client), client.close

    return DirectCarrier(open_client(config, info), make_files)


class AnthropicCarrier(SDKCarrier):
    """Every call through the anthropic SDK, in its raw form."""

    def __init__(self, client: Anthropic) -> None:
        import anthropic
        import httpx2

        self._sdk = anthropic
        self._raw = httpx2.Response
        self._client = client.with_options(max_retries=0)
        self._is_bedrock = isinstance(client, anthropic.AnthropicBedrock)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange."""
        deadline = time.monotonic() + timeout_s
        path, _, query = request.path.partition("?")
        options: Any = {"timeout": timeout_s, "headers": self._headers(request), "params": dict(parse_qsl(query))}
        with convert_sdk_errors(self._sdk):
            if request.method == "GET":
                raw = self._client.get(path, cast_to=self._raw, stream=True, options=options)
            else:
                raw = self._client.post(path, body=request.body, cast_to=self._raw, stream=True, options=options)
        return read_response(raw, deadline)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """An exchange whose answer comes as server-sent events."""
        if self._is_bedrock:
            raise ConfigurationError(
                "the client of Bedrock streams in a format of its own",
                hint="call run() or run_many(), or pass another client",
            )
        options: Any = {"timeout": timeout_s, "headers": self._headers(request) | STREAM_HEADERS}
        with self._wire_errors():
            raw = self._client.post(request.path, body=request.body, cast_to=self._raw, stream=True, options=options)
        return open_sdk_stream(raw, timeout_s)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, convert_sdk_errors(self._sdk):
            stored = self._client.beta.files.upload(
                file=(name, stream, source.mime_type),
                expires_in_seconds=round(lifetime_s),
                extra_headers=self._betas(FILES_BETA),
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=_timestamp(stored))

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with convert_sdk_errors(self._sdk):
            self._client.beta.files.delete(asset.id, extra_headers=self._betas(FILES_BETA), timeout=timeout_s)

    def submit(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Make a batch, its requests streamed from their file.

        They come without their headers, so the batch always gets the beta that lets requests refer to files.
        """
        headers = {"Content-Type": "application/json", "Content-Length": str(batching.measure_body(batch))}
        made = self._post(batching.PATH, timeout_s, headers | self._betas(FILES_BETA), batching.BatchBody(batch.path))
        return batching.decode_job(made, batch)

    def find(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """The batch that was made after all. Raises ConfigurationError where it may be one of several."""
        candidates = []
        for found in self._listed(batching.PATH, timeout_s):
            if batching.is_older(found, batch):
                break
            if batching.is_possible_match(found, batch):
                is_it = self._is_it(found, batch, timeout_s)
                if is_it:
                    return batching.decode_job(found, batch)
                if is_it is None:
                    candidates.append(found)
        if len(candidates) > 1:
            raise batching.build_ambiguity_error(candidates)
        return batching.decode_job(candidates[0], batch) if candidates else None

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """The stored files whose names begin with the mark."""
        files = self._listed("/v1/files", timeout_s, self._betas(FILES_BETA))
        return batching.decode_uploads(files, mark)

    def inspect(self, job: DeferredJob, timeout_s: float) -> JobState:
        """How far a batch is."""
        return batching.decode_state(self._get(f"{batching.PATH}/{job.job_id}", timeout_s))

    def collect(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """The results of a batch, as they come over the wire."""
        tag = job.provider_state.get("tag", "")
        return (batching.decode_row(row, tag) for row in self._results(job.job_id, timeout_s))

    def cancel(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask for a batch to be cancelled, unless it has ended."""
        try:
            self._post(f"{batching.PATH}/{job.job_id}/cancel", timeout_s, {}, None)
        except HttpError as error:
            is_late = error.response.status in _TOO_LATE
            if not is_late or not is_terminal(self.inspect(job, timeout_s).status):
                raise

    def _is_it(self, found: dict[str, Any], batch: DeferredBatch, timeout_s: float) -> bool | None:
        """Whether this is the batch, by its results; None before there are any."""
        if not batching.has_ended(found) or not found.get("results_url"):
            return None
        with closing(self._results(found["id"], timeout_s)) as rows:
            row = next(rows, None)
        return None if row is None else batching.is_own_row(row, batch)

    def _results(self, job_id: str, timeout_s: float) -> Generator[Any, None, None]:
        """Rows from the batch's own address: ``results_url`` would lead past a proxy."""
        with self._wire_errors():
            options: Any = {"timeout": timeout_s, "headers": {"Accept": "application/binary"}}
            path = f"{batching.PATH}/{job_id}/results"
            raw = self._client.get(path, cast_to=self._raw, stream=True, options=options)
            with closing(raw):
                yield from batching.iter_rows(raw.iter_bytes())

    def _listed(
        self, path: str, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """A list's items, page by page."""
        query: dict[str, str] = {"limit": str(_PAGE)}
        cursor: dict[str, str] = {}
        while True:
            page = self._get(path, timeout_s, headers, query | cursor)
            yield from batching.read_objects(page)
            cursor = batching.build_next_query(page)
            if not cursor:
                return

    def _get(
        self,
        path: str,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        options: Any = {"timeout": timeout_s, "headers": headers or {}, "params": query or {}}
        with self._wire_errors():
            raw = self._client.get(path, cast_to=self._raw, options=options)
        return convert_response(raw).body

    def _post(self, path: str, timeout_s: float, headers: Mapping[str, str], content: Any) -> Any:
        options: Any = {"timeout": timeout_s, "headers": headers}
        with self._wire_errors():
            raw = self._client.post(path, content=content, cast_to=self._raw, options=options)
        return convert_response(raw).body

    @contextmanager
    def _wire_errors(self) -> Iterator[None]:
        """The SDK's exceptions as the core knows them, and those of its HTTP client, whose streams leave the SDK."""
        try:
            with convert_body_errors(), convert_sdk_errors(self._sdk):
                yield
        except self._sdk.AnthropicError as error:
            raise ConfigurationError(
                f"this client cannot do it: {error}", hint="pass a client of Anthropic's own API, or call run_many()"
            ) from error

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        """The request's headers; the API's version is the SDK's own, to which its way to log in belongs."""
        kept = {name: value for name, value in request.headers.items() if name != VERSION_HEADER}
        return kept | (self._betas(kept[BETA_HEADER]) if BETA_HEADER in kept else {})

    def _betas(self, wanted: str) -> dict[str, str]:
        """The beta header, with what the client's owner put there."""
        own = self._client.default_headers.get(BETA_HEADER)
        return {BETA_HEADER: f"{own},{wanted}" if isinstance(own, str) and own else wanted}


def _timestamp(stored: Any) -> float | None:
    expires_at = getattr(stored, "expires_at", None)
    return expires_at.timestamp() if isinstance(expires_at, datetime) else None
