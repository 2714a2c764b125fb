"""The way to the wire: the core's HTTP client, or the caller's anthropic SDK client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.plugin import open_client

if TYPE_CHECKING:
    from pollux_sync.plugin import Client, ConfigValues, ProviderInfo


def open_carrier(config: ConfigValues, info: ProviderInfo) -> Client:
    """Open the client for a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is None:
        return open_client(config, info)
    from pollux_anthropic.carrier import AnthropicCarrier

    return AnthropicCarrier(config.client)
