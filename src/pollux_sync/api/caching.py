"""Keep long sources at the provider: create, extend, list and delete context caches."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pollux_sync.data.checks import check_int
from pollux_sync.engine.caching import (
    CacheRegistry,
    build_cache_key,
    build_cache_request,
    delete_remote_cache,
    extend_remote_cache,
    list_remote_caches,
    make_or_extend_cache,
)
from pollux_sync.engine.reaching import resolve_config
from pollux_sync.engine.requesting import require_config
from pollux_sync.errors import PolluxError
from pollux_sync.process import clients

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config

#: The caches that this process created.
caches = CacheRegistry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=caches.abandon_flights)


def create_cache(
    sources: Iterable[Source] = (),
    *,
    config: Config,
    system_instruction: str | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    ttl_seconds: int = 3600,
    label_sources: bool = True,
    label: str | None = None,
) -> CacheHandle:
    """Keep sources, an instruction and tools at the provider, for ``Options(cache=handle)``.

    Equal content is cached once in this process, however many threads ask; when a later call asks for a longer
    time, the cache is extended. ``label_sources`` is the option of that name. ``label`` is a printable text (Gemini: up
    to 128 characters) that the provider keeps with the cache, so that another process finds the cache in `list_caches`.
    Equal content with another label is another cache.
    Raises ConfigurationError where the provider keeps no caches or no labels, CacheError when creating the cache fails.
    """
    with clients.lease(require_config(config)) as hooks:
        request = build_cache_request(
            sources, system_instruction, tools, ttl_seconds, hooks, label=label, label_sources=label_sources
        )
        return caches.get_or_make(
            build_cache_key(request, hooks, label),
            ttl_seconds,
            # `known` is the cache of an earlier call, if it would expire too early: it is extended, not made again.
            lambda known: make_or_extend_cache(request, ttl_seconds, hooks, known, label),
        )


@contextmanager
def cached(
    sources: Iterable[Source] = (),
    *,
    config: Config,
    system_instruction: str | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    ttl_seconds: int = 3600,
    label_sources: bool = True,
    label: str | None = None,
) -> Iterator[CacheHandle]:
    """Create a cache as `create_cache` does for a ``with`` block, and delete it when the block ends."""
    handle = create_cache(
        sources,
        config=config,
        system_instruction=system_instruction,
        tools=tools,
        ttl_seconds=ttl_seconds,
        label_sources=label_sources,
        label=label,
    )
    try:
        yield handle
    except BaseException:
        # The error of the block matters more than one of the clean-up: an undeleted cache expires.
        with suppress(PolluxError):
            delete_cache(handle, config=config)
        raise
    delete_cache(handle, config=config)


def extend_cache(handle: CacheHandle, ttl_seconds: int, *, config: Config | None = None) -> CacheHandle:
    """Keep a cache for ``ttl_seconds`` from now; return its new handle.

    Raises CacheError, of kind "cache_missing" when the cache is gone.
    """
    check_int("ttl_seconds", ttl_seconds, minimum=1)
    with clients.lease(resolve_config(handle, config)) as hooks:
        return extend_remote_cache(handle, ttl_seconds, hooks)


def list_caches(*, config: Config) -> list[CacheHandle]:
    """Return the account's caches of all models, whoever made them."""
    with clients.lease(require_config(config)) as hooks:
        # A provider without caches has none to list: that is an answer, not an error.
        if "cache" not in hooks.info.options:
            return []
        return list_remote_caches(hooks)


def delete_cache(handle: CacheHandle, *, config: Config | None = None) -> None:
    """Delete a cache. Succeed also when it is already gone."""
    # Forgotten first: a thread that asks meanwhile must not get a handle that is about to be invalid.
    caches.forget(handle.name)
    with clients.lease(resolve_config(handle, config)) as hooks:
        delete_remote_cache(handle.name, hooks)
