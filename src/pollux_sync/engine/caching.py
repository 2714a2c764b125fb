"""Caches at the provider: made once for equal content, extended, listed, deleted."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from pollux_sync.data.checks import require_int, require_json, require_mapping
from pollux_sync.data.events import CacheCreated
from pollux_sync.data.handles import CacheHandle
from pollux_sync.data.options import Options
from pollux_sync.data.reply import Failure
from pollux_sync.data.request import Request
from pollux_sync.data.source import Source
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import UploadScope, prepare_plan
from pollux_sync.engine.retrying import with_retries
from pollux_sync.errors import APIError, CacheError, ConfigurationError, InternalError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pollux_sync.data.handles import RemoteCache
    from pollux_sync.data.reply import Outcome
    from pollux_sync.hooks.relay import Hooks

T = TypeVar("T")

#: A cache this close to its end, in seconds, is extended before it is handed out again.
_MARGIN_S = 30.0


@attrs.define
class _Flight:
    """One thread makes what others wait for."""

    done: threading.Event = attrs.field(factory=threading.Event)
    error: PolluxError | None = None


@attrs.frozen
class _Kept:
    handle: CacheHandle
    ttl_s: float

    def is_good_for(self, ttl_s: float) -> bool:
        left_s = self.handle.expires_at - time.time()
        return ttl_s <= self.ttl_s and left_s > min(_MARGIN_S, self.ttl_s / 10)


class Caches:
    """The caches of this process by what they hold, the ``capacity`` used last."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    def handle(self, key: str, ttl_s: float, make: Callable[[CacheHandle | None], CacheHandle]) -> CacheHandle:
        """The cache of this key, good for ``ttl_s``; one thread asks ``make``, with the one to extend if there is one.

        A failure is told to everyone who waited, and forgotten.
        """
        while True:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None and kept.is_good_for(ttl_s):
                    self._kept.move_to_end(key)
                    return kept.handle
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight()
                    break
            flight.done.wait()
            if flight.error is not None:
                raise copy.copy(flight.error)
        return self._made(key, ttl_s, flight, lambda: make(kept.handle if kept else None))

    def _made(self, key: str, ttl_s: float, flight: _Flight, make: Callable[[], CacheHandle]) -> CacheHandle:
        try:
            handle = make()
        except BaseException as error:
            interrupted = InternalError("making the cache was interrupted", hint="ask again")
            flight.error = error if isinstance(error, PolluxError) else interrupted
            raise
        else:
            with self._lock:
                self._kept[key] = _Kept(handle, ttl_s)
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
            return handle
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()

    def forget(self, name: str) -> None:
        """Hand out the cache of this name no more."""
        with self._lock:
            for key in [key for key, kept in self._kept.items() if kept.handle.name == name]:
                del self._kept[key]

    def abandon_flights(self) -> None:
        """In a forked child: wait for nothing that a thread of the parent was making."""
        self._lock = threading.Lock()
        self._flights = {}

    def notice(self, handle: CacheHandle | None, outcomes: Sequence[Outcome]) -> None:
        """Forget a cache that the provider no longer knows."""
        errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failure)] if handle else []
        if handle and any(isinstance(error, APIError) and error.kind == "cache_missing" for error in errors):
            self.forget(handle.name)


def cache_request(
    sources: Iterable[Source],
    system_instruction: str | None,
    tools: Sequence[dict[str, Any]] | None,
    ttl_seconds: int,
    hooks: Hooks,
) -> Request:
    """The arguments of ``create_cache`` as one value. Raises ConfigurationError, in the documented order."""
    require_int("ttl_seconds", ttl_seconds, minimum=1)
    if system_instruction is not None and not isinstance(system_instruction, str):
        raise ConfigurationError(
            f"system_instruction must be a string, got {type(system_instruction).__name__}", hint="pass one string"
        )
    if "cache" not in hooks.info.options:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} keeps no caches", hint="many cache by themselves: see usage['cached_tokens']"
        )
    checked = tuple(_checked(sources))
    for index, tool in enumerate(tools or ()):
        require_mapping(f"tools[{index}]", tool)
        require_json(f"tools[{index}]", tool)
    if not checked and not system_instruction:
        raise ConfigurationError("there is nothing to cache", hint="pass sources, or a system_instruction")
    options = Options(system_instruction=system_instruction, tools=tools)
    return Request(prompts=(None,), sources=checked, config=hooks.config, options=options)


def _checked(sources: object) -> Iterable[Source]:
    hint = "build it with Source.from_text, Source.from_file, ... and pass a list of them"
    if isinstance(sources, str | bytes | Source) or not hasattr(sources, "__iter__"):
        raise ConfigurationError(f"sources must be a list of Source, got {type(sources).__name__}", hint=hint)
    for index, source in enumerate(sources):
        if not isinstance(source, Source):
            raise ConfigurationError(f"sources[{index}] must be a Source, got {type(source).__name__}", hint=hint)
        yield source


def cache_key(request: Request, hooks: Hooks) -> str:
    """What makes two caches one: content, model, instruction, tools, hints and account; the key is not in it."""
    config, provider = request.config, hooks.info.name
    identity = {
        "provider": provider,
        "model": config.model,
        "account": config.account or id(config.client),
        "base_url": config.base_url,
        "mock": config.use_mock and id(hooks.client),
        "system_instruction": request.options.system_instruction,
        "tools": [dict(tool) for tool in request.options.tools or ()],
        "sources": [[s.mime_type, s.cache_identity_hash(provider=provider)] for s in request.sources],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def made_cache(request: Request, ttl_s: float, hooks: Hooks, known: CacheHandle | None) -> CacheHandle:
    """A new cache; or the known one extended, unless the provider has forgotten it."""
    if known is not None and not known.is_expired:
        try:
            return extended_cache(known, ttl_s, hooks)
        except CacheError as error:
            if error.kind != "cache_missing":
                raise
    plan = plan_calls(request, hooks)
    with UploadScope(hooks) as uploads:
        prepared = prepare_plan(plan, hooks, uploads)
        if prepared.blocked:
            raise prepared.blocked[0]
        (call,) = prepared.calls
        made = _asked(lambda: hooks.create_cache(call, ttl_s, hooks.config.timeout_s), hooks, is_repeatable=False)
    handle = handle_of(made, hooks)
    hooks.emit(CacheCreated(handle))
    return handle


def extended_cache(handle: CacheHandle, ttl_s: float, hooks: Hooks) -> CacheHandle:
    """The cache, kept for ``ttl_s`` seconds from now."""
    return handle_of(_asked(lambda: hooks.extend_cache(handle.name, ttl_s, hooks.config.timeout_s), hooks), hooks)


def listed_caches(hooks: Hooks) -> list[CacheHandle]:
    """The account's caches."""
    found = _asked(lambda: hooks.list_caches(hooks.config.timeout_s), hooks)
    return [handle_of(cache, hooks) for cache in found]


def delete_remote_cache(name: str, hooks: Hooks) -> None:
    """Delete a cache; one that is gone already is no error."""
    try:
        _asked(lambda: hooks.delete_cache(name, hooks.config.timeout_s), hooks)
    except CacheError as error:
        if error.kind not in {"cache_missing", "not_found"}:
            raise


def handle_of(cache: RemoteCache, hooks: Hooks) -> CacheHandle:
    """The handle of a cache of this configuration's account."""
    config = hooks.config
    return CacheHandle(
        cache.name,
        cache.model,
        hooks.info.name,
        cache.expires_at,
        n_tokens=cache.n_tokens,
        account=config.account,
        base_url=config.base_url,
    )


def _asked(ask: Callable[[], T], hooks: Hooks, *, is_repeatable: bool = True) -> T:
    answer, _ = with_retries(
        lambda: (ask(), None), hooks, threading.Event(), phase="cache", is_repeatable=is_repeatable
    )
    return answer
