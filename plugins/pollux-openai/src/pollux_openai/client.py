"""What carries the calls: the core's HTTP client, with the SDK for files; or the caller's SDK client for all.

The SDK never retries here, and its exceptions leave as those of the core's wire, so that both ways fail alike.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.request import Asset
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.http import HttpClient, open_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai import OpenAI

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, ProviderInfo
    from pollux_sync.data.source import Source

#: An upload that is not deleted, because the process died, goes by itself after a day.
EXPIRES_AFTER_S = 86_400


def open_carrier(config: ConfigValues, info: ProviderInfo) -> DirectCarrier | SDKCarrier:
    """The carrier that the configuration asks for."""
    if config.client is not None:
        return SDKCarrier(config.client)
    return DirectCarrier(open_client(config, info), lambda: _sdk_client(config, info))


def _sdk_client(config: ConfigValues, info: ProviderInfo) -> OpenAI:
    from openai import OpenAI

    return OpenAI(api_key=config.api_key, base_url=config.base_url or info.base_url, max_retries=0)


class SDKCarrier:
    """Every call through an SDK client: in its raw form, without its retries."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client.with_options(max_retries=0)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange. Raises HttpError, ReplyError, ConnectionError or TimeoutError."""
        with as_wire_errors():
            body = self._client.post(request.path, body=request.body, cast_to=object, options={"timeout": timeout_s})
        if not isinstance(body, dict | list):
            raise ReplyError("the answer is not JSON", hint="check the client's base_url")
        return HttpResponse(status=200, body=body)

    def upload(self, source: Source, timeout_s: float) -> Asset:
        """Store a source's content, streamed. Raises as `send` does, and OSError for an unreadable file."""
        name = PurePath(source.identifier).name or "file"
        with source.open() as stream, as_wire_errors():
            stored = self._client.files.create(
                file=(name, stream, source.mime_type),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": EXPIRES_AFTER_S},
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=stored.expires_at)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file. Raises as `send` does."""
        with as_wire_errors():
            self._client.files.delete(asset.id, timeout=timeout_s)

    def close(self) -> None:
        """Nothing: the client is its owner's."""


class DirectCarrier:
    """JSON calls through the core's client; the SDK is built when the first file is to be stored."""

    def __init__(self, client: HttpClient, make_sdk_client: Callable[[], OpenAI]) -> None:
        self._client = client
        self._make_sdk_client = make_sdk_client
        self._lock = threading.Lock()
        self._sdk_client: OpenAI | None = None
        self.send = client.send

    @property
    def _files(self) -> SDKCarrier:
        with self._lock:
            if self._sdk_client is None:
                self._sdk_client = self._make_sdk_client()
            return SDKCarrier(self._sdk_client)

    def upload(self, source: Source, timeout_s: float) -> Asset:
        """Store a source's content, streamed."""
        return self._files.upload(source, timeout_s)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        self._files.delete(asset, timeout_s)

    def close(self) -> None:
        """Close both clients."""
        self._client.close()
        with self._lock:
            if self._sdk_client is not None:
                self._sdk_client.close()


@contextmanager
def as_wire_errors() -> Iterator[None]:
    """Exceptions of the SDK become those that the core's classifier knows."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        raise HttpError(HttpResponse(status=error.status_code, headers=headers, body=_body_of(error))) from error
    except openai.APITimeoutError as error:
        raise TimeoutError("the SDK's request timed out") from error
    except openai.APIConnectionError as error:
        raise ConnectionError(f"the SDK's request failed: {error.__cause__ or error}") from error
    except (openai.APIResponseValidationError, ValueError) as error:  # ValueError: its JSON decoder's
        raise ReplyError("the answer is not valid JSON, perhaps cut off", retryable=True) from error


def _body_of(error: Any) -> Any:
    try:
        return error.response.json()
    except ValueError:
        return error.response.text
