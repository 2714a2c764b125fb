"""The calls of plugins' hooks: one relay per configuration, with a typed method for every hook.

The engine knows plugins through `Hooks` alone. A failure inside a hook leaves it as an error of our tree that names
the plugin.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakSet

import attrs
import pluggy

from pollux_sync.data.config import SecretText, redact_secret
from pollux_sync.data.options import OPTION_TRAITS
from pollux_sync.data.provider import API_VERSION, Address, HttpRequest, HttpResponse, Problem, ProviderInfo
from pollux_sync.data.reply import Reply
from pollux_sync.data.request import Call, Plan
from pollux_sync.errors import APIError, Fault, PluginLoadError, PolluxError, ProviderBugError
from pollux_sync.hooks import specs
from pollux_sync.hooks.loading import STRICT_VARIABLE, Loaded, is_strict_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal
    from types import TracebackType

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.events import Event
    from pollux_sync.data.handles import Asset, RemoteCache
    from pollux_sync.data.jobs import DeferredBatch, DeferredJob, DeferredRow, JobState
    from pollux_sync.data.limits import RateLimits, TokenEstimate
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.reply import ToolCall, Usage
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.data.tool import ToolResult

T = TypeVar("T")
C = TypeVar("C")

#: More than any sentence needs; the body of an error may be text of 2000 characters.
_MAX_MESSAGE = 500
#: How many secrets of calls are remembered: a server may send each of its calls with a token of its own.
_MAX_CALL_SECRETS = 1000
#: As Any, since a type checker takes no abstract class for ``type[T]``.
_ITERATOR: Any = Iterator
_EXCEPTION: Any = Exception
#: Kinds of faults whose message names the address that the request went to.
_ADDRESS_KINDS = frozenset({"connection", "timeout", "not_found"})
#: The hooks that the specifications call required of every provider.
REQUIRED_HOOKS = ("pollux_provider_info", "pollux_encode", "pollux_decode")

log = logging.getLogger("pollux_sync")
log.addHandler(logging.NullHandler())


class _Manager(pluggy.PluginManager):
    """Looks for hooks under names that a hook can have: to look at every attribute takes most of the time."""

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return super().parse_hookspec_opts(module_or_class, name) if name.startswith("pollux_") else None

    # An implementation may have another name than its hook.
    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)


def build_manager(plugins: Sequence[Loaded]) -> pluggy.PluginManager:
    """Return a manager that calls the last of ``plugins`` first. Raises PluginLoadError for one that does not fit."""
    manager = _Manager(specs.PROJECT)
    manager.add_hookspecs(specs)
    for position, loaded in enumerate(plugins):
        try:
            # pluggy refuses two plugins of one name. The position makes names unique: two middleware may share one.
            manager.register(loaded.plugin, name=f"{position} {loaded.name} ({loaded.origin})")
            # Checked after each plugin, so that the error names the one with the unknown hook.
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _build_load_error(loaded, str(error).replace("\n", " "), "it may need a newer pollux-sync") from error
        except ValueError as error:
            raise _build_load_error(loaded, "it is registered twice", "list each plugin once") from error
        _require_marks(loaded, manager)
        # `Hooks.emit` calls the implementations itself, outside pluggy, and so cannot run a wrapper.
        if any(impl.plugin is loaded.plugin and impl.wrapper for impl in manager.hook.pollux_event.get_hookimpls()):
            raise _build_load_error(loaded, "pollux_event cannot be wrapped", "observe without wrapper=True")
    return manager


def _require_marks(loaded: Loaded, manager: pluggy.PluginManager) -> None:
    """Raise PluginLoadError for a method that is named as a hook but not marked: it would never be called."""
    names = [name for name in dir(loaded.plugin) if name.startswith("pollux_") and hasattr(specs, name)]
    unmarked = [
        name
        for name in names
        if callable(getattr(loaded.plugin, name)) and manager.parse_hookimpl_opts(loaded.plugin, name) is None
    ]
    if unmarked:
        raise _build_load_error(
            loaded,
            f"{' and '.join(unmarked)} would never be called without the mark @hookimpl",
            f"mark {'each' if unmarked[1:] else 'it'} with hookimpl, or report this to the plugin's author",
        )


@lru_cache(maxsize=64)
def build_provider_manager(provider: Loaded) -> pluggy.PluginManager:
    """Return a manager of a provider alone. Raises PluginLoadError for one that does not fit."""
    return build_manager([provider])


@lru_cache(maxsize=64)
def read_provider_info(provider: Loaded) -> ProviderInfo:
    """Return the provider's declaration, checked. Raises PluginLoadError when it does not fit this core.

    The cache keeps the promise that `pollux_provider_info` is called once per plugin.
    """
    hooks = build_provider_manager(provider).hook
    _require_hooks(provider, hooks)
    try:
        info = hooks.pollux_provider_info()
    except PolluxError:
        raise
    except Exception as error:
        if is_strict_mode():
            raise
        raise _build_load_error(provider, f"pollux_provider_info raised {type(error).__name__}: {error}") from error
    if not isinstance(info, ProviderInfo):
        raise _build_load_error(provider, f"pollux_provider_info returned {type(info).__name__}, not a ProviderInfo")
    if info.name != provider.name:
        raise _build_load_error(provider, f"it declares the name {info.name!r} under the entry point {provider.name!r}")
    _require_known_options(provider, info)
    if not _is_version(info.api):
        raise _build_load_error(provider, f"its hook version must be two integers, it is {info.api!r}")
    # A newer minor version may rely on hooks that this core does not call.
    if info.api[0] != API_VERSION[0] or info.api > API_VERSION:
        ours, theirs = (".".join(map(str, version)) for version in (API_VERSION, info.api))
        raise _build_load_error(
            provider, f"it speaks hook version {theirs}, this core {ours}", "upgrade the older of the two"
        )
    return info


def _require_hooks(provider: Loaded, hooks: pluggy.HookRelay) -> None:
    # Without this a missing decoder would show only after a call was paid for.
    missing = [name for name in REQUIRED_HOOKS if not getattr(hooks, name).get_hookimpls()]
    if missing:
        raise _build_load_error(
            provider,
            f"it does not implement {' and '.join(missing)}, which every provider needs",
            f"implement {' and '.join(missing)} and mark each with hookimpl, or report this to the plugin's author",
        )


def _require_known_options(provider: Loaded, info: ProviderInfo) -> None:
    # A mistyped name would have every call that uses the option refused.
    known = {traits.declared_as for traits in OPTION_TRAITS if traits.declared_as}
    for field, names in (("options", info.options), ("conditions", info.conditions)):
        for name in sorted(set(names) - known):
            raise _build_load_error(
                provider, f"its {field} name {name!r}, which no option is", _suggest_option(name, known)
            )


def _suggest_option(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "use names of the fields of Options, or upgrade pollux-sync"


def _is_version(api: object) -> bool:
    return isinstance(api, tuple) and len(api) == len(API_VERSION) and all(isinstance(part, int) for part in api)


def _build_load_error(
    loaded: Loaded, reason: str, hint: str = "pip install --upgrade it, or uninstall it"
) -> PluginLoadError:
    return PluginLoadError(
        f"plugin {loaded.name!r} of {loaded.origin} does not fit: {reason}",
        hint=hint,
        name=loaded.name,
        distribution=loaded.distribution,
        version=loaded.version,
    )


class Hooks:
    """The hooks of one configuration, typed. Opens the provider's client when it is first needed.

    Many threads may use it at once. `close` closes the client; a later use opens a new one. Methods that make requests
    raise the exceptions of the transport unchanged, for `classify` to read. ``is_aborted`` is set by `abort`.
    """

    def __init__(self, *, config: ConfigValues, info: ProviderInfo, manager: pluggy.PluginManager) -> None:
        self.config = config
        self.info = info
        self._manager = manager
        self._hook = manager.hook
        self._client: Any = None
        self._is_borrowed = False
        self.is_aborted = False
        self._stops: WeakSet[threading.Event] = WeakSet()
        self._address: Address | None = None
        self._lock = threading.Lock()
        # Looked up once, since the id of every answer is scrubbed. The key of a caller's own client may change.
        self._secrets = None if config.client is not None else config.secrets
        self._call_secrets: tuple[str, ...] = ()
        self._observers = self._hook.pollux_event.get_hookimpls()
        self._validators = bool(self._hook.pollux_validate.get_hookimpls())
        #: True if a plugin may know prices.
        self.can_price = bool(self._hook.pollux_price.get_hookimpls())
        # pluggy costs time in every call. The hooks of every call are called directly where no plugin wraps them; hooks
        # that only the core's default implements, and that change nothing, are not called at all.
        hook = self._hook
        self._validate, self._encode, self._send, self._decode, self._rate_limits = map(
            _make_caller,
            (hook.pollux_validate, hook.pollux_encode, hook.pollux_send, hook.pollux_decode, hook.pollux_rate_limits),
        )
        self._plans, self._rewrites = (
            len(hook.get_hookimpls()) > 1 for hook in (self._hook.pollux_plan, self._hook.pollux_rewrite_call)
        )
        self._calls, self._stream_calls, self._deferred_calls, self._tool_calls = (
            _list_layers(manager, f"pollux_call{kind}") for kind in ("", "_stream", "_deferred", "_tool")
        )

    @property
    def client(self) -> object:
        """The client that carries the calls, opened at the first use."""
        # Checked before and after taking the lock: all calls come here, and only the first one has to wait.
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    client = self._client = self._call_hook("pollux_open", object, config=self.config, info=self.info)
        return client

    def _open_for_call(self) -> object:
        client = self.client
        # Looked at second: a client that was opened after the abort would not have been closed by it.
        if self.is_aborted:
            raise APIError("the session was aborted before the call was sent", phase="generate")
        return client

    def resolve_address(self) -> Address:
        """Return the address that requests go to, without opening the client, and the headers of every request."""
        # Kept: the key of every request needs it.
        if self._address is None:
            address = self._call_hook("pollux_address", Address, config=self.config, info=self.info)
            self._address = attrs.evolve(address, headers={**address.headers, **self.config.headers})
        return self._address

    def connect(self) -> None:
        """Have the client connect in the background, unless a plugin may answer calls without it."""
        if self._calls or len(self._hook.pollux_send.get_hookimpls()) > 1:
            return
        self._invoke("pollux_connect", self._hook.pollux_connect, client=self.client)

    def borrow(self, client: object) -> None:
        """Let the calls be carried by the client of other hooks, which `close` leaves open."""
        self._client, self._is_borrowed = client, True

    def link_stop(self, stop: threading.Event) -> None:
        """Have `abort` set a stop, which ends the waits of calls between their attempts."""
        with self._lock:
            self._stops.add(stop)
            if self.is_aborted:
                stop.set()

    def abort(self) -> None:
        """End the calls in flight: none is sent again, and none can be sent from now on."""
        with self._lock:
            self.is_aborted = True
            for stop in self._stops:
                stop.set()
        self.close()

    def close(self) -> None:
        """Close the client if there is one. A failure is logged and changes nothing."""
        with self._lock:
            if self._is_borrowed:
                return
            client, self._client = self._client, None
        if client is not None:
            try:
                self._hook.pollux_close(client=client)
            except Exception as error:  # noqa: BLE001 - closing must not mask what came before
                log.warning("closing the client of %s failed: %s", self.info.name, self.scrub(str(error)))

    def plan(self, plan: Plan) -> Plan:
        """Return the plan as rewritten by the middleware."""
        return self._call_hook("pollux_plan", Plan, plan=plan, hooks=self) if self._plans else plan

    @property
    def can_convert(self) -> bool:
        """True if a plugin converts sources."""
        return bool(self._hook.pollux_convert.get_hookimpls())

    def convert(self, source: Source) -> tuple[Source, ...]:
        """Return the sources that a plugin has made of one, none if no plugin converts it."""
        from pollux_sync.data.source import Source as SourceType

        answer = self._invoke(
            "pollux_convert", self._hook.pollux_convert, source=source, accepted=tuple(self.info.sources)
        )
        several = answer if isinstance(answer, tuple) else () if answer is None else (answer,)
        return tuple(self._require_type("pollux_convert", one, SourceType) for one in several)

    def check_config(self) -> list[Problem]:
        """Return the problems that plugins find in the configuration."""
        return self._list_problems("pollux_check_config", self._hook.pollux_check_config, config=self.config)

    def validate(self, call: Call) -> list[Problem]:
        """Return the problems that plugins find in the call."""
        return self._list_problems("pollux_validate", self._validate, call=call) if self._validators else []

    def rewrite_call(self, call: Call) -> Call:
        """Return the call as rewritten by the middleware."""
        return self._call_hook("pollux_rewrite_call", Call, call=call) if self._rewrites else call

    @property
    def keeps_responses(self) -> bool:
        """True if middleware may want the answer as it came beside the reply."""
        return bool(self._calls or self._stream_calls or self._deferred_calls)

    def call(self, call: Call, proceed: Callable[[Call], Reply], stop: threading.Event) -> Reply:
        """Return the reply to one logical call. Raises what ``proceed`` raises."""
        if not self._calls:
            return proceed(call)
        return self._enter_layers(self._calls, Reply, proceed, hooks=self, stop=stop)(call)

    def call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], stop: threading.Event
    ) -> Iterator[Delta | Reply]:
        """Return the deltas and the reply of one logical call whose answer is streamed."""
        if not self._stream_calls:
            return proceed(call)
        items = self._enter_layers(self._stream_calls, _ITERATOR, proceed, hooks=self, stop=stop)(call)
        return self._iter_items(items)

    def call_deferred(self, call: Call, proceed: Callable[[Call], Reply], job: DeferredJob) -> Reply:
        """Return the reply to one call of a deferred job. Raises what ``proceed`` raises."""
        return self._enter_layers(self._deferred_calls, Reply, proceed, hooks=self, job=job)(call)

    def call_tool(self, call: ToolCall, proceed: Callable[[ToolCall], ToolResult]) -> ToolResult:
        """Return the result of one tool that the model called."""
        if not self._tool_calls:
            return proceed(call)
        from pollux_sync.data.tool import ToolResult

        return self._enter_layers(self._tool_calls, ToolResult, proceed, hooks=self)(call)

    def _enter_layers(
        self, layers: tuple[Any, ...], answer_type: type[T], proceed: Callable[[C], T], **context: Any
    ) -> Callable[[C], T]:
        """Return a function that carries out a call inside all layers, the first of them the outermost."""

        def wrap(layer: Any, inner: Callable[[C], T]) -> Callable[[C], T]:
            def carry_out(call: C) -> T:
                answer = self._invoke(layer.name, layer, call=call, proceed=inner, **context)
                return self._require_type(layer.name, answer, answer_type, layer)

            return carry_out

        for layer in reversed(layers):
            proceed = wrap(layer, proceed)
        return proceed

    def _iter_items(self, items: Iterator[Delta | Reply]) -> Iterator[Delta | Reply]:
        """Yield the items of a stream that middleware has changed. What it raises becomes an error that names it."""
        try:
            yield from items
        except PolluxError:
            raise
        except Exception as error:  # noqa: BLE001 - as in _invoke
            self._raise_bug("pollux_call_stream", error)

    def encode(self, call: Call) -> HttpRequest:
        """Return the provider's HTTP request for the call."""
        return self._require_type("pollux_encode", self._invoke("pollux_encode", self._encode, call=call), HttpRequest)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Make one physical attempt and return the response."""
        answer = self._send(request=request, client=self._open_for_call(), timeout_s=timeout_s)
        return self._require_type("pollux_send", answer, HttpResponse)

    def decode(self, response: HttpResponse, call: Call) -> Reply:
        """Return the reply that a response holds. Raises what the decoder raises."""
        reply = self._require_type("pollux_decode", self._decode(response=response, call=call), Reply)
        return reply.replace_surrogates()

    @property
    def can_stream(self) -> bool:
        """True if the provider streams its answers."""
        return bool(self._hook.pollux_decode_stream.get_hookimpls())

    def encode_stream(self, request: HttpRequest) -> HttpRequest:
        """Return the request that asks for a streamed answer."""
        return self._call_hook("pollux_encode_stream", HttpRequest, request=request)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Open one physical attempt at a streamed answer. The caller closes the stream."""
        from pollux_sync.data.streaming import EventStream

        answer = self._hook.pollux_stream(request=request, client=self._open_for_call(), timeout_s=timeout_s)
        return self._require_type("pollux_stream", answer, EventStream)

    def decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        """Yield the deltas of a streamed answer, then its reply. Reading raises what the decoder raises."""
        deltas = self._hook.pollux_decode_stream(stream=stream, call=call)
        return self._require_type("pollux_decode_stream", deltas, _ITERATOR)

    @property
    def can_count_tokens(self) -> bool:
        """True if a plugin can count tokens."""
        return bool(self._hook.pollux_count_tokens.get_hookimpls())

    def count_tokens(self, request: HttpRequest, call: Call, timeout_s: float) -> int | None:
        """Return the input tokens as the provider counts them, or None if it cannot."""
        answer = self._hook.pollux_count_tokens(request=request, call=call, client=self.client, timeout_s=timeout_s)
        return None if answer is None else self._require_type("pollux_count_tokens", answer, int)

    def estimate_tokens(self, call: Call) -> TokenEstimate:
        """Return the tokens that a call is expected to take."""
        from pollux_sync.data.limits import TokenEstimate

        return self._call_hook("pollux_estimate_tokens", TokenEstimate, call=call)

    def read_rate_limits(self, response: HttpResponse) -> RateLimits | None:
        """Return the rate limits that an answer reports, None if it reports none."""
        answer = self._invoke("pollux_rate_limits", self._rate_limits, response=response)
        if answer is None:
            return None
        from pollux_sync.data.limits import RateLimits

        return self._require_type("pollux_rate_limits", answer, RateLimits)

    def price(self, model: str, usage: Usage, *, tier: str = "default") -> Decimal | None:
        """Return the price of these tokens in US dollars, or None if no plugin knows it."""
        from decimal import Decimal

        answer = self._invoke(
            "pollux_price", self._hook.pollux_price, provider=self.info.name, model=model, usage=usage, tier=tier
        )
        return None if answer is None else self._require_type("pollux_price", answer, Decimal)

    def classify(self, error: Exception) -> Fault:
        """Return the fault behind a hook's exception, without the key. Raises ProviderBugError if nobody knows it."""
        try:
            fault = self._hook.pollux_classify_error(error=error)
        except Exception as defect:  # noqa: BLE001 - as in _invoke
            self._raise_bug("pollux_classify_error", defect)
        if fault is None:
            self._raise_bug("a hook", error)
        return self.scrub_fault(self._require_type("pollux_classify_error", fault, Fault))

    def classify_response(self, response: HttpResponse) -> Fault:
        """Return the fault that an error answer shows, without the key. Raises ProviderBugError as `classify` does."""
        # Through an exception, as if a request had raised it: a provider's classifier knows its own errors by that.
        error: Any = self._call_hook("pollux_build_error", _EXCEPTION, response=response)
        return self.classify(error)

    def scrub_fault(self, fault: Fault) -> Fault:
        """Return the fault without the key, its message cut to 500 characters, with a hint if a key was refused."""
        hint = fault.hint
        if fault.kind == "auth" and hint is None:
            hint = f"check api_key{''.join(f' or {name}' for name in self.info.credential_env)}"
        if fault.kind == "not_found":
            hint = self._find_address_hint(fault) or hint
        message = self.scrub_message(fault.message)
        # A wrong base_url shows as one of these kinds, and only the address lets the reader see it.
        if fault.kind in _ADDRESS_KINDS and self.destination:
            place = f" (at {self.destination})"
            # A fault that another process has read says so already.
            message = message.removesuffix(place) + place
        unread = fault.unread_answer
        if unread is not None:
            unread = self.scrub(unread.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return attrs.evolve(
            fault,
            message=message,
            hint=hint and self.scrub(hint),
            request_id=fault.request_id and self.scrub(fault.request_id),
            provider_code=fault.provider_code and self.scrub(fault.provider_code),
            unread_answer=unread,
        )

    def _find_address_hint(self, fault: Fault) -> str | None:
        """Return what may be wrong with an address that the user chose; None if the server looked for the model."""
        from pollux_sync.data.addresses import find_address_hint

        own, info = self.config.base_url, self.info
        is_chosen = self.config.client is None and own is not None and own.rstrip("/") != info.base_url
        if own is None or not is_chosen or self.config.model in fault.message:
            return None
        usual = info.base_url if info.base_url_example is None else info.base_url_example
        hints = (find_address_hint(own, usual) if usual else None, info.not_found_hint, fault.hint)
        return "; ".join(filter(None, hints)) or None

    @property
    def destination(self) -> str | None:
        """The address that requests go to, or None if it is not known."""
        # A client that was handed over has an address of its own, which the core does not know.
        return None if self.config.client is not None else self.config.base_url or self.info.base_url

    def upload(self, source: Source, timeout_s: float, *, name: str, lifetime_s: float) -> Asset:
        """Store a source's content under this name and return the stored file."""
        from pollux_sync.data.handles import Asset

        answer = self._hook.pollux_upload(
            source=source, client=self.client, timeout_s=timeout_s, name=name, lifetime_s=lifetime_s
        )
        return self._require_type("pollux_upload", answer, Asset)

    def inspect_upload(self, asset: Asset, timeout_s: float) -> Asset:
        """Return a stored file in its current state."""
        from pollux_sync.data.handles import Asset

        answer = self._hook.pollux_inspect_upload(asset=asset, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_inspect_upload", answer, Asset)

    def delete_upload(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        self._hook.pollux_delete_upload(asset=asset, client=self.client, timeout_s=timeout_s)

    def create_cache(self, call: Call, ttl_s: float, timeout_s: float, label: str | None) -> RemoteCache:
        """Create a cache of the call's content and return it."""
        from pollux_sync.data.handles import RemoteCache

        answer = self._hook.pollux_create_cache(
            call=call, ttl_s=ttl_s, client=self.client, timeout_s=timeout_s, label=label
        )
        return self._require_type("pollux_create_cache", answer, RemoteCache)

    def extend_cache(self, name: str, ttl_s: float, timeout_s: float) -> RemoteCache:
        """Set a cache to expire ``ttl_s`` seconds from now and return it."""
        from pollux_sync.data.handles import RemoteCache

        answer = self._hook.pollux_extend_cache(name=name, ttl_s=ttl_s, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_extend_cache", answer, RemoteCache)

    def list_caches(self, timeout_s: float) -> list[RemoteCache]:
        """Return the account's caches."""
        from pollux_sync.data.handles import RemoteCache

        answer = self._hook.pollux_list_caches(client=self.client, timeout_s=timeout_s)
        return [self._require_type("pollux_list_caches", cache, RemoteCache) for cache in answer or ()]

    def delete_cache(self, name: str, timeout_s: float) -> None:
        """Delete a cache."""
        self._hook.pollux_delete_cache(name=name, client=self.client, timeout_s=timeout_s)

    def encode_deferred(self, custom_id: str, request: HttpRequest, mark: str, call: Call) -> dict[str, Any]:
        """Return the request of a call as a line of a deferred job."""
        return self._call_hook(
            "pollux_encode_deferred", dict, custom_id=custom_id, request=request, mark=mark, call=call
        )

    def bookmark_deferred(self, timeout_s: float) -> str | None:
        """Return a bookmark that separates the jobs that exist now from later ones, or None."""
        answer = self._hook.pollux_bookmark_deferred(client=self.client, timeout_s=timeout_s)
        return None if answer is None else self._require_type("pollux_bookmark_deferred", answer, str)

    def submit_deferred(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Submit one job and return it."""
        from pollux_sync.data.jobs import DeferredJob

        answer = self._hook.pollux_submit_deferred(batch=batch, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_submit_deferred", answer, DeferredJob)

    def find_deferred(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """Return the job that an interrupted submission of the batch created, or None."""
        from pollux_sync.data.jobs import DeferredJob

        answer = self._hook.pollux_find_deferred(batch=batch, client=self.client, timeout_s=timeout_s)
        return None if answer is None else self._require_type("pollux_find_deferred", answer, DeferredJob)

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """Return the stored files whose names begin with the mark."""
        from pollux_sync.data.handles import Asset

        answer = self._hook.pollux_find_uploads(mark=mark, client=self.client, timeout_s=timeout_s)
        return [self._require_type("pollux_find_uploads", asset, Asset) for asset in answer or ()]

    def inspect_deferred(self, job: DeferredJob, timeout_s: float) -> JobState:
        """Return the state of the job."""
        from pollux_sync.data.jobs import JobState

        answer = self._hook.pollux_inspect_deferred(job=job, client=self.client, timeout_s=timeout_s)
        state = self._require_type("pollux_inspect_deferred", answer, JobState)
        return attrs.evolve(state, provider_status=self.scrub(state.provider_status))

    def collect_deferred(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """Yield the rows of a job that has ended."""
        from pollux_sync.data.jobs import DeferredRow

        # A generator: a job may have more rows than fit into memory.
        rows = self._hook.pollux_collect_deferred(job=job, client=self.client, timeout_s=timeout_s)
        for row in rows or ():
            yield self._require_type("pollux_collect_deferred", row, DeferredRow)

    def cancel_deferred(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask the provider to cancel the job."""
        self._hook.pollux_cancel_deferred(job=job, client=self.client, timeout_s=timeout_s)

    def release_deferred(self, job: DeferredJob, timeout_s: float) -> None:
        """Delete what was stored for the job."""
        self._hook.pollux_release_deferred(job=job, client=self.client, timeout_s=timeout_s)

    def list_models(self, timeout_s: float) -> list[ModelInfo] | None:
        """Return the provider's models, or None if it does not list them."""
        from pollux_sync.data.models import ModelInfo

        answer = self._hook.pollux_list_models(config=self.config, client=self.client, timeout_s=timeout_s)
        return (
            None if answer is None else [self._require_type("pollux_list_models", model, ModelInfo) for model in answer]
        )

    def check_ready(self, timeout_s: float) -> bool:
        """Return True if the provider reports that it can be used. Raises the obstacle, if there is one.

        False means that the plugin has no check of its own.
        """
        answer = self._hook.pollux_check_ready(config=self.config, client=self.client, timeout_s=timeout_s)
        return answer is not None and self._require_type("pollux_check_ready", answer, bool)

    @property
    def has_observers(self) -> bool:
        """True if a plugin observes events."""
        return bool(self._observers)

    @property
    def is_watched(self) -> bool:
        """True if a plugin observes events, or stands around calls."""
        return bool(self._calls) or self.has_observers

    def emit(self, event: Event) -> None:
        """Call every observer with the event. A failure is logged and stops no other observer."""
        # Not through pluggy: it would stop at the first observer that raises.
        for observer in self._observers:
            try:
                observer.function(*([event] if observer.argnames else []))
            except Exception as error:  # noqa: BLE001 - observers must not change a call
                reason = self.scrub(f"{type(error).__name__}: {error}")
                log.warning("observer %s failed: %s", observer.function.__qualname__, reason)

    def scrub(self, text: str) -> str:
        """Return ``text`` with every secret of the configuration and of its calls removed."""
        secrets = self.config.secrets if self._secrets is None else self._secrets
        for secret in (*secrets, *self._call_secrets) if self._call_secrets else secrets:
            text = redact_secret(text, secret)
        return text

    def hide(self, secrets: Iterable[str]) -> None:
        """Have `scrub` remove secrets of a call too. The last ones are remembered, more than calls are in flight."""
        new = tuple(SecretText(secret) for secret in secrets if secret not in self._call_secrets)
        if new:
            with self._lock:
                self._call_secrets = (*self._call_secrets, *new)[-_MAX_CALL_SECRETS:]

    def scrub_message(self, text: str) -> str:
        """Return the message of an error without secrets, cut to 500 characters."""
        message = self.scrub(text)
        return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "..."

    def scrub_cause(self, error: BaseException, *, hides_frames: bool = False) -> BaseException | None:
        """Remove the key from ``error`` and its causes; return it, or None if its text still shows the key.

        With ``hides_frames`` their frames go too, which for a fault of the network are ninety lines that say nothing to
        who asked. Plugin authors keep them in strict mode.
        """
        hides_frames = hides_frames and not is_strict_mode()
        # The whole chain: Python prints causes, contexts and members of groups under the error that we raise.
        pending: list[BaseException | None] = [error]
        seen: list[BaseException] = []
        while pending:
            link = pending.pop()
            if link is None or any(link is known for known in seen):
                continue
            seen.append(link)
            scrub_texts(link, self.scrub)
            _drop_http_causes(link)
            if hides_frames:
                link.__traceback__ = None
            pending += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
        # An exception class of a plugin may build its text from attributes that we cannot scrub.
        is_clean = all(self.scrub(text) == text for text in map(str, seen))
        return error if is_clean else None

    def _list_problems(self, hook: str, ask: Callable[..., Any], **arguments: Any) -> list[Problem]:
        answers: Any = self._invoke(hook, ask, **arguments)
        if not answers:
            return []
        problems = [self._require_type(hook, problem, Problem) for problem in answers]
        return [Problem(self.scrub(problem.message), problem.hint and self.scrub(problem.hint)) for problem in problems]

    def _call_hook(self, hook: str, answer_type: type[T], **arguments: Any) -> T:
        return self._require_type(hook, self._invoke(hook, getattr(self._hook, hook), **arguments), answer_type)

    def _invoke(self, hook: str, ask: Callable[..., Any], **arguments: Any) -> object:
        """Call a hook and return the answer, unchecked. An error that is not of our tree becomes a ProviderBugError."""
        try:
            return ask(**arguments)
        except PolluxError as error:
            self.scrub_cause(error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes an error that names it
            self._raise_bug(hook, error)

    def _require_type(self, hook: str, answer: object, answer_type: type[T], caller: Any = None) -> T:
        """Return the answer of a hook. Raises ProviderBugError for one of another type; ``caller`` has the plugin."""
        if isinstance(answer, answer_type):
            return answer
        actual = "no plugin answered" if answer is None else f"it returned a {type(answer).__name__}"
        plugin = self._find_first_plugin(hook) if caller is None else _describe_owner(_list_implementations(caller)[-1])
        raise ProviderBugError(
            f"{hook} of plugin {plugin} must return a {answer_type.__name__}, but {actual}",
            hint="report this to the plugin's author",
            hook=hook,
            distribution=_parse_distribution(plugin),
        )

    def _raise_bug(self, hook: str, error: Exception) -> NoReturn:
        if is_strict_mode():
            raise error
        cause = self.scrub_cause(error)
        # The hook that was called may be innocent: a wrapper passes on what the plugin inside it raised.
        hook, plugin = self._find_culprit(error.__traceback__) or (hook, self._find_first_plugin(hook))
        raise ProviderBugError(
            f"{hook} of plugin {plugin} raised {self.scrub(f'{type(error).__name__}: {error}')}",
            hint=f"report this to the plugin's author; {STRICT_VARIABLE}=1 shows where it fails",
            hook=hook,
            distribution=_parse_distribution(plugin),
        ) from cause

    def _find_culprit(self, trace: TracebackType | None) -> tuple[str, str] | None:
        """Return the hook and the plugin whose implementation appears last in the traceback, or None."""
        callers = [caller for name, caller in vars(self._hook).items() if name.startswith("pollux_")]
        owners = {
            _read_code(impl.function): (c.name, _describe_owner(impl)) for c in callers for impl in c.get_hookimpls()
        }
        culprit = None
        while trace is not None:
            culprit = owners.get(trace.tb_frame.f_code, culprit)
            trace = trace.tb_next
        return culprit

    def _find_first_plugin(self, hook: str) -> str:
        """Return the plugin that is called first, without wrappers and the core's default."""
        caller = getattr(self._hook, hook, None)
        implementations = caller.get_hookimpls() if caller else []
        plain = [impl for impl in implementations if not (impl.wrapper or impl.hookwrapper or impl.trylast)]
        # pluggy keeps the implementations in reverse: the last of the list is called first.
        candidates = plain or implementations
        return _describe_owner(candidates[-1]) if candidates else self.info.name


def _list_layers(manager: pluggy.PluginManager, name: str) -> tuple[Any, ...]:
    """Return a caller for each plugin that implements a hook, the outermost first, of it and the core's default alone.

    pluggy calls all wrappers before all others, and one of the others alone. So middleware could not repeat or skip a
    call with other middleware inside.
    """
    plugins = [implementation.plugin for implementation in _list_implementations(getattr(manager.hook, name))]
    layers = plugins[1:]  # without the core's default
    return tuple(
        manager.subset_hook_caller(name, [other for other in layers if other is not plugin])
        for plugin in reversed(layers)
    )


def _list_implementations(caller: Any) -> list[Any]:
    """Return the implementations of a hook in the order in which their plugins were registered, the innermost first."""
    return sorted(caller.get_hookimpls(), key=_read_position)


def _make_caller(caller: Any) -> Callable[..., Any]:
    """Return a function that calls a hook: its implementations themselves if none is a wrapper, else pluggy's caller.

    pluggy's caller costs several times the call itself, and these hooks are called for every prompt.
    """
    implementations = caller.get_hookimpls()
    if not implementations or any(one.wrapper or one.hookwrapper for one in implementations):
        ask: Callable[..., Any] = caller
        return ask
    # pluggy keeps the implementations in reverse: the last of the list is called first.
    functions = [_make_function(one, caller.spec) for one in reversed(implementations)]
    if not caller.spec.opts["firstresult"]:
        return lambda **arguments: [one for ask in functions if (one := ask(**arguments)) is not None]
    if len(functions) == 1:
        return functions[0]

    def find_answer(**arguments: Any) -> Any:
        for ask in functions:
            answer = ask(**arguments)
            if answer is not None:
                return answer
        return None

    return find_answer


def _make_function(implementation: Any, spec: Any) -> Callable[..., Any]:
    """Return a function that takes all arguments of a hook, of which an implementation may name some."""
    function: Callable[..., Any] = implementation.function
    names = implementation.argnames
    if set(names) == set(spec.argnames):
        return function
    return lambda **arguments: function(**{name: arguments[name] for name in names})


def _drop_http_causes(error: BaseException) -> None:
    """Cut off causes that hold a request of an HTTP library or of a vendor's SDK: its headers hold the key."""
    for name in ("__cause__", "__context__"):
        cause = getattr(error, name)
        try:
            holds_request = cause is not None and getattr(cause, "request", None) is not None
        except RuntimeError:  # httpx has none to show
            holds_request = False
        if holds_request:
            setattr(error, name, None)


def scrub_texts(error: BaseException, scrub: Callable[[str], str]) -> None:
    """Pass every text that an exception shows through ``scrub``, in place."""
    # In place, since the exception may be held by others, such as the context of another one.
    error.args = tuple(scrub(arg) if isinstance(arg, str) else arg for arg in error.args)
    for name in ("strerror", "filename", "hint", "request_id"):
        text = getattr(error, name, None)
        if isinstance(text, str):
            setattr(error, name, scrub(text))
    response = getattr(error, "response", None)
    # What a server answered may quote the key.
    if isinstance(response, HttpResponse):
        error.response = attrs.evolve(response, content=None).scrub(scrub)  # type: ignore[attr-defined]
    if hasattr(error, "__notes__"):
        error.__notes__ = [scrub(note) for note in error.__notes__]


def _read_code(function: Any) -> Any:
    return getattr(function, "__code__", None)


def _describe_owner(implementation: Any) -> str:
    """Return the plugin of an implementation: its name and, in parentheses, its distribution."""
    # `build_manager` put the position in front.
    name: str = implementation.plugin_name
    return name.partition(" ")[2]


def _read_position(implementation: Any) -> int:
    return int(implementation.plugin_name.partition(" ")[0])


def _parse_distribution(owner: str) -> str | None:
    name = owner.rpartition("(")[2].partition(" ")[0]
    return None if name in {"object", ""} else name
