"""The way to the wire: the core's HTTP client, or the caller's anthropic SDK client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_anthropic.encoding import BETA_HEADER
from pollux_sync.plugin import open_client

if TYPE_CHECKING:
    from collections.abc import Generator

    from pollux_sync.plugin import Client, ConfigValues, EventStream, HttpRequest, HttpResponse, ProviderInfo


def open_carrier(config: ConfigValues, info: ProviderInfo) -> Client:
    """Open the client for a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is not None:
        from pollux_anthropic.carrier import AnthropicCarrier

        return AnthropicCarrier(config.client)
    client = open_client(config, info)
    betas = next((value for name, value in config.headers.items() if name.lower() == BETA_HEADER), None)
    return BetaClient(client, betas) if betas else client


class BetaClient:
    """A client whose configuration asks for betas of the API: those that a request needs go beside them."""

    def __init__(self, client: Client, betas: str) -> None:
        self._client = client
        self._betas = betas

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer."""
        return self._client.send(self._add_betas(request), timeout_s)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events."""
        return self._client.stream(self._add_betas(request), timeout_s)

    def read_lines(self, request: HttpRequest, timeout_s: float) -> Generator[bytes, None, None]:
        """Send one request and yield the lines of its answer."""
        return self._client.read_lines(self._add_betas(request), timeout_s)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _add_betas(self, request: HttpRequest) -> HttpRequest:
        needed = request.headers.get(BETA_HEADER)
        # A header of a request replaces that of the configuration.
        both = {BETA_HEADER: f"{self._betas},{needed}"} if needed else {}
        return attrs.evolve(request, headers=request.headers | both)
