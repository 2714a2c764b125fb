"""The hooks of the SDK. A plugin implements those that it needs and marks them with ``hookimpl``.

Where the first answer wins, an implementation returns None for "not mine" and the next plugin is called. The order
of arguments does not matter, and an implementation may leave out arguments that it does not need.

A *worker thread* is one of at most ``request_concurrency`` threads of the engine. A single call, or
``request_concurrency=1``, is carried out in the caller's own thread. All other hooks run in the caller's thread, unless
their docstring names another one.

A *classified* exception is one that `pollux_classify_error` can read: of the provider's SDK, of ``wire.faults``, or an
APIError. An error of our own tree passes through. Any other exception becomes a ProviderBugError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from pollux_sync.data.clients import Client
    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.events import Event
    from pollux_sync.data.handles import Asset, RemoteCache
    from pollux_sync.data.jobs import DeferredBatch, DeferredJob, DeferredRow, JobState
    from pollux_sync.data.limits import RateLimits, TokenEstimate
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.provider import Address, HttpRequest, HttpResponse, Problem, ProviderInfo, SourceRule
    from pollux_sync.data.reply import Reply, ToolCall, Usage
    from pollux_sync.data.request import Call, Plan
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.data.tool import ToolResult
    from pollux_sync.errors import Fault

# The name under which pluggy matches a plugin's marks with these specifications.
PROJECT = "pollux_sync"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def pollux_provider_info() -> ProviderInfo | None:
    """Declare the provider. Required of every provider.

    Called once, when the provider is loaded, in the thread that loads it. Must return a ProviderInfo
    whose name is that of the entry point. Pure and fast: no I/O, no import of a vendor SDK. Whatever it
    raises becomes a PluginLoadError.
    """


# Not firstresult: pluggy collects what every plugin found.
@hookspec
def pollux_check_config(config: ConfigValues) -> Problem | None:
    """Return a problem of the configuration, or None.

    Called on the provider while `Config` is built, after ``api_key`` and ``base_url`` have been completed from the
    environment. May look at local files; no other I/O. Raise nothing for a bad value: the Problem that is returned
    becomes a ConfigurationError.
    """


@hookspec(firstresult=True)
def pollux_open(config: ConfigValues, info: ProviderInfo) -> object:
    """Open the client that carries the calls. Many threads may use it at once.

    Called once per configuration, when its client is first needed, in the thread that needs it; the process keeps the
    client and reuses it. May return any object: the core passes it on to the other hooks as ``client``. May raise a
    ConfigurationError. The core's default opens its HTTP client with the provider's base url and auth header.
    """


@hookspec(firstresult=True)
def pollux_address(config: ConfigValues, info: ProviderInfo) -> Address | None:
    """Return the address that the client of `pollux_open` sends requests to, without opening it.

    Called by ``explain``. Pure. The core's default reads the base url from the configuration, else from the
    declaration. A provider that opens another client implements this too.
    """


@hookspec(firstresult=True)
def pollux_connect(client: object) -> bool | None:
    """Begin to connect to the server, in the background; return True when that has begun.

    Called before the files of a call are read, so that the handshake is over when the request is ready. Return at once,
    and keep errors to yourself: the request meets them again. Not called where a plugin sends requests or stands around
    calls, since nothing may have to be sent. The core's default serves the core's own
    HTTP client.
    """


@hookspec(firstresult=True)
def pollux_close(client: object) -> bool | None:
    """Close a client that `pollux_open` returned; return True when that is done.

    Called when the process ends, or when the pool of clients is full; calls may still be in flight at exit. Whatever
    it raises is logged and changes nothing. The core's default calls ``client.close()`` where there is such a method.
    """


@hookspec(firstresult=True)
def pollux_convert(source: Source, accepted: tuple[SourceRule, ...]) -> Source | tuple[Source, ...] | None:
    """Return what the provider gets in place of a source: another one, or several in order; None to leave it.

    Called while a call is planned, before any side effect, for each source that no rule of ``accepted`` matches, and
    for each file that would be sent as text, which may be full of markup; ``accepted`` are the provider's
    `ProviderInfo.sources`. May read the source; sends nothing. Keep the identifier, by which the model and the caller
    know it. Raise a SourceError for content that cannot be converted. What was converted is in the result's
    diagnostics, and shown by ``explain``.
    """


# firstresult, although every middleware takes part: they wrap the core's default, the one implementation that returns.
# The type of ``hooks`` is not named, since the relay imports this module.
@hookspec(firstresult=True)
def pollux_plan(plan: Plan, hooks: Any) -> Plan | None:
    """Return the plan to carry out: chunked, reordered or split. Raise an error of our tree to refuse it.

    For middleware, as a wrapper: ``plan = yield`` receives the plan so far, ``return`` passes on the next one. Called
    once per ``run_many``, ``stream_many``, ``defer_many`` and ``explain``, before any side effect. Call indexes must
    stay 0..n-1 in order. Must not send anything where ``plan.is_dry_run``. ``hooks`` are those of `pollux_call`. The
    core's default returns the plan unchanged.
    """


@hookspec
def pollux_validate(call: Call) -> Problem | None:
    """Return a problem of one call, or None. Every plugin may answer.

    Called for each call of a plan, after planning and before the first upload. Spend no token. The first Problem
    becomes a ConfigurationError. A rule that depends on the model should respect ``call.capabilities``.
    """


@hookspec(firstresult=True)
def pollux_rewrite_call(call: Call) -> Call | None:
    """Return the call to encode, for example a redacted one.

    For middleware, as a wrapper: ``call = yield`` receives the call so far, ``return`` passes on the next one. Called
    once per call, before `pollux_call`, in a worker thread, and for the content of a cache before it is created. May
    raise an error of our tree, which fails this call alone. The core's default returns the call unchanged.
    """


# ``proceed`` is an argument since a wrapper of pluggy yields once only: it could not repeat or skip what it wraps.
@hookspec(firstresult=True)
def pollux_call(call: Call, proceed: Callable[[Call], Reply], hooks: Any, stop: threading.Event) -> Reply | None:
    """Carry out one logical call and return its reply; it may take several physical attempts.

    Called once per call of ``run_many``, after `pollux_rewrite_call`, in a worker thread; streams and deferred jobs
    have hooks of their own. For middleware, called from the outer to the inner by the order of the list alone. A
    wrapper traces or counts (``reply = yield`` raises what the call raised). Another implementation returns a reply of
    its own, for example from a cache, or calls ``proceed``, any number of times and with other calls: that goes on with
    the middleware inside, and at the end with the retry loop. ``reply.response`` is the answer as it came.

    ``hooks`` are those of the configuration, a `pollux_sync.plugin.Hooks`. Once ``stop`` is set, nothing may be sent:
    wait on it instead of sleeping. May raise errors of our tree.
    """


@hookspec(firstresult=True)
def pollux_call_stream(
    call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Any, stop: threading.Event
) -> Iterator[Delta | Reply] | None:
    """Carry out one logical call whose answer is streamed; return its deltas and, as the last item, its Reply.

    As `pollux_call`, for streams. Called in the thread that reads the stream. Retries end with the first delta. An
    iterator that ends without a Reply is an answer that was cut off. It is closed where the caller leaves early.
    """


@hookspec(firstresult=True)
def pollux_call_deferred(call: Call, proceed: Callable[[Call], Reply], job: DeferredJob, hooks: Any) -> Reply | None:
    """Return the reply to one call of a deferred job that has ended.

    As `pollux_call`, when the results of a job are collected: ``proceed`` decodes the row of the call, and raises its
    error. ``call`` is what a handle knows of it: its index, options of the answer and model, but no prompt, parts or
    conversation. Nothing is sent.
    """


@hookspec(firstresult=True)
def pollux_call_tool(call: ToolCall, proceed: Callable[[ToolCall], ToolResult], hooks: Any) -> ToolResult | None:
    """Run one tool that the model called, and return its result.

    As `pollux_call`, for the functions of ``run_tools``, in the thread that runs the tool. ``proceed`` never raises
    what a tool raises: its result has ``is_error``. Return such a result to refuse a call. An error of our tree ends
    the loop.
    """


@hookspec(firstresult=True)
def pollux_encode(call: Call) -> HttpRequest | None:
    """Return the provider's HTTP request for a call. Required of every provider.

    Called once per logical call, before its attempts, in a worker thread, and for one call of a plan with raw fields
    or headers when it is planned: without its parts, to find what they would replace. Must return method, path, headers
    without the key, and the JSON body. Pure: the same call is always encoded to the same request, and nothing is read
    or sent. May raise a ConfigurationError for a call that cannot be encoded.
    """


@hookspec(firstresult=True)
def pollux_send(request: HttpRequest, client: Client, timeout_s: float) -> HttpResponse | None:
    """Make one physical attempt and return the response. Never retry: the core owns retries.

    Called once per attempt, in a worker thread. The whole exchange must end within ``timeout_s`` seconds. Raise a
    classified exception on failure. The core's default sends over its HTTP client and raises `HttpError` for any status
    but 2xx. For middleware: a wrapper limits rates or logs; a ``tryfirst`` implementation replays.
    """


@hookspec(firstresult=True)
def pollux_decode(response: HttpResponse, call: Call) -> Reply | None:
    """Return the reply that a response holds. Required of every provider.

    Called after each successful `pollux_send`, in the same thread, and for each row of a deferred job. Pure. Must
    tolerate unknown and missing fields. Raise `ReplyError` for a response that holds no answer, and `HttpError` for an
    error inside a 200.
    """


@hookspec(firstresult=True)
def pollux_encode_stream(request: HttpRequest) -> HttpRequest | None:
    """Return the request that asks for a streamed answer.

    Called on what `pollux_encode` returned, once per streamed call, in the thread that reads the stream. Pure. The
    core's default sets ``stream`` in the body.
    """


@hookspec(firstresult=True)
def pollux_stream(request: HttpRequest, client: Client, timeout_s: float) -> EventStream | None:
    """Open one physical attempt at a streamed answer and return its events.

    Called once per attempt: in the caller's thread for one prompt, in a worker thread for several. Each event must
    arrive within ``timeout_s`` seconds of the one before. Raise as `pollux_send` does. Whoever receives the stream
    closes it. The core's default sends over its HTTP client and reads server-sent events. For middleware: a wrapper
    limits rates; a ``tryfirst`` implementation replays.
    """


@hookspec(firstresult=True)
def pollux_decode_stream(stream: EventStream, call: Call) -> Iterator[Delta | Reply] | None:
    """Yield the deltas of a streamed answer as they arrive, then the Reply.

    Required of a provider that streams; ``stream`` is refused for one without it. Called after `pollux_stream`, in the
    same thread. The Reply must be the one that `pollux_decode` would return for the whole answer. Yield none where the
    answer was cut off. Pure but for reading ``stream``. Raise as `pollux_decode` does.
    """


@hookspec(firstresult=True)
def pollux_classify_error(error: Exception) -> Fault | None:
    """Return the Fault behind an exception, or None for one that this plugin does not know.

    Called for each exception that another hook raised and that is not of our tree, in the thread of that hook. Pure;
    must not raise. The core's default knows `HttpError`, `ReplyError`, time-outs, and the exceptions of requests and
    urllib3. An exception that nobody knows is reported as the plugin's defect.
    """


@hookspec(firstresult=True)
def pollux_build_error(response: HttpResponse) -> Exception | None:
    """Return the exception that an error answer would have raised in `pollux_send`.

    Called for the ``error_response`` of a row of a deferred job; `pollux_classify_error` then reads the exception.
    Pure. The core's default returns an `HttpError`.
    """


@hookspec(firstresult=True)
def pollux_count_tokens(request: HttpRequest, call: Call, client: Client, timeout_s: float) -> int | None:
    """Return the input tokens of one call as the provider counts them, or None if it cannot.

    Called by ``explain(count_tokens=True)``, in a worker thread, for calls without files that are still to be uploaded.
    ``request`` is what would be sent for the call. Raise as `pollux_send` does; never retry.
    """


@hookspec(firstresult=True)
def pollux_estimate_tokens(call: Call) -> TokenEstimate | None:
    """Return the tokens that a call is expected to take, or None to leave it to the core.

    Called before a call is sent, where tokens are limited or budgeted, in any thread. Pure and fast: no I/O. The core's
    default goes by the lengths of texts and the sizes of files.
    """


@hookspec(firstresult=True)
def pollux_rate_limits(response: HttpResponse) -> RateLimits | None:
    """Return the rate limits that an answer reports, or None if it reports none.

    Called after answers and errors, where rates are limited, in the thread that received them. Pure. The core's default
    reads the headers of OpenAI's API, which other servers send too.
    """


@hookspec(firstresult=True)
def pollux_price(provider: str, model: str, usage: Usage, tier: str) -> Decimal | None:
    """Return the price of these tokens in US dollars, or None if it is not known. Never guess.

    For middleware. Called by ``explain`` with ``input_tokens``, ``output_tokens`` and ``total_tokens``. ``tier`` is the
    way the tokens are served: "default", "flex", "priority", or "batch" for a deferred job. After an answer it is the
    tier that served it, which may be a word of the provider's own. Pure.
    """


# The name and the lifetime are the core's, since the files of a deferred job must be found again and outlive the call.
@hookspec(firstresult=True)
def pollux_upload(source: Source, client: Client, timeout_s: float, name: str, lifetime_s: float) -> Asset | None:
    """Store a source's content at the provider under this name and return the stored file.

    Called once per content and type of a plan, before its first call, in a worker thread; not for a file that goes
    inside the request, by the rule's ``inline`` limits. Read the content from ``source.open()`` or
    ``source.iter_chunks()``: both raise if it has changed since it was planned. ``source.size_bytes`` is its exact
    length. Return a file that the provider still has to process with ``is_ready=False``, for `pollux_inspect_upload`.
    The provider may delete the file itself after ``lifetime_s`` seconds, for a process that died before it could. Raise
    a classified exception; the core retries only after a response that allows it, because after a bare network error
    the file may exist already.
    """


@hookspec(firstresult=True)
def pollux_inspect_upload(asset: Asset, client: Client, timeout_s: float) -> Asset | None:
    """Return a stored file in its current state.

    Called with growing waits in between while the file is not ready, in the thread of its upload. Raise a classified
    exception, and APIError for a file that the provider could not process.
    """


@hookspec(firstresult=True)
def pollux_delete_upload(asset: Asset, client: Client, timeout_s: float) -> bool | None:
    """Delete what `pollux_upload` stored; return True when it is gone.

    Called at the end of the plan, even after a failure or Ctrl-C, in a worker thread. Whatever it raises is logged and
    changes nothing. Never retried.
    """


@hookspec(firstresult=True)
def pollux_create_cache(
    call: Call, ttl_s: float, client: Client, timeout_s: float, label: str | None
) -> RemoteCache | None:
    """Create a cache of the call's parts, system instruction and tools for ``ttl_s`` seconds; return it.

    Called by ``create_cache``, for providers that declare the option "cache". The call has no prompt, and its files are
    uploaded. ``label`` is a text to keep with the cache, within the declared ``cache_labels``. It is None if the caller
    gave none, and always if no labels are declared. Raise a classified exception; never retried after a bare network
    error, since a second cache would be paid for.
    """


@hookspec(firstresult=True)
def pollux_extend_cache(name: str, ttl_s: float, client: Client, timeout_s: float) -> RemoteCache | None:
    """Set a cache to expire ``ttl_s`` seconds from now and return it.

    Called when the lifetime of a cache is to be renewed. Raise a classified exception, of kind "cache_missing" for a
    cache that no longer exists.
    """


@hookspec(firstresult=True)
def pollux_list_caches(client: Client, timeout_s: float) -> list[RemoteCache] | None:
    """Return all caches of the account, also those that others created.

    Called by ``list_caches``. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_delete_cache(name: str, client: Client, timeout_s: float) -> bool | None:
    """Delete a cache; return True when it is gone.

    Called by ``delete_cache``. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_encode_deferred(custom_id: str, request: HttpRequest, mark: str, call: Call) -> dict[str, Any] | None:
    """Return one request of a deferred job as the JSON line that the provider takes.

    Called once per call of a ``defer_many``, with the call and what `pollux_encode` returned for it.
    `pollux_collect_deferred` must return ``custom_id`` with the answer. ``mark`` may be added to it, for a provider
    whose jobs have no name to carry it. Pure.
    """


@hookspec(firstresult=True)
def pollux_bookmark_deferred(client: Client, timeout_s: float) -> str | None:
    """Return a bookmark that separates existing jobs from later ones, such as the newest id; None without any jobs.

    Called before a job is submitted for the first time, and passed on as ``batch.bookmark``. For a provider whose jobs
    carry no mark: after a lost answer only a job that is newer than the bookmark can be the one that was submitted.
    Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_submit_deferred(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
    """Submit one deferred job and return it.

    Called once per job of a ``defer_many``. Must put ``batch.mark`` into the names of the job and of its files. Raise a
    classified exception. Before a second attempt at the same job the core calls `pollux_find_deferred`, so that no job
    is paid for twice.
    """


@hookspec(firstresult=True)
def pollux_find_deferred(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
    """Return the job that an interrupted submission of this batch created, or None without one.

    Called before a batch is submitted again. ``batch.path`` may no longer exist. Return a job only on proof, such as
    its mark: raise ConfigurationError where a job might be it, since a wrong guess would take over a stranger's. Raise
    a classified exception for a failed look-up, for an answer that is not a list, and for a list with an entry that may
    be the job but cannot be read: they prove nothing. `find_marked_jobs` and `choose_job` do that for marked jobs.
    """


@hookspec(firstresult=True)
def pollux_find_uploads(mark: str, client: Client, timeout_s: float) -> list[Asset] | None:
    """Return the stored files whose names begin with the mark.

    Called after an interrupted submission, to delete what belongs to no job. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_inspect_deferred(job: DeferredJob, client: Client, timeout_s: float) -> JobState | None:
    """Return the state of a job.

    Called by ``inspect_deferred`` and while a job is waited for. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_collect_deferred(job: DeferredJob, client: Client, timeout_s: float) -> Iterable[DeferredRow] | None:
    """Return the rows of a job that has ended, in any order.

    Called by ``collect_deferred``. A generator keeps memory small. A row's ``response`` goes through `pollux_decode`;
    the core accounts for rows that are missing, repeated or unknown. ``timeout_s`` is the limit of each request. Raise
    a classified exception.
    """


@hookspec(firstresult=True)
def pollux_cancel_deferred(job: DeferredJob, client: Client, timeout_s: float) -> bool | None:
    """Ask the provider to cancel a job, without waiting; return True when it was asked.

    Called by ``cancel_deferred``. Raise a classified exception. After an error status, or an answer that cannot be
    read, the core inspects the job, and reports no error if it has ended or is being cancelled.
    """


@hookspec(firstresult=True)
def pollux_release_deferred(job: DeferredJob, client: Client, timeout_s: float) -> bool | None:
    """Delete what was stored for a job that has ended, except its answers; return True when it is gone.

    Called after a job's rows have been collected. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_list_models(config: ConfigValues, client: Client, timeout_s: float) -> list[ModelInfo] | None:
    """Return the models that the account may use, whichever of them ``config.model`` names.

    Called by ``list_models`` and, where `pollux_check_ready` returned None, to look for the model. ``timeout_s`` is the
    limit of each request. Raise a classified exception.
    """


@hookspec(firstresult=True)
def pollux_check_ready(config: ConfigValues, client: Client, timeout_s: float) -> bool | None:
    """Check that the configuration can be used now; return True if it can. Spend no token.

    Called by ``check_ready``. Raise a classified exception for whatever is in the way, an APIError of kind "not_found"
    for a model that does not exist. None leaves it to the core, which looks for the model in `pollux_list_models`.
    Never retried.
    """


# Observers cannot be wrappers: one that fails must not keep an event from the others.
@hookspec
def pollux_event(event: Event) -> None:
    """Observe one event. Every plugin is called, one after another, in the thread where it happens.

    Must not be a wrapper. Whatever it raises is logged and changes nothing. Return quickly: the call waits.
    """
