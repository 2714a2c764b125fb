"""Asking plugins: one relay a provider, and a typed method for every hook.

`Hooks` is all the engine knows of plugins: what goes wrong inside a hook leaves it as an error of our tree
that names the plugin.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs
import pluggy

from pollux_sync.data.config import REDACTED
from pollux_sync.data.handles import DeferredJob, JobState, RemoteCache
from pollux_sync.data.provider import API_VERSION, Address, HttpRequest, HttpResponse, Problem, ProviderInfo
from pollux_sync.data.reply import Reply
from pollux_sync.data.request import Asset, Call, DeferredBatch, DeferredRow, Plan
from pollux_sync.errors import Fault, PluginLoadError, PolluxError, ProviderBugError
from pollux_sync.hooks import specs
from pollux_sync.hooks.loading import STRICT_VARIABLE, Loaded, is_strict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal
    from types import TracebackType

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.events import Event
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.reply import Usage
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream

T = TypeVar("T")

_MAX_MESSAGE = 500
_ITERATOR: Any = Iterator
#: Kinds of faults whose message says where the request went.
_WHERE = frozenset({"connection", "timeout", "not_found"})

log = logging.getLogger("pollux_sync")
log.addHandler(logging.NullHandler())


def build_manager(plugins: Sequence[Loaded]) -> pluggy.PluginManager:
    """A manager over ``plugins``, the first asked last. Raises PluginLoadError for one that does not fit."""
    manager = pluggy.PluginManager(specs.PROJECT)
    manager.add_hookspecs(specs)
    for position, loaded in enumerate(plugins):
        try:
            manager.register(loaded.plugin, name=f"{position} {loaded.name} ({loaded.origin})")
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _build_load_error(loaded, str(error).replace("\n", " "), "it may need a newer pollux-sync") from error
        except ValueError as error:
            raise _build_load_error(loaded, "it is there already", "list each plugin once") from error
        if any(impl.plugin is loaded.plugin and impl.wrapper for impl in manager.hook.pollux_event.get_hookimpls()):
            raise _build_load_error(loaded, "pollux_event cannot be wrapped", "observe without wrapper=True")
    return manager


@lru_cache(maxsize=64)
def read_provider_info(provider: Loaded) -> ProviderInfo:
    """What the provider declares, checked and asked once. Raises PluginLoadError when it does not fit this core."""
    try:
        info = build_manager([provider]).hook.pollux_provider_info()
    except PolluxError:
        raise
    except Exception as error:
        if is_strict():
            raise
        raise _build_load_error(provider, f"pollux_provider_info raised {type(error).__name__}: {error}") from error
    if not isinstance(info, ProviderInfo):
        raise _build_load_error(provider, f"pollux_provider_info gave {type(info).__name__}, not a ProviderInfo")
    if info.name != provider.name:
        raise _build_load_error(provider, f"it declares the name {info.name!r} under the entry point {provider.name!r}")
    if not _is_version(info.api):
        raise _build_load_error(provider, f"its hook version must be two integers, it is {info.api!r}")
    if info.api[0] != API_VERSION[0] or info.api > API_VERSION:
        ours, theirs = (".".join(map(str, version)) for version in (API_VERSION, info.api))
        raise _build_load_error(
            provider, f"it speaks hook version {theirs}, this core {ours}", "upgrade the older of the two"
        )
    return info


def _is_version(api: object) -> bool:
    return isinstance(api, tuple) and len(api) == len(API_VERSION) and all(isinstance(part, int) for part in api)


def _build_load_error(
    loaded: Loaded, what: str, hint: str = "pip install --upgrade it, or uninstall it"
) -> PluginLoadError:
    return PluginLoadError(
        f"plugin {loaded.name!r} of {loaded.origin} does not fit: {what}",
        hint=hint,
        name=loaded.name,
        distribution=loaded.distribution,
        version=loaded.version,
    )


class Hooks:
    """The hooks of one configuration, typed; opens the provider's client when it is first needed.

    Safe to use from many threads. ``close`` ends the client; afterwards it would be opened anew.
    """

    def __init__(self, *, config: ConfigValues, info: ProviderInfo, manager: pluggy.PluginManager) -> None:
        self.config = config
        self.info = info
        self._manager = manager
        self._hook = manager.hook
        self._client: Any = None
        self._lock = threading.Lock()
        self._observers = self._hook.pollux_event.get_hookimpls()
        self._validators = bool(self._hook.pollux_validate.get_hookimpls())
        # Asking costs time in every call: not for what only the core answers, and less for what one alone does.
        self._validate, self._encode, self._send, self._decode = map(
            _make_caller,
            (self._hook.pollux_validate, self._hook.pollux_encode, self._hook.pollux_send, self._hook.pollux_decode),
        )
        self._plans, self._rewrites, self._calls = (
            len(hook.get_hookimpls()) > 1
            for hook in (self._hook.pollux_plan, self._hook.pollux_rewrite_call, self._hook.pollux_call)
        )

    @property
    def client(self) -> Any:
        """What carries the calls."""
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    client = self._client = self._call_hook("pollux_open", object, config=self.config, info=self.info)
        return client

    def resolve_address(self) -> Address:
        """Where requests go, without opening the client."""
        return self._call_hook("pollux_address", Address, config=self.config, info=self.info)

    def close(self) -> None:
        """Close the client if there is one; a failure is logged and changes nothing."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            try:
                self._hook.pollux_close(client=client)
            except Exception as error:  # noqa: BLE001 - closing must not mask what came before
                log.warning("closing the client of %s failed: %s", self.info.name, self.scrub(str(error)))

    def plan(self, plan: Plan) -> Plan:
        """The plan after every middleware's fold."""
        return self._call_hook("pollux_plan", Plan, plan=plan) if self._plans else plan

    def check_config(self) -> list[Problem]:
        """What plugins find wrong with the configuration."""
        return self._list_problems("pollux_check_config", self._hook.pollux_check_config, config=self.config)

    def validate(self, call: Call) -> list[Problem]:
        """What plugins find wrong with the call."""
        return self._list_problems("pollux_validate", self._validate, call=call) if self._validators else []

    def rewrite_call(self, call: Call) -> Call:
        """The call after every middleware's fold."""
        return self._call_hook("pollux_rewrite_call", Call, call=call) if self._rewrites else call

    def call(self, call: Call, proceed: Callable[[Call], Reply]) -> Reply:
        """The reply to one logical call. Raises what ``proceed`` raises."""
        return self._call_hook("pollux_call", Reply, call=call, proceed=proceed) if self._calls else proceed(call)

    def encode(self, call: Call) -> HttpRequest:
        """The call in the provider's words."""
        return self._require_type("pollux_encode", self._invoke("pollux_encode", self._encode, call=call), HttpRequest)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """One physical attempt. Raises whatever the transport raises: `classify` reads it."""
        answer = self._send(request=request, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_send", answer, HttpResponse)

    def decode(self, response: HttpResponse, call: Call) -> Reply:
        """The provider's answer, read. Raises whatever the decoder raises: `classify` reads it."""
        return self._require_type("pollux_decode", self._decode(response=response, call=call), Reply)

    @property
    def can_stream(self) -> bool:
        """Whether the provider gives its answers bit by bit."""
        return bool(self._hook.pollux_decode_stream.get_hookimpls())

    def encode_stream(self, request: HttpRequest) -> HttpRequest:
        """The request, asking for an answer bit by bit."""
        return self._call_hook("pollux_encode_stream", HttpRequest, request=request)

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """One physical attempt, begun. Raises whatever the transport raises: `classify` reads it."""
        from pollux_sync.data.streaming import EventStream

        answer = self._hook.pollux_stream(request=request, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_stream", answer, EventStream)

    def decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        """The streamed answer, read. Raises, as it is read, whatever the decoder raises: `classify` reads it."""
        deltas = self._hook.pollux_decode_stream(stream=stream, call=call)
        return self._require_type("pollux_decode_stream", deltas, _ITERATOR)

    @property
    def can_count_tokens(self) -> bool:
        """Whether anyone can count tokens."""
        return bool(self._hook.pollux_count_tokens.get_hookimpls())

    def count_tokens(self, request: HttpRequest, call: Call, timeout_s: float) -> int | None:
        """The call's input tokens, None where they cannot be told. Raises whatever counting raises."""
        answer = self._hook.pollux_count_tokens(request=request, call=call, client=self.client, timeout_s=timeout_s)
        return None if answer is None else self._require_type("pollux_count_tokens", answer, int)

    def price(self, model: str, usage: Usage) -> Decimal | None:
        """What so many tokens cost in US dollars, None where nobody knows."""
        from decimal import Decimal

        answer = self._invoke(
            "pollux_price", self._hook.pollux_price, provider=self.info.name, model=model, usage=usage
        )
        return None if answer is None else self._require_type("pollux_price", answer, Decimal)

    def classify(self, error: Exception) -> Fault:
        """What an exception out of a hook means, without the key. Raises ProviderBugError when nobody knows it."""
        try:
            fault = self._hook.pollux_classify_error(error=error)
        except Exception as defect:  # noqa: BLE001 - as in _ask
            self._raise_bug("pollux_classify_error", defect)
        if fault is None:
            self._raise_bug("a hook", error)
        return self.scrub_fault(self._require_type("pollux_classify_error", fault, Fault))

    def scrub_fault(self, fault: Fault) -> Fault:
        """The fault without the key, its message cut to 500 characters, with a hint where a key was refused."""
        hint = fault.hint
        if fault.kind == "auth" and hint is None:
            hint = f"check api_key{''.join(f' or {name}' for name in self.info.key_env)}"
        message = self.scrub(fault.message)
        if len(message) > _MAX_MESSAGE:
            message = message[:_MAX_MESSAGE] + "..."
        if fault.kind in _WHERE and self.destination:
            message = f"{message} (at {self.destination})"
        request_id = fault.request_id and self.scrub(fault.request_id)
        return attrs.evolve(fault, message=message, hint=hint and self.scrub(hint), request_id=request_id)

    @property
    def destination(self) -> str | None:
        """The address that requests go to, where it is known."""
        return None if self.config.client is not None else self.config.base_url or self.info.base_url

    def upload(self, source: Source, timeout_s: float, *, name: str, lifetime_s: float) -> Asset:
        """The stored file. Raises whatever the upload raises: `classify` reads it."""
        answer = self._hook.pollux_upload(
            source=source, client=self.client, timeout_s=timeout_s, name=name, lifetime_s=lifetime_s
        )
        return self._require_type("pollux_upload", answer, Asset)

    def delete_upload(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file. Raises whatever the deletion raises."""
        self._hook.pollux_delete_upload(asset=asset, client=self.client, timeout_s=timeout_s)

    def create_cache(self, call: Call, ttl_s: float, timeout_s: float) -> RemoteCache:
        """The cache that was made. Raises whatever making it raises: `classify` reads it."""
        answer = self._hook.pollux_create_cache(call=call, ttl_s=ttl_s, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_create_cache", answer, RemoteCache)

    def extend_cache(self, name: str, ttl_s: float, timeout_s: float) -> RemoteCache:
        """The cache as it is now kept. Raises whatever extending it raises."""
        answer = self._hook.pollux_extend_cache(name=name, ttl_s=ttl_s, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_extend_cache", answer, RemoteCache)

    def list_caches(self, timeout_s: float) -> list[RemoteCache]:
        """The account's caches. Raises whatever listing them raises."""
        answer = self._hook.pollux_list_caches(client=self.client, timeout_s=timeout_s)
        return [self._require_type("pollux_list_caches", cache, RemoteCache) for cache in answer or ()]

    def delete_cache(self, name: str, timeout_s: float) -> None:
        """Delete a cache. Raises whatever deleting it raises."""
        self._hook.pollux_delete_cache(name=name, client=self.client, timeout_s=timeout_s)

    def encode_deferred(self, custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
        """Encode the request as a line of a deferred job."""
        return self._call_hook("pollux_encode_deferred", dict, custom_id=custom_id, request=request, mark=mark)

    def submit_deferred(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """The job that was made. Raises whatever making it raises: `classify` reads it."""
        answer = self._hook.pollux_submit_deferred(batch=batch, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_submit_deferred", answer, DeferredJob)

    def find_deferred(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """The job that was made of the batch, if there is one. Raises whatever looking raises."""
        answer = self._hook.pollux_find_deferred(batch=batch, client=self.client, timeout_s=timeout_s)
        return None if answer is None else self._require_type("pollux_find_deferred", answer, DeferredJob)

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """The files of this mark. Raises whatever looking raises."""
        answer = self._hook.pollux_find_uploads(mark=mark, client=self.client, timeout_s=timeout_s)
        return [self._require_type("pollux_find_uploads", asset, Asset) for asset in answer or ()]

    def inspect_deferred(self, job: DeferredJob, timeout_s: float) -> JobState:
        """How far the job is. Raises whatever looking raises."""
        answer = self._hook.pollux_inspect_deferred(job=job, client=self.client, timeout_s=timeout_s)
        return self._require_type("pollux_inspect_deferred", answer, JobState)

    def collect_deferred(self, job: DeferredJob, timeout_s: float) -> Iterator[DeferredRow]:
        """The job's rows. Raises whatever getting them raises."""
        rows = self._hook.pollux_collect_deferred(job=job, client=self.client, timeout_s=timeout_s)
        for row in rows or ():
            yield self._require_type("pollux_collect_deferred", row, DeferredRow)

    def cancel_deferred(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask for the job to be cancelled. Raises whatever asking raises."""
        self._hook.pollux_cancel_deferred(job=job, client=self.client, timeout_s=timeout_s)

    def release_deferred(self, job: DeferredJob, timeout_s: float) -> None:
        """Delete what was stored for the job. Raises whatever deleting raises."""
        self._hook.pollux_release_deferred(job=job, client=self.client, timeout_s=timeout_s)

    def list_models(self, timeout_s: float) -> list[ModelInfo] | None:
        """The provider's models; None where it lists none. Raises whatever listing them raises."""
        from pollux_sync.data.models import ModelInfo

        answer = self._hook.pollux_list_models(config=self.config, client=self.client, timeout_s=timeout_s)
        return (
            None if answer is None else [self._require_type("pollux_list_models", model, ModelInfo) for model in answer]
        )

    def check_ready(self, timeout_s: float) -> bool:
        """Whether the provider says that it can be used; False where it says nothing. Raises what is in the way."""
        answer = self._hook.pollux_check_ready(config=self.config, client=self.client, timeout_s=timeout_s)
        return answer is not None and self._require_type("pollux_check_ready", answer, bool)

    @property
    def has_observers(self) -> bool:
        """Whether anyone listens to events."""
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tell every observer, one by one: a failing one is logged and stops nobody."""
        for observer in self._observers:
            try:
                observer.function(*([event] if observer.argnames else []))
            except Exception as error:  # noqa: BLE001 - observers must not change a call
                what = self.scrub(f"{type(error).__name__}: {error}")
                log.warning("observer %s failed: %s", observer.function.__qualname__, what)

    def scrub(self, text: str) -> str:
        """``text`` without the key, should someone have put it there."""
        for secret in self.config.secrets:
            text = text.replace(secret, REDACTED)
        return text

    def scrub_cause(self, error: BaseException) -> BaseException | None:
        """``error`` with the key taken out of it and of what led to it; None when a traceback still shows it."""
        waiting: list[BaseException | None] = [error]
        seen: list[BaseException] = []
        while waiting:
            link = waiting.pop()
            if link is None or any(link is known for known in seen):
                continue
            seen.append(link)
            scrub_texts(link, self.scrub)
            waiting += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
        is_clean = not any(secret in str(link) for link in seen for secret in self.config.secrets)
        return error if is_clean else None

    def _list_problems(self, hook: str, ask: Callable[..., Any], **arguments: Any) -> list[Problem]:
        answers: Any = self._invoke(hook, ask, **arguments)
        if not answers:
            return []
        found = [self._require_type(hook, problem, Problem) for problem in answers]
        return [Problem(self.scrub(problem.message), problem.hint and self.scrub(problem.hint)) for problem in found]

    def _call_hook(self, hook: str, answer_type: type[T], **arguments: Any) -> T:
        return self._require_type(hook, self._invoke(hook, getattr(self._hook, hook), **arguments), answer_type)

    def _invoke(self, hook: str, ask: Callable[..., Any], **arguments: Any) -> object:
        """The answer, whatever it is. Errors that are not of our tree become the plugin's defect."""
        try:
            return ask(**arguments)
        except PolluxError as error:
            self.scrub_cause(error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes an error that names it
            self._raise_bug(hook, error)

    def _require_type(self, hook: str, answer: object, answer_type: type[T]) -> T:
        if isinstance(answer, answer_type):
            return answer
        found = "no plugin answered" if answer is None else f"the answer was a {type(answer).__name__}"
        raise ProviderBugError(
            f"{hook} of plugin {self._find_first_plugin(hook)} must give a {answer_type.__name__}, but {found}",
            hint="report this to the plugin's author",
            hook=hook,
            distribution=_parse_distribution(self._find_first_plugin(hook)),
        )

    def _raise_bug(self, hook: str, error: Exception) -> NoReturn:
        if is_strict():
            raise error
        cause = self.scrub_cause(error)
        hook, plugin = self._find_culprit(error.__traceback__) or (hook, self._find_first_plugin(hook))
        raise ProviderBugError(
            f"{hook} of plugin {plugin} raised {self.scrub(f'{type(error).__name__}: {error}')}",
            hint=f"report this to the plugin's author; {STRICT_VARIABLE}=1 shows where it fails",
            hook=hook,
            distribution=_parse_distribution(plugin),
        ) from cause

    def _find_culprit(self, trace: TracebackType | None) -> tuple[str, str] | None:
        """The hook and the plugin whose implementation appears last in the traceback."""
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
        """The plugin that is asked first, wrappers aside."""
        caller = getattr(self._hook, hook, None)
        asked = caller.get_hookimpls() if caller else []
        answering = [impl for impl in asked if not (impl.wrapper or impl.hookwrapper or impl.trylast)] or asked
        return _describe_owner(answering[-1]) if answering else self.info.name


def _make_caller(caller: Any) -> Callable[..., Any]:
    """What asks a hook; where one implementation alone answers that one itself, without pluggy in between."""
    implementations = caller.get_hookimpls()
    if len(implementations) != 1 or implementations[0].wrapper or implementations[0].hookwrapper:
        ask: Callable[..., Any] = caller
        return ask
    function, names = implementations[0].function, implementations[0].argnames
    takes_all = set(names) == set(caller.spec.argnames)
    answer = function if takes_all else lambda **given: function(**{name: given[name] for name in names})
    if caller.spec.opts["firstresult"]:
        return answer

    def answers(**given: Any) -> list[Any]:
        one = answer(**given)
        return [] if one is None else [one]

    return answers


def scrub_texts(error: BaseException, scrub: Callable[[str], str]) -> None:
    """Put every text that an exception shows through ``scrub``."""
    error.args = tuple(scrub(arg) if isinstance(arg, str) else arg for arg in error.args)
    for name in ("strerror", "filename", "hint", "request_id"):
        text = getattr(error, name, None)
        if isinstance(text, str):
            setattr(error, name, scrub(text))
    if hasattr(error, "__notes__"):
        error.__notes__ = [scrub(note) for note in error.__notes__]


def _read_code(function: Any) -> Any:
    return getattr(function, "__code__", None)


def _describe_owner(implementation: Any) -> str:
    """The plugin behind an implementation: its name and, in parentheses, where it comes from."""
    name: str = implementation.plugin_name
    return name.partition(" ")[2]


def _parse_distribution(owner: str) -> str | None:
    name = owner.rpartition("(")[2].partition(" ")[0]
    return None if name in {"object", ""} else name
