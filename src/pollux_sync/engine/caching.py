"""Caches at the provider: created once for equal content, extended, listed, deleted."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_int, check_text
from pollux_sync.data.handles import CacheHandle
from pollux_sync.data.options import Options
from pollux_sync.data.reply import Failure
from pollux_sync.data.request import Request
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import UploadScope, prepare_plan
from pollux_sync.engine.requesting import require_sources
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.threads import wait_for
from pollux_sync.errors import APIError, CacheError, ConfigurationError, InternalError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pollux_sync.data.handles import RemoteCache
    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.relay import Hooks

#: A cache this close to its end, in seconds, is extended before it is handed out again.
_MARGIN_S = 30.0


@attrs.define
class _Flight:
    """A cache that one thread is creating while others wait for it."""

    done: threading.Event = attrs.field(factory=threading.Event)
    error: PolluxError | None = None


@attrs.frozen(eq=False, repr=False)
class _RegisteredCache(Value):
    handle: CacheHandle
    ttl_s: float

    def lasts_for(self, ttl_s: float) -> bool:
        left_s = self.handle.expires_at - time.time()
        return ttl_s <= self.ttl_s and left_s > min(_MARGIN_S, self.ttl_s / 10)


class CacheRegistry:
    """The caches of this process by a hash of their content, the ``capacity`` used last."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._registered: OrderedDict[str, _RegisteredCache] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    def get_or_make(self, key: str, ttl_s: float, make: Callable[[CacheHandle | None], CacheHandle]) -> CacheHandle:
        """Return the cache of this key, valid for ``ttl_s`` seconds.

        Single flight: of several threads that want the same cache one calls ``make``, with the handle to extend or
        None, and the others wait, since a cache is paid for. A failure is raised in all of them, and forgotten.
        """
        while True:
            with self._lock:
                # Looked up again after each wait: the new cache may not last long enough for this caller.
                registered = self._registered.get(key)
                if registered is not None and registered.lasts_for(ttl_s):
                    self._registered.move_to_end(key)
                    return registered.handle
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight()
                    break
            wait_for(flight.done.wait)
            if flight.error is not None:
                # Each waiter raises a copy: a shared exception would collect the tracebacks of all threads.
                raise copy.copy(flight.error)
        return self._make(key, ttl_s, flight, lambda: make(registered.handle if registered else None))

    def _make(self, key: str, ttl_s: float, flight: _Flight, make: Callable[[], CacheHandle]) -> CacheHandle:
        try:
            handle = make()
        except BaseException as error:
            # A waiter must not get another thread's KeyboardInterrupt.
            interrupted = InternalError("creating the cache was interrupted", hint="ask again")
            flight.error = error if isinstance(error, PolluxError) else interrupted
            raise
        else:
            with self._lock:
                self._registered[key] = _RegisteredCache(handle, ttl_s)
                # Bounded: a server process would otherwise collect a handle for every document it ever cached.
                while len(self._registered) > self._capacity:
                    self._registered.popitem(last=False)
            return handle
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()

    def forget(self, name: str) -> None:
        """Stop handing out the cache of this name."""
        with self._lock:
            for key in [key for key, cache in self._registered.items() if cache.handle.name == name]:
                del self._registered[key]

    def forget_missing(self, handle: CacheHandle, outcomes: Sequence[Outcome]) -> None:
        """Forget a cache that the provider no longer has, as a call's outcomes show."""
        errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failure)]
        if any(isinstance(error, APIError) and error.kind == "cache_missing" for error in errors):
            self.forget(handle.name)

    def abandon_flights(self) -> None:
        """Drop the lock and the flights, in a forked child: the threads that would end them were not copied."""
        self._lock = threading.Lock()
        self._flights = {}


def build_cache_request(
    sources: Iterable[Source],
    system_instruction: str | None,
    tools: Sequence[dict[str, Any]] | None,
    ttl_seconds: int,
    hooks: Hooks,
    *,
    label: str | None = None,
    label_sources: bool = True,
) -> Request:
    """Check the arguments of ``create_cache`` and return them as one value. Raises ConfigurationError."""
    check_int("ttl_seconds", ttl_seconds, minimum=1)
    if system_instruction is not None and not isinstance(system_instruction, str):
        raise ConfigurationError(
            f"system_instruction must be a string, got {type(system_instruction).__name__}", hint="pass one string"
        )
    if "cache" not in hooks.info.options:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} has no caches that you can create",
            hint="many providers cache automatically: see usage['cached_tokens']",
        )
    _check_label(label, hooks.info)
    # ConfigurationError, where run() raises SourceError: pollux-ai does so for create_cache.
    checked = require_sources(sources, ConfigurationError)
    if not checked and not system_instruction:
        raise ConfigurationError("there is nothing to cache", hint="pass sources, or a system_instruction")
    options = Options(system_instruction=system_instruction, tools=tools, label_sources=label_sources)
    return Request(prompts=(None,), sources=checked, config=hooks.config, options=options)


def _check_label(label: str | None, info: ProviderInfo) -> None:
    if label is None:
        return
    limits = info.cache_labels
    if limits is None:
        raise ConfigurationError(
            f"provider {info.name!r} keeps no label of a cache",
            hint="leave label out, and store the handle: handle.to_dict()",
        )
    hint = f"pass 1 to {limits.max_chars} printable characters"
    check_text("label", label, hint=hint)
    if len(label) > limits.max_chars:
        raise ConfigurationError(f"label must have at most {limits.max_chars} characters, got {len(label)}", hint=hint)
    for char in label:
        if not char.isprintable():
            raise ConfigurationError(f"label holds {char!r}, which cannot be printed", hint=hint)


def build_cache_key(request: Request, hooks: Hooks, label: str | None) -> str:
    """Return a hash over all that two equal caches share: content, model, instruction, tools, hints, account, label.

    The API key is not in it, only its fingerprint.
    """
    from pollux_sync.engine.reading import name_sources

    config, provider = request.config, hooks.info.name
    identity = {
        "provider": provider,
        "model": config.model,
        # Two accounts never share a cache. A client handed over may hide its key, so it is known by identity.
        "account": config.account or id(config.client),
        "base_url": config.base_url,
        # A mock keeps its caches in its own client, so those of another one do not exist for it.
        "mock": config.use_mock and id(hooks.client),
        "system_instruction": request.options.system_instruction,
        "tools": request.options.dump_tools(),
        "secrets": [hashlib.sha256(secret.encode()).hexdigest() for secret in request.options.secrets],
        "sources": [[s.mime_type, s.cache_identity_hash(provider=provider)] for s in request.sources],
        # A labelled cache is for others to find; one without a label is its maker's own, to delete at any time.
        "label": label,
        # Names are part of the content where texts are introduced by them.
        "names": [*name_sources(request.sources)] if request.options.label_sources and request.sources[1:] else None,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def make_or_extend_cache(
    request: Request, ttl_s: float, hooks: Hooks, known: CacheHandle | None, label: str | None
) -> CacheHandle:
    """Extend the known cache, or create one when none is known or the provider has lost it."""
    if known is not None and not known.is_expired:
        try:
            return extend_remote_cache(known, ttl_s, hooks)
        except CacheError as error:
            if error.kind != "cache_missing":
                raise
    plan = plan_calls(request, hooks)
    # The provider copies the files into the cache, so the uploads can go when it exists.
    with UploadScope(hooks) as uploads:
        prepared = prepare_plan(plan, hooks, uploads)
        if prepared.blocked:
            raise prepared.blocked[0]
        (call,) = map(hooks.rewrite_call, prepared.calls)
        remote = request_with_retries(
            lambda: hooks.create_cache(call, ttl_s, hooks.config.timeout_s, label),
            hooks,
            phase="cache",
            is_repeatable=False,
        )
    handle = _build_handle(remote, hooks)
    if hooks.has_observers:
        from pollux_sync.data.events import CacheCreated

        hooks.emit(CacheCreated(handle))
    return handle


def extend_remote_cache(handle: CacheHandle, ttl_s: float, hooks: Hooks) -> CacheHandle:
    """Keep a cache for ``ttl_s`` seconds from now; return its new handle."""
    timeout_s = hooks.config.timeout_s
    remote = request_with_retries(lambda: hooks.extend_cache(handle.name, ttl_s, timeout_s), hooks, phase="cache")
    return _build_handle(remote, hooks)


def list_remote_caches(hooks: Hooks) -> list[CacheHandle]:
    """Return handles of the account's caches."""
    found = request_with_retries(lambda: hooks.list_caches(hooks.config.timeout_s), hooks, phase="cache")
    return [_build_handle(remote, hooks) for remote in found]


def delete_remote_cache(name: str, hooks: Hooks) -> None:
    """Delete a cache. Succeed also when it is already gone."""
    try:
        request_with_retries(lambda: hooks.delete_cache(name, hooks.config.timeout_s), hooks, phase="cache")
    except CacheError as error:
        if error.kind not in {"cache_missing", "not_found"}:
            raise


def _build_handle(remote: RemoteCache, hooks: Hooks) -> CacheHandle:
    config = hooks.config
    return CacheHandle(
        remote.name,
        remote.model,
        hooks.info.name,
        remote.expires_at,
        n_tokens=remote.n_tokens,
        label=remote.label,
        account=config.account,
        base_url=config.base_url,
    )
