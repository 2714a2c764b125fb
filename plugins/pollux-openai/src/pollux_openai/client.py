"""What carries the calls: the core's HTTP client, with the SDK for files; or the caller's SDK client for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.request import Asset
from pollux_sync.wire.http import open_client
from pollux_sync.wire.sdks import DirectCarrier, SDKCarrier, received, wire_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import OpenAI

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.source import Source


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
        self._raw = httpx2.Response
        self._client = client.with_options(max_retries=0)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange."""
        with wire_errors(self._sdk):
            raw = self._client.post(request.path, body=request.body, cast_to=self._raw, options={"timeout": timeout_s})
        return received(raw)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, wire_errors(self._sdk):
            stored = self._client.files.create(
                file=(name, stream, source.mime_type),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": round(lifetime_s)},
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=stored.expires_at)

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with wire_errors(self._sdk):
            self._client.files.delete(asset.id, timeout=timeout_s)
