"""Every hook of the SDK. A plugin implements those it needs, marked with ``hookimpl``.

``None`` means "not mine" wherever the first answer wins. The order of arguments does not matter and
arguments that an implementation does not need may be left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.events import Event
    from pollux_sync.data.handles import DeferredJob, JobState, RemoteCache
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.provider import Address, HttpRequest, HttpResponse, Problem, ProviderInfo
    from pollux_sync.data.reply import Reply, Usage
    from pollux_sync.data.request import Asset, Call, DeferredBatch, DeferredRow, Plan
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.errors import Fault

PROJECT = "pollux_sync"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def pollux_provider_info() -> ProviderInfo | None:
    """Declare the provider; asked once, when it is loaded. Required of every provider.

    Pure and fast: no I/O, no vendor SDK. The name must be that of the entry point.
    """


@hookspec
def pollux_check_config(config: ConfigValues) -> Problem | None:
    """Find what is wrong with a configuration, while `Config` is built.

    The provider is asked; None means nothing found. ``api_key`` and ``base_url`` have been completed
    from the environment. No I/O but looking at local files.
    """


@hookspec(firstresult=True)
def pollux_open(config: ConfigValues, info: ProviderInfo) -> Any:
    """Open what carries the calls: a client that many threads may use at once.

    Asked once a configuration, before its first request; the process reuses the client. The core's
    default is its HTTP client with the provider's base url and auth header.
    """


@hookspec(firstresult=True)
def pollux_address(config: ConfigValues, info: ProviderInfo) -> Address | None:
    """Say where the client that `pollux_open` gives sends requests to, without opening it. Pure.

    Asked by ``explain``. The core's default is what its HTTP client makes of configuration and declaration.
    """


@hookspec(firstresult=True)
def pollux_close(client: Any) -> bool | None:
    """Close what `pollux_open` gave; True says it is done. The core's default calls ``client.close()``."""


@hookspec(firstresult=True)
def pollux_plan(plan: Plan) -> Plan | None:
    """Fold over the plan: chunk, reorder, split, or refuse it.

    For middleware, as a wrapper: ``plan = yield`` gets the plan so far, ``return`` gives the next one.
    Asked once a ``run_many``, before any side effect. Call indexes must stay 0..n-1 in order. The core's
    default returns the plan as it is.
    """


@hookspec
def pollux_validate(call: Call) -> Problem | None:
    """Find what is wrong with a call before any side effect. Any plugin may answer; None: nothing found.

    Asked for every call of a plan, after planning and before the first upload.
    """


@hookspec(firstresult=True)
def pollux_rewrite_call(call: Call) -> Call | None:
    """Fold over one call before it is encoded, e.g. to redact.

    For middleware, as a wrapper: ``call = yield`` gets the call so far, ``return`` gives the next one.
    The core's default returns the call as it is.
    """


@hookspec(firstresult=True)
def pollux_call(call: Call, proceed: Callable[[Call], Reply]) -> Reply | None:
    """Carry out one logical call; it may take several physical attempts.

    The core's default returns ``proceed(call)``, the retry loop. Middleware: a wrapper traces or counts
    (``reply = yield`` raises what the call raised); a ``tryfirst`` implementation answers by itself, e.g. from
    a cache, or calls ``proceed`` with another call, any number of times. Runs in a worker thread.
    """


@hookspec(firstresult=True)
def pollux_encode(call: Call) -> HttpRequest | None:
    """Write the call as the provider's request: method, path, headers without the key, JSON body.

    Required of every provider. Pure: the same call gives the same request, nothing is read or sent.
    """


@hookspec(firstresult=True)
def pollux_send(request: HttpRequest, client: Any, timeout_s: float) -> HttpResponse | None:
    """Make one physical attempt, within ``timeout_s`` seconds in all. Raise on failure; never retry.

    The core's default sends over its HTTP client and raises `HttpError` for any status but 2xx.
    Middleware: a wrapper limits rates or logs; a ``tryfirst`` implementation replays. Runs in a worker thread.
    """


@hookspec(firstresult=True)
def pollux_decode(response: HttpResponse, call: Call) -> Reply | None:
    """Read the provider's answer. Required of every provider.

    Pure; tolerant of unknown and missing fields. Raise `ReplyError` for an answer that is none, and
    `HttpError` for an error inside a 200.
    """


@hookspec(firstresult=True)
def pollux_encode_stream(request: HttpRequest) -> HttpRequest | None:
    """Make of what `pollux_encode` gave the request that is answered bit by bit. Pure.

    The core's default sets ``stream`` in the body.
    """


@hookspec(firstresult=True)
def pollux_stream(request: HttpRequest, client: Any, timeout_s: float) -> EventStream | None:
    """Begin one physical attempt at a streamed answer; ``timeout_s`` seconds may pass until each next event.

    The core's default asks its HTTP client for server-sent events, and raises as `pollux_send` does. Whoever gets
    the stream closes it. Middleware: a wrapper limits rates; a ``tryfirst`` implementation replays.
    """


@hookspec(firstresult=True)
def pollux_decode_stream(stream: EventStream, call: Call) -> Iterator[Delta | Reply] | None:
    """Read a streamed answer: deltas as they come, then the `Reply` that `pollux_decode` would have given.

    Required of a provider that streams; one without it has ``stream`` refused. Pure but for reading ``stream``.
    Raises as `pollux_decode` does; end without a Reply where the answer was cut off.
    """


@hookspec(firstresult=True)
def pollux_classify_error(error: Exception) -> Fault | None:
    """Say what an exception from `pollux_send`, `pollux_decode` or `pollux_upload` means.

    Pure. None leaves it to the core's default, which knows `HttpError`, `ReplyError`, requests' and
    urllib3's exceptions and time-outs; what it does not know either is reported as the plugin's defect.
    """


@hookspec(firstresult=True)
def pollux_count_tokens(request: HttpRequest, call: Call, client: Any, timeout_s: float) -> int | None:
    """Have the provider count the input tokens of one call; None where it cannot tell.

    ``request`` is what would be sent for the call. Asked by ``explain(count_tokens=True)`` for calls without files that
    are still to be uploaded. Raise as `pollux_send` does; never retry.
    """


@hookspec(firstresult=True)
def pollux_price(provider: str, model: str, usage: Usage) -> Decimal | None:
    """What so many tokens cost, in US dollars; None where that is not known. Never guessed.

    For middleware. Asked by ``explain`` with ``input_tokens``, ``output_tokens`` and ``total_tokens``. Pure.
    """


@hookspec(firstresult=True)
def pollux_upload(source: Source, client: Any, timeout_s: float, name: str, lifetime_s: float) -> Asset | None:
    """Store a source's content at the provider under this name, streamed from ``source.open()``.

    ``lifetime_s`` is after how many seconds it may go by itself, should nobody delete it. Asked once per content
    and type of a plan, never retried after a bare network error.
    """


@hookspec(firstresult=True)
def pollux_delete_upload(asset: Asset, client: Any, timeout_s: float) -> bool | None:
    """Delete what `pollux_upload` stored; True says it is gone. Asked at the end of the plan, whatever happened."""


@hookspec(firstresult=True)
def pollux_create_cache(call: Call, ttl_s: float, client: Any, timeout_s: float) -> RemoteCache | None:
    """Keep the call's parts, system instruction and tools at the provider for ``ttl_s`` seconds.

    Asked of providers that declare the option "cache"; the call has no prompt, its files are uploaded. Never
    retried after a bare network error.
    """


@hookspec(firstresult=True)
def pollux_extend_cache(name: str, ttl_s: float, client: Any, timeout_s: float) -> RemoteCache | None:
    """Keep a cache for ``ttl_s`` seconds from now."""


@hookspec(firstresult=True)
def pollux_list_caches(client: Any, timeout_s: float) -> list[RemoteCache] | None:
    """All caches of the account."""


@hookspec(firstresult=True)
def pollux_delete_cache(name: str, client: Any, timeout_s: float) -> bool | None:
    """Delete a cache; True says it is gone."""


@hookspec(firstresult=True)
def pollux_encode_deferred(custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any] | None:
    """Encode one request of a deferred job as the JSON line that the provider takes. Pure.

    ``request`` is what `pollux_encode` returned. `pollux_collect_deferred` must return ``custom_id`` with the answer;
    ``mark`` may be added to it where a job has no name to carry it.
    """


@hookspec(firstresult=True)
def pollux_submit_deferred(batch: DeferredBatch, client: Any, timeout_s: float) -> DeferredJob | None:
    """Make one deferred job. Before it is asked a second time, `pollux_find_deferred` is."""


@hookspec(firstresult=True)
def pollux_find_deferred(batch: DeferredBatch, client: Any, timeout_s: float) -> DeferredJob | None:
    """The job that an interrupted submission of this batch made after all; None where there is none.

    ``batch.path`` may not exist any more. Raise ConfigurationError where several jobs might be it.
    """


@hookspec(firstresult=True)
def pollux_find_uploads(mark: str, client: Any, timeout_s: float) -> list[Asset] | None:
    """The stored files whose names begin with the mark; asked after an interrupted submission."""


@hookspec(firstresult=True)
def pollux_inspect_deferred(job: DeferredJob, client: Any, timeout_s: float) -> JobState | None:
    """How far a job is."""


@hookspec(firstresult=True)
def pollux_collect_deferred(job: DeferredJob, client: Any, timeout_s: float) -> Iterable[DeferredRow] | None:
    """The rows of a job that has ended, in any order; what is missing is accounted for by the core.

    A row's ``response`` goes through `pollux_decode`. ``timeout_s`` is for each request.
    """


@hookspec(firstresult=True)
def pollux_cancel_deferred(job: DeferredJob, client: Any, timeout_s: float) -> bool | None:
    """Ask for a job to be cancelled, without waiting; True says it was asked. No error for one that has ended."""


@hookspec(firstresult=True)
def pollux_release_deferred(job: DeferredJob, client: Any, timeout_s: float) -> bool | None:
    """Delete what was stored for a job that has ended, but for its answers. True says it is done."""


@hookspec(firstresult=True)
def pollux_list_models(config: ConfigValues, client: Any, timeout_s: float) -> list[ModelInfo] | None:
    """The models that the account may ask, whichever ``config.model`` names. ``timeout_s`` is for each request."""


@hookspec(firstresult=True)
def pollux_check_ready(config: ConfigValues, client: Any, timeout_s: float) -> bool | None:
    """Find out whether the configuration can be used now; True says it can. Spend no token.

    Raise what `pollux_classify_error` reads for whatever is in the way, an APIError of kind "not_found" for a model
    that is not there. None leaves it to the core, which looks for the model in `pollux_list_models`. Never retried.
    """


@hookspec
def pollux_event(event: Event) -> None:
    """Observe: told of every event, in the thread where it happens. Raising is logged and changes nothing."""
