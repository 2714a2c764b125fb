"""What a provider keeps for calls: files and caches."""

from __future__ import annotations

import time

import attrs

from pollux_sync._values import Value
from pollux_sync.data.converter import SCHEMA_VERSION, Storable


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Asset(Value):
    """A file stored at the provider. ``expires_at`` is in seconds since the epoch, None if the file stays.

    One that is not ``is_ready`` is still being processed, and no request may refer to it yet.
    """

    id: str
    mime_type: str
    uri: str | None = None
    expires_at: float | None = None
    is_ready: bool = True


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RemoteCache(Value):
    """A cache as its provider reports it.

    ``expires_at`` is in seconds since the epoch, ``n_tokens`` is the size of the cached content. ``label`` is the text
    that the cache was created with, None if it has none.
    """

    name: str
    model: str
    expires_at: float
    n_tokens: int | None = None
    label: str | None = None


@attrs.frozen(eq=False, repr=False)
class CacheHandle(Storable):
    """The handle of a cache at the provider, which serves one model. ``expires_at`` is in seconds since the epoch.

    ``account`` is a fingerprint of the account that owns the cache, or names the mock. ``base_url`` is set if the cache
    is not at the provider's usual address. ``label`` is the text that the cache was created with, as the provider
    reports it, None if it has none.
    """

    name: str
    model: str
    provider: str
    expires_at: float
    n_tokens: int | None = attrs.field(default=None, kw_only=True)
    account: str | None = attrs.field(default=None, kw_only=True)
    base_url: str | None = attrs.field(default=None, kw_only=True)
    label: str | None = attrs.field(default=None, kw_only=True)
    schema_version: int = attrs.field(default=SCHEMA_VERSION, kw_only=True)

    @property
    def is_expired(self) -> bool:
        """True if the local clock has reached ``expires_at``."""
        # The wall clock and not the monotonic one, because the provider's times are dates.
        return time.time() >= self.expires_at
