"""What carries the calls: the core's HTTP client, with the SDK for files; or the caller's SDK client for all."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pollux_anthropic.encoding import BETA_HEADER, FILES_BETA, VERSION_HEADER
from pollux_sync.data.request import Asset
from pollux_sync.wire.http import open_client
from pollux_sync.wire.sdks import DirectCarrier, SDKCarrier, received, wire_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from anthropic import Anthropic

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.source import Source


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

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One exchange."""
        with wire_errors(self._sdk):
            raw = self._client.post(
                request.path,
                body=request.body,
                cast_to=self._raw,
                options={"timeout": timeout_s, "headers": self._headers(request)},
            )
        return received(raw)

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content, streamed."""
        with source.open() as stream, wire_errors(self._sdk):
            stored = self._client.beta.files.upload(
                file=(name, stream, source.mime_type),
                expires_in_seconds=round(lifetime_s),
                extra_headers=self._betas(FILES_BETA),
                timeout=timeout_s,
            )
        return Asset(id=stored.id, mime_type=source.mime_type, expires_at=_timestamp(stored))

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        with wire_errors(self._sdk):
            self._client.beta.files.delete(asset.id, extra_headers=self._betas(FILES_BETA), timeout=timeout_s)

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
