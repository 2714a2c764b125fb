"""Clients: the core's HTTP client, or the caller's anthropic SDK client as a carrier."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from pollux_anthropic.encoding import BETA_HEADER, VERSION_HEADER
from pollux_sync.plugin import ConfigurationError, StainlessCarrier, open_client

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from anthropic import Anthropic

    from pollux_sync.plugin import Client, ConfigValues, EventStream, HttpRequest, HttpResponse, ProviderInfo


def open_carrier(config: ConfigValues, info: ProviderInfo) -> Client:
    """Open the client for a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is not None:
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


class AnthropicCarrier(StainlessCarrier):
    """Sends requests through an anthropic SDK client."""

    def __init__(self, client: Anthropic) -> None:
        # Imported here only: without a client of the caller's no script pays for the SDK, which is slow to import.
        import anthropic

        super().__init__(client, anthropic)
        self._is_bedrock = isinstance(client, anthropic.AnthropicBedrock)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as a stream of server-sent events."""
        # Bedrock streams in the event format of AWS, which our parser does not read.
        if self._is_bedrock:
            raise ConfigurationError(
                "the client of Bedrock streams in a format of its own",
                hint="call run() or run_many(), or pass another client",
            )
        return super().stream(request, timeout_s)

    def build_headers(self, request: HttpRequest) -> dict[str, str]:
        """Return the headers of a request, except for the version of the API."""
        # The SDK sends the version that belongs to its client's way of authentication.
        headers = {name: value for name, value in request.headers.items() if name != VERSION_HEADER}
        own = self._client.default_headers.get(BETA_HEADER)
        # A header of a request replaces the client's default, which would lose the betas of the client's owner.
        if BETA_HEADER in headers and isinstance(own, str) and own:
            headers[BETA_HEADER] = f"{own},{headers[BETA_HEADER]}"
        return headers

    @contextmanager
    def convert_errors(self) -> Iterator[None]:
        """Convert the exceptions of the SDK to those that the core knows."""
        try:
            with super().convert_errors():
                yield
        except self._sdk.AnthropicError as error:
            # The clients of Bedrock and Vertex raise this plain base class for what their clouds lack, e.g. batches.
            raise ConfigurationError(
                f"this client cannot do it: {error}", hint="pass a client of Anthropic's own API, or call run_many()"
            ) from error
