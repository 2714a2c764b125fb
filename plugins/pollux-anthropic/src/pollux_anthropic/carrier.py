"""The caller's anthropic SDK client as a carrier. Loaded only for a configuration that has one, as the SDK is slow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anthropic

from pollux_anthropic.encoding import BETA_HEADER, VERSION_HEADER
from pollux_sync.plugin import ConfigurationError, StainlessCarrier, merge_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import EventStream, HttpRequest


class AnthropicCarrier(StainlessCarrier):
    """Sends requests through an anthropic SDK client."""

    def __init__(self, client: anthropic.Anthropic) -> None:
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
        own = {name: value for name, value in self._client.default_headers.items() if name.lower() == BETA_HEADER}
        # A header of a request replaces the client's default, which would lose the betas of the client's owner.
        betas = {name: value for name, value in own.items() if isinstance(value, str)}
        return merge_headers(betas, headers, lists={BETA_HEADER})

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
