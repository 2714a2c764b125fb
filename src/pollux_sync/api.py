"""The calls a script makes. Each is a few lines over the engine's stages."""

from __future__ import annotations

import atexit
import copy
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_sync.builtin.defaults import CoreDefaults
from pollux_sync.data.checks import require_int
from pollux_sync.data.envelope import jsonable
from pollux_sync.data.options import Options
from pollux_sync.engine.caching import (
    Caches,
    cache_key,
    cache_request,
    delete_remote_cache,
    extended_cache,
    listed_caches,
    made_cache,
)
from pollux_sync.engine.connecting import Connections
from pollux_sync.engine.conversing import STATE_KEY, checked_results, state_in, turns_in
from pollux_sync.engine.enveloping import keep_partial, seal_envelope
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import UploadScope, prepare_plan
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.sending import send_calls
from pollux_sync.errors import ConfigurationError, PolluxError, SourceError
from pollux_sync.hooks.config import MOCK, Config
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, Loaded, load
from pollux_sync.hooks.relay import Hooks, provider_info, relay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import CacheHandle, DeferredHandle
    from pollux_sync.data.request import Request
    from pollux_sync.data.source import Source
    from pollux_sync.engine.preparing import Uploads

    #: What carries calls: the hooks with an open client, and where files are stored.
    Line: TypeAlias = tuple[Hooks, Uploads]


def run(
    prompt: str | None = None,
    *,
    source: Source | None = None,
    config: Config,
    options: Options | None = None,
) -> ResultEnvelope:
    """Ask one question, about one source or none; ``result["answers"][0]`` is the answer.

    Blocks until the answer is there. Raises ConfigurationError, SourceError or PlanningError before
    anything is sent, APIError when the provider fails for good.
    """
    return run_many(prompt, sources=one_source(prompt, source), config=config, options=options)


def one_source(prompt: object, source: Source | None) -> tuple[Source, ...]:
    """The sources of a call that takes one prompt and one source. Raises for several prompts, and for a path."""
    if not (prompt is None or isinstance(prompt, str)):
        raise ConfigurationError(
            f"prompt must be a string or None, got {type(prompt).__name__}",
            hint="use run_many() or stream_many() for several prompts",
        )
    given: object = source
    if isinstance(given, str | os.PathLike):
        hint = f"source=Source.from_file({os.fspath(given)!r}), or Source.from_text(...)"
        raise SourceError(f"source must be a Source, got {type(given).__name__}", hint=hint)
    return () if source is None else (source,)


def run_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    per_source: bool = False,
) -> ResultEnvelope:
    """Ask several questions about the same sources, at most ``config.request_concurrency`` at a time.

    Every prompt sees every source; the answers are in prompt order. With ``per_source`` each prompt is
    asked of each source on its own, and the answers come source by source: all prompts of the first, ...

    When prompts fail, all others finish all the same, but for a refused key, which stops what has not begun: the
    error of the lowest index is raised with the envelope as ``error.partial_result``, or kept in the envelope with
    ``Options(on_error="keep")``.
    Ctrl-C raises KeyboardInterrupt at once, with uploaded files deleted; once calls were being sent it carries
    the answers so far as ``partial_result``.
    """
    started = time.monotonic()
    request = build_request(prompts, sources, config, options, per_source=per_source)
    return answered(request, line_for(request.config), started)


@contextmanager
def line_for(config: ConfigValues) -> Iterator[Line]:
    """What carries one call: an open client, and files that are deleted when the block ends."""
    with connections.lease(config) as hooks, UploadScope(hooks) as uploads:
        yield hooks, uploads


def answered(request: Request, line: AbstractContextManager[Line], started: float) -> ResultEnvelope:
    """The stages of `run_many` from the request on. ``started`` is a reading of `time.monotonic`."""
    with line as (hooks, uploads):
        plan = plan_calls(request, hooks)
        prepared = prepare_plan(plan, hooks, uploads)
        try:
            outcomes = send_calls(prepared, hooks)
        except KeyboardInterrupt as interrupt:
            keep_partial(interrupt, prepared, duration_s=time.monotonic() - started)
            raise
    caches.notice(request.options.cache, outcomes)
    return seal_envelope(prepared, outcomes, duration_s=time.monotonic() - started)


def continue_tool(
    continue_from: ResultEnvelope | dict[str, Any],
    tool_results: Sequence[Mapping[str, Any]],
    *,
    config: Config,
    options: Options | None = None,
) -> ResultEnvelope:
    """Go on after a tool-calling answer, with the tools' results ``{"role": "tool", "tool_call_id", "content"}``.

    Every call wants one result, ``"is_error": True`` for a tool that failed. The conversation holds what was said;
    tools, instruction and schema of ``options`` are to be passed again. ``history`` and ``continue_from`` of
    ``options`` are not used; nothing that was passed in is changed. Raises ConfigurationError when
    ``continue_from`` carries no conversation or the results do not fit its calls, and what `run` raises.
    """
    return run(config=config, options=continuing(continue_from, tool_results, options))


def continuing(
    continue_from: ResultEnvelope | dict[str, Any], tool_results: Sequence[Mapping[str, Any]], options: Options | None
) -> Options:
    """The options with which `continue_tool` asks. Raises ConfigurationError as it does."""
    state = copy.deepcopy(state_in(continue_from))
    turns = turns_in(state)
    state["history"] = [*turns, *checked_results(tool_results, turns)]
    return attrs.evolve(options or Options(), history=None, continue_from={STATE_KEY: state})


def create_cache(
    sources: Iterable[Source] = (),
    *,
    config: Config,
    system_instruction: str | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    ttl_seconds: int = 3600,
) -> CacheHandle:
    """Keep sources, an instruction and tools at the provider, for ``Options(cache=handle)``.

    Equal content is cached once in this process, however many threads ask; asked for longer, it is extended.
    Raises ConfigurationError where the provider keeps no caches, CacheError when making one fails.
    """
    with connections.lease(checked_config(config)) as hooks:
        request = cache_request(sources, system_instruction, tools, ttl_seconds, hooks)
        return caches.handle(
            cache_key(request, hooks),
            ttl_seconds,
            lambda known: made_cache(request, ttl_seconds, hooks, known),
        )


@contextmanager
def cached(
    sources: Iterable[Source] = (),
    *,
    config: Config,
    system_instruction: str | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    ttl_seconds: int = 3600,
) -> Iterator[CacheHandle]:
    """`create_cache` for a ``with`` block, at whose end the cache is deleted."""
    handle = create_cache(
        sources, config=config, system_instruction=system_instruction, tools=tools, ttl_seconds=ttl_seconds
    )
    try:
        yield handle
    except BaseException:
        with suppress(PolluxError):  # what went wrong in the block is what counts; the cache goes by itself
            delete_cache(handle, config=config)
        raise
    delete_cache(handle, config=config)


def extend_cache(handle: CacheHandle, ttl_seconds: int, *, config: Config | None = None) -> CacheHandle:
    """The cache, kept for ``ttl_seconds`` from now. Raises CacheError, kind "cache_missing" when it is gone."""
    require_int("ttl_seconds", ttl_seconds, minimum=1)
    with connections.lease(config_for(handle, config)) as hooks:
        return extended_cache(handle, ttl_seconds, hooks)


def list_caches(*, config: Config) -> list[CacheHandle]:
    """The account's caches, whoever made them, of all models."""
    with connections.lease(checked_config(config)) as hooks:
        if "cache" not in hooks.info.options:
            return []
        return listed_caches(hooks)


def delete_cache(handle: CacheHandle, *, config: Config | None = None) -> None:
    """Delete a cache; one that is gone already is no error."""
    caches.forget(handle.name)
    with connections.lease(config_for(handle, config)) as hooks:
        delete_remote_cache(handle.name, hooks)


def config_for(handle: CacheHandle | DeferredHandle, config: Config | None) -> Config:
    """The configuration to reach what a handle stands for: the one given, else the environment's.

    Raises ConfigurationError for one of another provider or account.
    """
    if config is None:
        return Config(provider=handle.provider, model=handle.model, base_url=handle.base_url)
    if checked_config(config).provider.rpartition(":")[2] != handle.provider:
        raise ConfigurationError(
            f"the handle is of provider {handle.provider!r}, the config of {config.provider!r}",
            hint="pass the config it was made with",
        )
    if None not in {handle.account, config.account} and handle.account != config.account:
        raise ConfigurationError("the handle is another account's", hint="pass the config it was made with")
    return config


def checked_config(config: object) -> Config:
    """The configuration. Raises ConfigurationError for something else."""
    if not isinstance(config, Config):
        raise ConfigurationError(
            f"config must be a Config, got {type(config).__name__}", hint="config=Config(provider=..., model=...)"
        )
    return config


def to_jsonable(envelope: ResultEnvelope) -> dict[str, Any]:
    """The envelope as JSON-ready data: typed answers in ``structured`` become dicts, lists and texts."""
    given: object = envelope
    if not isinstance(given, dict):
        raise ConfigurationError(
            f"to_jsonable takes the result of a call, got {type(given).__name__}",
            hint="of a stream pass stream.result(), of an Output call its to_jsonable()",
        )
    return jsonable(envelope)


def open_hooks(config: ConfigValues) -> Hooks:
    """The hooks of one configuration: the core's defaults, the provider, then the middleware."""
    provider = load(PROVIDERS, MOCK if config.use_mock else config.provider)
    info = provider_info(provider)
    middleware = [_middleware(plugin) for plugin in config.plugins or ()]
    manager = relay([Loaded(CoreDefaults(), "defaults"), provider, *middleware])
    if config.use_mock:
        info = attrs.evolve(info, name=config.provider.rpartition(":")[2])
    return Hooks(config=config, info=info.without(config.ruled_out), manager=manager)


def _middleware(plugin: object) -> Loaded:
    return load(MIDDLEWARE, plugin) if isinstance(plugin, str) else Loaded(plugin, type(plugin).__name__)


#: The caches that this process made.
caches = Caches()
#: The clients of this process; closed at exit, never shared with a forked child.
connections = Connections(open_hooks)
atexit.register(connections.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=connections.forget)
    os.register_at_fork(after_in_child=caches.abandon_flights)
