"""The caller's google-genai client as a carrier. Loaded only for a configuration that has one."""

from __future__ import annotations

import copy
import json
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    STREAM_HEADERS,
    APIError,
    ConfigurationError,
    HttpError,
    HttpResponse,
    ReplyError,
    SDKCarrier,
    open_sdk_stream,
    read_response,
    read_sdk_lines,
    redact_secret,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from google.genai import Client as SDKClient
    from google.genai.types import HttpRetryOptions

    from pollux_sync.plugin import EventStream, HttpRequest

#: The beginnings of paths that only the Gemini API has. Vertex AI keeps files and batches elsewhere, or not at all.
_PATHS_NOT_ON_VERTEX = ("batches", "files")


class GeminiCarrier(SDKCarrier):
    """Sends every request through a google-genai client, beneath its typed methods, without its retries.

    Redirects are followed on Vertex AI alone, where the SDK sends by itself.
    """

    def __init__(self, client: SDKClient) -> None:
        # The typed calls of the SDK rebuild bodies and drop fields that they do not know. Its inner client sends bodies
        # unchanged.
        self._raw: Any = client._api_client  # noqa: SLF001

    @property
    def is_vertex(self) -> bool:
        """True for a client of Vertex AI."""
        return bool(self._raw.vertexai)

    @property
    def base_url(self) -> str:
        """The address that the paths of requests continue."""
        options = self._raw._http_options  # noqa: SLF001
        return f"{str(options.base_url).rstrip('/')}/{options.api_version}"

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer.

        Raises APIError too, for bad credentials, and ConfigurationError for a path that Vertex AI does not have.
        """
        deadline = time.monotonic() + timeout_s
        raw = self._execute(request, timeout_s, {})
        with self._convert_errors():
            return read_response(raw, deadline, is_optional=request.is_answer_optional)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of events, each within ``timeout_s`` of the one before.

        Raises what `send` raises, and so does reading the events.
        """
        raw = self._execute(request, timeout_s, STREAM_HEADERS)
        # Responses of httpx and of its successor have extensions. Those of requests, which the SDK uses to show a
        # client certificate, do not.
        if hasattr(raw, "extensions"):
            return open_sdk_stream(raw, timeout_s)
        from pollux_gemini.receiving import open_requests_stream

        return open_requests_stream(raw, timeout_s, self._convert_errors)

    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer."""
        deadline = time.monotonic() + timeout_s
        with closing(self._execute(request, timeout_s, {})) as raw, self._convert_errors():
            yield from read_sdk_lines(raw, deadline)

    def _execute(self, request: HttpRequest, timeout_s: float, headers: Mapping[str, str]) -> Any:
        """Send a request and return the raw response, its body unread."""
        from google.genai.types import HttpOptions

        # The SDK changes the body that it is given, so it gets a copy.
        path, body = self._build_path(request), copy.deepcopy(request.body or {})
        options = HttpOptions(retry_options=_build_retry_options())
        with self._convert_errors():
            # In lower case: the SDK compares it with "get" to recognise a request for Google's models on Vertex AI.
            method = request.method.lower()
            sdk_request = self._raw._build_request(method, path, body, options)  # noqa: SLF001
            # Not as an option: the SDK would send the limit on, and the service end a long answer after it.
            sdk_request.timeout = timeout_s
            sdk_request.headers |= {**request.headers, **headers}
            if request.path.startswith("http"):
                sdk_request.url = request.path
            if self.is_vertex:
                # The SDK adds the credentials there. Its public request_streamed cannot be closed, so the unread
                # response is taken from beneath it.
                return self._raw._request(sdk_request, options, stream=True).response_stream  # noqa: SLF001
            raw = self._send_unread(sdk_request, request)
        if not raw.is_success:
            raise HttpError(self._scrub_response(read_response(raw, time.monotonic() + timeout_s)))
        return raw

    def _send_unread(self, sdk_request: Any, request: HttpRequest) -> Any:
        """Send through the SDK's HTTP client, without redirects, which could take key and file to another host."""
        client: Any = self._raw._httpx_client  # noqa: SLF001
        content: Any = json.dumps(sdk_request.data).encode() if sdk_request.data else None
        headers = sdk_request.headers
        if request.payload is not None:
            content = request.payload.iter_chunks()
            size = str(request.payload.size_bytes)
            headers = headers | {"Content-Type": request.payload.content_type, "Content-Length": size}
        url = self._raw._httpx_url(sdk_request.url, is_async=False)  # noqa: SLF001
        built = client.build_request(
            method=sdk_request.method, url=url, content=content, headers=headers, timeout=sdk_request.timeout
        )
        return client.send(built, stream=True, follow_redirects=False)

    def _build_path(self, request: HttpRequest) -> str:
        path = request.path.removeprefix("/")
        if self.is_vertex and path.startswith(_PATHS_NOT_ON_VERTEX):
            raise build_vertex_batch_error()
        # On Vertex AI the models of Google are one publisher's among others.
        is_model_path = path.startswith(("models/", "models?"))
        return f"publishers/google/{path}" if self.is_vertex and is_model_path else path

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert exceptions of the SDK, of its HTTP library and of its credentials for the core's classifier."""
        # Imported here: the module must load without the SDK, which only a client of the caller's needs.
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
        return self._scrub_response(HttpResponse(status=error.code, headers=headers, body=error.details))

    def _scrub_response(self, response: HttpResponse) -> HttpResponse:
        """Return an error answer without the key, which Google may quote when it refuses it."""
        key = self._raw.api_key
        return response.scrub(lambda text: redact_secret(text, key)) if key else response


def build_vertex_batch_error() -> ConfigurationError:
    """Build the error of deferring requests with a client of Vertex AI."""
    return ConfigurationError(
        "Vertex AI keeps its batches in Cloud Storage or BigQuery, which this provider does not support",
        hint="use a key of the Gemini API for deferred requests, or call run_many()",
    )


def _build_retry_options() -> HttpRetryOptions:
    from google.genai.types import HttpRetryOptions

    # Retries belong to the core's RetryPolicy alone. One attempt switches off those of the SDK.
    return HttpRetryOptions(attempts=1)


def _lowercase_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _find_http_errors(name: str) -> tuple[type[Exception], ...]:
    # The SDK sends with httpx, or with its successor. A library that is not imported cannot have raised.
    libraries = (sys.modules.get(library) for library in ("httpx", "httpx2"))
    return tuple(getattr(library, name) for library in libraries if library is not None)
