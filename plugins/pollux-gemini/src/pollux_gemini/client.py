"""The way to the wire: the core's HTTP client, or the caller's google-genai client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pollux_sync.plugin import open_client

if TYPE_CHECKING:
    from pollux_sync.plugin import Client, ConfigValues, ProviderInfo

#: A base url with the API version at its end.
_VERSIONED_URL = re.compile(r"(?P<root>.*)/(?P<version>v\d+\w*)")


def open_carrier(config: ConfigValues, info: ProviderInfo, default_version: str) -> Client:
    """Open the client of a configuration: around the caller's SDK client if there is one, else our own."""
    if config.client is not None:
        from pollux_gemini.carrier import GeminiCarrier

        return GeminiCarrier(config.client)
    return open_client(config, info, base_url="/".join(resolve_address(config, info, default_version)))


def resolve_address(config: ConfigValues, info: ProviderInfo, default_version: str) -> tuple[str, str]:
    """Return the address without a version, and the version.

    An ``api_version`` in the configuration counts before a version at the end of ``base_url``.
    """
    root = info.resolve_base_url(config.base_url)
    # The SDK wants base_url without a version, other clients with one: both are understood.
    match = _VERSIONED_URL.fullmatch(root)
    root, version = (match["root"], match["version"]) if match else (root, default_version)
    return root, config.provider_options.get("api_version", version)
