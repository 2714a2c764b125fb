"""The carriers of calls: the core's HTTP client with the SDK for files, or the caller's SDK client for everything."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    REDACTED,
    APIError,
    Asset,
    ConfigurationError,
    DirectCarrier,
    HttpError,
    HttpResponse,
    ReplyError,
    SDKCarrier,
    decode_response,
    open_client,
    open_sdk_stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from google.genai import Client
    from google.genai.types import File, HttpOptions, HttpRetryOptions

    from pollux_sync.plugin import ConfigValues, EventStream, FaultKind, HttpRequest, ProviderInfo, Source

#: How long to wait for an uploaded file to be processed, in seconds. A file that takes longer counts as failed.
MAX_PROCESSING_S = 300.0
#: The SDK passes our time limit on to the service, which is said to refuse less than this. A shorter limit of ours is
#: kept on this side only.
_MIN_SERVER_TIMEOUT_S = 10
#: The beginnings of paths that only the Gemini API has. Vertex AI keeps files and batches elsewhere, or not at all.
_PATHS_NOT_ON_VERTEX = ("batches", "files")
#: A base url with the API version at its end.
_VERSIONED_URL = re.compile(r"(?P<root>.*)/(?P<version>v\d+\w*)")


def open_carrier(
    config: ConfigValues, info: ProviderInfo, default_version: str
) -> DirectCarrier[GeminiCarrier] | GeminiCarrier:
    """Open the carrier of a configuration: the caller's SDK client, or the core's client with an SDK's for files."""
    if config.client is not None:
        return GeminiCarrier(config.client)
    root, version = resolve_address(config, info, default_version)
    client = open_client(config, info, base_url=f"{root}/{version}")

    def make_files() -> tuple[GeminiCarrier, Callable[[], object]]:
        files = GeminiCarrier(_open_sdk_client(config.api_key, root, version))
        return files, files.close_all

    return DirectCarrier(client, make_files)


def resolve_address(config: ConfigValues, info: ProviderInfo, default_version: str) -> tuple[str, str]:
    """Return the address without a version, and the version.

    An ``api_version`` in the configuration counts before a version at the end of ``base_url``.
    """
    root = (config.base_url or info.base_url or "").rstrip("/")
    # The SDK wants base_url without a version, other clients with one: both are understood.
    match = _VERSIONED_URL.fullmatch(root)
    root, version = (match["root"], match["version"]) if match else (root, default_version)
    return root, config.provider_options.get("api_version", version)


def _open_sdk_client(api_key: str | None, base_url: str, version: str) -> Client:
    from google.genai import Client
    from google.genai.types import HttpOptions

    # A redirect could take the key and the file to another host.
    options = HttpOptions(base_url=base_url, api_version=version, client_args={"follow_redirects": False})
    return Client(vertexai=False, api_key=api_key, http_options=options)


class GeminiCarrier(SDKCarrier):
    """Sends every call through a google-genai client, beneath its typed methods, without its retries."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # The typed calls of the SDK rebuild bodies and drop fields that they do not know. Its inner client sends bodies
        # unchanged.
        self._raw: Any = client._api_client  # noqa: SLF001
        self._closed = threading.Event()

    @property
    def is_vertex(self) -> bool:
        """True for a client of Vertex AI."""
        return bool(self._raw.vertexai)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer.

        Raises APIError too, for bad credentials, and ConfigurationError for a path that Vertex AI does not have.
        """
        # The SDK changes the body that it is given, so it gets a copy.
        path, body = self._build_path(request), copy.deepcopy(request.body or {})
        with self._convert_errors():
            answer = self._raw.request(request.method.lower(), path, body, _build_http_options(timeout_s))
        return decode_response(200, _lowercase_names(answer.headers), answer.body.encode())

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of events, each within ``timeout_s`` of the one before.

        Raises what `send` raises, and so does reading the events.
        """
        from google.genai.types import HttpOptions

        path, body = self._build_path(request), copy.deepcopy(request.body or {})
        options = HttpOptions(retry_options=_build_retry_options())
        with self._convert_errors():
            sdk_request = self._raw._build_request(request.method, path, body, options)  # noqa: SLF001
            # The timeout is not set as an option: the SDK would send it on, and the service end a long answer after it.
            sdk_request.timeout = timeout_s
            # The public request_streamed cannot be closed, so its unread response is taken from beneath it.
            raw = self._raw._request(sdk_request, options, stream=True).response_stream  # noqa: SLF001
        # Responses of httpx and of its successor have extensions. Those of requests, which the SDK uses to show a
        # client certificate, do not.
        if hasattr(raw, "extensions"):
            return open_sdk_stream(raw, timeout_s)
        from pollux_gemini.receiving import open_requests_stream

        return open_requests_stream(raw, timeout_s, self._convert_errors)

    def _build_path(self, request: HttpRequest) -> str:
        path = request.path.removeprefix("/")
        if self.is_vertex and path.startswith(_PATHS_NOT_ON_VERTEX):
            raise build_vertex_batch_error()
        # On Vertex AI the models of Google are one publisher's among others.
        is_model_path = path.startswith(("models/", "models?"))
        return f"publishers/google/{path}" if self.is_vertex and is_model_path else path

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed, and wait until it can be used. Gemini keeps it for two days.

        Raises what `send` raises, APIError for content that the service cannot process, OSError for an unreadable file.
        """
        if self.is_vertex:
            raise ConfigurationError(
                f"Vertex AI stores no files, so {source.identifier!r} cannot be uploaded",
                hint="put it into Cloud Storage and pass Source.from_uri('gs://...', mime_type=...)",
            )
        deadline = time.monotonic() + min(timeout_s, MAX_PROCESSING_S)
        config = _build_config(timeout_s) | {"mime_type": source.mime_type, "display_name": name}
        with source.open() as stream, self._convert_errors():
            stored = self._client.files.upload(file=stream, config=config)
        expires = stored.expiration_time.timestamp() if stored.expiration_time else None
        asset = Asset(id=stored.name or "", uri=stored.uri, mime_type=source.mime_type, expires_at=expires)
        try:
            self._wait_until_ready(stored, deadline, timeout_s)
        # The caller does not get the asset, so it could not delete it; even Ctrl-C must not leave the file behind.
        except BaseException:
            with suppress(Exception):
                self.delete(asset, timeout_s)
            raise
        return asset

    def _wait_until_ready(self, stored: File, deadline: float, timeout_s: float) -> None:
        for wait_s in iter_poll_waits():
            if _read_state(stored) == "FAILED":
                reason = stored.error.message if stored.error else None
                raise _build_unusable_error(stored, reason or "no reason given", "invalid_request")
            if _read_state(stored) != "PROCESSING":
                return
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _build_unusable_error(stored, "it was not ready in time", "timeout")
            if self._closed.wait(min(wait_s, left_s)):
                raise ConnectionAbortedError("this client has been closed")
            with self._convert_errors():
                stored = self._client.files.get(name=stored.name or "", config=_build_config(timeout_s))

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with self._convert_errors():
            self._client.files.delete(name=asset.id, config=_build_config(timeout_s))

    def download(self, name: str, path: Path, timeout_s: float) -> None:
        """Write a stored file's content to ``path``, streamed."""
        with self._convert_errors():
            self._client.files.download(file=name, destination=path, config=_build_config(timeout_s))

    def close(self) -> None:
        """Wake threads that wait for a file. The client itself belongs to its owner and stays open."""
        self._closed.set()

    def close_all(self) -> None:
        """Wake threads that wait for a file, and close the client."""
        self._closed.set()
        self._client.close()

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert exceptions of the SDK, of its HTTP library and of its credentials for the core's classifier."""
        # Imported here: the module must load without the SDK, which only files need.
        from google.auth.exceptions import GoogleAuthError
        from google.genai.errors import APIError as SDKError

        try:
            yield
        except SDKError as error:
            # Without the cause: its text may contain the key.
            raise HttpError(self._convert_error_response(error)) from None
        except _find_http_errors("TimeoutException") as error:
            raise TimeoutError("the SDK's request timed out") from error
        except _find_http_errors("RequestError") as error:
            raise ConnectionError(f"the SDK's request failed: {error}") from error
        except GoogleAuthError as error:
            raise APIError(
                f"the client's credentials failed: {error}",
                kind="auth",
                hint="check the credentials of Config(client=...)",
            ) from error
        # The SDK's decoders raise these for an answer that they cannot read.
        except (ValueError, KeyError, TypeError) as error:
            raise ReplyError("the SDK cannot read the answer, perhaps it was cut off", retryable=True) from error

    def _convert_error_response(self, error: Any) -> HttpResponse:
        headers = _lowercase_names(getattr(error.response, "headers", {}))
        # Google's errors may quote the key that was refused.
        text = json.dumps(error.details)
        if self._raw.api_key:
            text = text.replace(self._raw.api_key, REDACTED)
        return HttpResponse(status=error.code, headers=headers, body=json.loads(text))


def build_vertex_batch_error() -> ConfigurationError:
    """Build the error of deferring requests with a client of Vertex AI."""
    return ConfigurationError(
        "Vertex AI keeps its batches in Cloud Storage or BigQuery, which this provider does not support",
        hint="use a key of the Gemini API for deferred requests, or call run_many()",
    )


def iter_poll_waits() -> Iterator[float]:
    """Yield the waits between requests for a file's state, in seconds: short at first, growing to five."""
    # Images are ready almost at once, films take minutes.
    return (min(0.1 * 1.5**attempt, 5.0) for attempt in count())


def _build_http_options(timeout_s: float) -> HttpOptions:
    from google.genai.types import HttpOptions

    return HttpOptions(
        timeout=math.ceil(timeout_s * 1000),
        headers={"X-Server-Timeout": str(max(math.ceil(timeout_s), _MIN_SERVER_TIMEOUT_S))},
        retry_options=_build_retry_options(),
    )


def _build_retry_options() -> HttpRetryOptions:
    from google.genai.types import HttpRetryOptions

    # Retries belong to the core's RetryPolicy alone. One attempt switches off those of the SDK.
    return HttpRetryOptions(attempts=1)


def _lowercase_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _build_config(timeout_s: float) -> Any:
    return {"http_options": _build_http_options(timeout_s)}


def _find_http_errors(name: str) -> tuple[type[Exception], ...]:
    # The SDK sends with httpx, or with its successor. A library that is not imported cannot have raised.
    libraries = (sys.modules.get(library) for library in ("httpx", "httpx2"))
    return tuple(getattr(library, name) for library in libraries if library is not None)


def _read_state(stored: File) -> str | None:
    return stored.state.value if stored.state else None


def _build_unusable_error(stored: File, reason: str, kind: FaultKind) -> APIError:
    return APIError(
        f"Gemini could not process {stored.display_name!r}: {reason}",
        kind=kind,
        hint="check that the file is complete, of the declared type, and can be processed within timeout_s "
        f"and {MAX_PROCESSING_S:g} s",
    )
