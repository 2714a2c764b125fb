"""The options of one call."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from pollux_sync import schemas

# As a module, whose names are loaded on first use: most calls have no schema.
from pollux_sync._typed import T, Typed
from pollux_sync._values import Value
from pollux_sync.data.checks import (
    check_bool,
    check_choice,
    check_int,
    check_json,
    check_number,
    check_text,
    require_mapping,
)
from pollux_sync.data.headers import REDACTED, check_call_headers, redact_values
from pollux_sync.data.history import check_turn
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import UnionType

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.hosted import HostedTool

ToolChoice = Literal["auto", "required", "none"] | dict[str, str]
OnError = Literal["raise", "keep"]
ServiceTier = Literal["auto", "default", "flex", "priority"]
ReasoningSummary = Literal["auto", "concise", "detailed", "none"]
#: How long a service keeps what it caches.
CacheTtl = Literal["5m", "1h"]
#: The largest that all providers take: Gemini's is an int32.
_MAX_SEED = 2**31 - 1
#: What stands in place of a secret.
_HIDDEN = "***"


@attrs.frozen(eq=False, repr=False)
class OptionTraits(Value):
    """A field of `Options` as the engine sees it, so that no field can be dropped silently.

    ``declared_as`` is the name under which a provider declares that it honours the option (`ProviderInfo.options`);
    None marks an option of the core, which works with every provider. ``refused_by`` are the ways of asking that
    cannot honour it: "defer", "stream". ``off`` is a value that asks every provider for nothing, as the default does.
    """

    name: str
    default: Any
    declared_as: str | None
    refused_by: tuple[str, ...]
    off: Any = None


def _provider_option(*, declared_as: str = "", refused_by: tuple[str, ...] = (), off: Any = None) -> Any:
    """Return a field that defaults to None, for an option that a provider must declare (by default by its name)."""
    return attrs.field(default=None, metadata={"declared_as": declared_as, "refused_by": refused_by, "off": off})


def _core_option(default: Any, *, refused_by: tuple[str, ...] = (), repr: Any = True) -> Any:  # noqa: A002 - of attrs
    """Return a field for an option that the core honours itself."""
    return attrs.field(default=default, repr=repr, metadata={"declared_as": None, "refused_by": refused_by})


def _redact_headers(value: object) -> str:
    """Return a repr of headers by provider name with the names alone."""
    if value is None:
        return "None"
    if not isinstance(value, dict) or not all(isinstance(headers, dict) for headers in value.values()):
        return f"'{REDACTED}'"
    return f"{{{', '.join(f'{name!r}: {redact_values(headers)}' for name, headers in value.items())}}}"


class _QuietMode(str):
    """A delivery mode that needs no warning: the default, or one whose warning was shown.

    ``attrs.evolve`` passes the field on, and must not warn about it a second time.
    """

    __slots__ = ()


_UNSET_DELIVERY = _QuietMode("realtime")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Options(Typed[T], Value):
    """The settings of one call. None stands for the provider's default.

    A field is honoured, or refused with a ConfigurationError before anything is sent; it is never dropped.

    ``stop`` is a text, or several, before which an answer ends. With one ``seed``, from 0 to 2**31 - 1, equal calls get
    answers as alike as the provider can make them. ``parallel_tool_calls=False`` has the model call one tool at a time.
    ``service_tier="flex"`` is served later for less money, ``"priority"`` sooner for more, ``"default"`` as usual;
    ``"auto"`` leaves it to the settings of the account. ``reasoning_summary`` is what the answer shows of the model's
    thoughts; ``"none"`` shows nothing, although they are paid for. ``response_schema`` takes an attrs class, a
    dataclass, a TypedDict, a Pydantic model or a JSON Schema dict; ``dict`` itself asks for any JSON object, in the
    provider's JSON mode without a schema. ``tools`` are flat dicts ``{"name", "description"?, "parameters"?,
    "strict"?}``, and tools that the provider runs, such as `WebSearch`; a deferred call takes these alone. ``history``
    is a list of dicts with a ``role``, ``continue_from`` is an earlier envelope. ``label_sources=False`` sends several
    texts of one call without the tags that name them. ``on_error="raise"`` raises the first error; ``"keep"`` returns
    the envelope with ``errors`` per prompt. ``schema_repairs`` limits how often an answer that does not fit the schema
    is requested again; the usage includes these requests. ``provider_options`` are raw request fields by provider
    name: objects are merged into the request's own, ``tools`` go behind those of the call, and what the call writes
    itself is refused. ``provider_headers`` are headers of the call's requests by provider name. ``implicit_caching``
    has the service cache what requests begin with; several prompts share their sources, instruction and tools, and the
    first prompt goes ahead of the others. "5m" and "1h" say how long it is kept. ``delivery_mode`` is deprecated: call
    ``defer`` instead.
    """

    system_instruction: str | None = _provider_option()
    response_schema: type[T] | UnionType | dict[str, Any] | None = _provider_option()
    tools: Sequence[dict[str, Any] | HostedTool] | None = _provider_option()
    tool_choice: ToolChoice | None = _provider_option(refused_by=("defer",))
    parallel_tool_calls: bool | None = _provider_option(refused_by=("defer",))
    temperature: float | None = _provider_option()
    top_p: float | None = _provider_option()
    stop: str | Sequence[str] | None = _provider_option()
    seed: int | None = _provider_option()
    # A deferred job is a tier of its own.
    service_tier: ServiceTier | None = _provider_option(refused_by=("defer",))
    reasoning_effort: str | None = _provider_option()
    reasoning_budget_tokens: int | None = _provider_option()
    reasoning_summary: ReasoningSummary | None = _provider_option()
    delivery_mode: str = _core_option(_UNSET_DELIVERY)
    history: Sequence[dict[str, Any]] | None = _provider_option(refused_by=("defer",))
    continue_from: ResultEnvelope | dict[str, Any] | None = _provider_option(
        declared_as="history", refused_by=("defer",)
    )
    max_tokens: int | None = _provider_option()
    cache: CacheHandle | None = _provider_option(refused_by=("defer",))
    implicit_caching: bool | CacheTtl | None = _provider_option(refused_by=("defer",), off=False)
    label_sources: bool = _core_option(True)
    on_error: OnError = _core_option("raise")
    schema_repairs: int = _core_option(0, refused_by=("defer", "stream"))
    provider_options: Mapping[str, Mapping[str, Any]] | None = _core_option(None)
    provider_headers: Mapping[str, Mapping[str, str]] | None = _core_option(
        None, refused_by=("defer",), repr=_redact_headers
    )

    def __attrs_post_init__(self) -> None:
        self._check_delivery_mode()
        self._check_texts_and_numbers()
        self._check_reasoning()
        self._check_tools()
        self._check_conversation()
        self._check_rest()

    def _check_delivery_mode(self) -> None:
        if isinstance(self.delivery_mode, _QuietMode):
            return
        if self.delivery_mode not in ("realtime", "deferred"):
            raise ConfigurationError(
                f"delivery_mode must be 'realtime' or 'deferred', got {self.delivery_mode!r}",
                hint="leave it out; call defer() for deferred delivery",
            )
        warnings.warn(
            "delivery_mode is deprecated: run() is realtime, defer() is deferred",
            DeprecationWarning,
            stacklevel=4,  # past this method, __attrs_post_init__ and the generated __init__
        )
        object.__setattr__(self, "delivery_mode", _QuietMode(self.delivery_mode))

    def _check_texts_and_numbers(self) -> None:
        check_json("system_instruction", self.system_instruction)
        if self.system_instruction is not None and not isinstance(self.system_instruction, str):
            raise ConfigurationError(
                f"system_instruction must be a string, got {type(self.system_instruction).__name__}",
                hint="pass the instruction as one string",
            )
        if self.temperature is not None:
            check_number("temperature", self.temperature, minimum=0)
        if self.top_p is not None:
            check_number("top_p", self.top_p, minimum=0, maximum=1)
        if self.max_tokens is not None:
            check_int("max_tokens", self.max_tokens, minimum=1)
        if self.seed is not None:
            check_int("seed", self.seed, minimum=0, maximum=_MAX_SEED)
        self._check_stop()
        if self.service_tier is not None:
            check_choice("service_tier", self.service_tier, get_args(ServiceTier))

    def _check_reasoning(self) -> None:
        if self.reasoning_effort is not None:
            check_text("reasoning_effort", self.reasoning_effort, hint="e.g. 'low', 'medium' or 'high'")
        if self.reasoning_budget_tokens is not None:
            check_int("reasoning_budget_tokens", self.reasoning_budget_tokens, minimum=0)
        if self.reasoning_summary is not None:
            check_choice("reasoning_summary", self.reasoning_summary, get_args(ReasoningSummary))
        if self.reasoning_effort is not None and self.reasoning_budget_tokens is not None:
            raise ConfigurationError(
                "reasoning_effort and reasoning_budget_tokens exclude each other", hint="keep one of them"
            )

    def _check_stop(self) -> None:
        if self.stop is None:
            return
        texts = [self.stop] if isinstance(self.stop, str) else self.stop
        if not isinstance(texts, list | tuple) or not texts:
            raise ConfigurationError(
                f"stop must be a text or a list of texts, got {self.stop!r}", hint='pass stop="END" or stop=["END"]'
            )
        for text in texts:
            if not isinstance(text, str) or not text:
                raise ConfigurationError(f"stop holds {text!r}", hint="pass texts that are not empty")
            check_json("stop", text)

    def _check_tools(self) -> None:
        for index, tool in enumerate(_require_list("tools", self.tools)):
            if not _is_hosted(tool):
                # Imported here, as what `cache` needs: most calls have neither.
                from pollux_sync.data.declaration import check_declaration

                check_declaration(f"tools[{index}]", tool)
        names = [tool["name"] for tool in self.functions]
        hosted = self.hosted_tools
        identities = [tool.identity for tool in hosted]
        repeated = {name for name in names if names.count(name) > 1}
        # A list is searched: tools with dicts have no hash.
        repeated |= {type(tool).__name__ for tool in hosted if identities.count(tool.identity) > 1}
        if repeated:
            raise ConfigurationError(
                f"tools hold {', '.join(sorted(repeated))} more than once", hint="pass each tool once"
            )
        self._check_tool_choice(names)

    def _check_tool_choice(self, names: Sequence[str]) -> None:
        choice = self.tool_choice
        is_named = isinstance(choice, dict) and set(choice) == {"name"} and isinstance(choice["name"], str)
        if choice is not None and not is_named and choice not in ("auto", "required", "none"):
            raise ConfigurationError(
                f"tool_choice {choice!r} is not known",
                hint="use 'auto', 'required', 'none' or {'name': TOOL}",
            )
        if self.parallel_tool_calls is not None:
            check_bool("parallel_tool_calls", self.parallel_tool_calls)
            if not self.tools:
                raise ConfigurationError("parallel_tool_calls is given without tools", hint="pass tools=[...]")
        if choice is not None and not self.tools:
            raise ConfigurationError("tool_choice is given without tools", hint="pass tools=[...] or drop tool_choice")
        if isinstance(choice, dict) and choice["name"] not in names:
            raise ConfigurationError(
                f"tool_choice names {choice['name']!r}, tools are {names}", hint="use the name of one of the tools"
            )

    def _check_conversation(self) -> None:
        if self.history is not None and self.continue_from is not None:
            raise ConfigurationError("history and continue_from exclude each other", hint="keep one of them")
        for index, item in enumerate(_require_list("history", self.history)):
            # Lone surrogates are replaced where the turns are built.
            check_json(f"history[{index}]", replace_nested_surrogates(item))
            check_turn(f"history[{index}]", item)
        if self.continue_from is not None and not isinstance(self.continue_from, dict):
            raise ConfigurationError(
                f"continue_from must be an earlier result, got {type(self.continue_from).__name__}",
                hint="pass the result of run()",
            )

    def _check_cache(self) -> None:
        if self.cache is None:
            return
        from pollux_sync.data.handles import CacheHandle

        if not isinstance(self.cache, CacheHandle):
            raise ConfigurationError(
                f"cache must be a CacheHandle, got {type(self.cache).__name__}",
                hint="pass the result of create_cache()",
            )

    def _check_rest(self) -> None:
        if self.response_schema is not None:
            # Called for its checks alone: a type without a schema is refused here, where the caller wrote it.
            schemas.schema_of(self.response_schema)
        self._check_cache()
        self._check_implicit_caching()
        check_bool("label_sources", self.label_sources)
        check_int("schema_repairs", self.schema_repairs, minimum=0)
        if self.on_error not in ("raise", "keep"):
            raise ConfigurationError(f"on_error {self.on_error!r} is not known", hint="use 'raise' or 'keep'")
        for name, fields in require_mapping("provider_options", _replace_none(self.provider_options)).items():
            require_mapping(f"provider_options[{name!r}]", fields)
            check_json(f"provider_options[{name!r}]", fields)
        for name, headers in require_mapping("provider_headers", _replace_none(self.provider_headers)).items():
            field = f"provider_headers[{name!r}]"
            check_call_headers(field, require_mapping(field, headers))

    def _check_implicit_caching(self) -> None:
        wanted, ttls = self.implicit_caching, get_args(CacheTtl)
        if not (wanted is None or isinstance(wanted, bool) or wanted in ttls):
            raise ConfigurationError(
                f"implicit_caching must be True or False, or how long to keep it, got {wanted!r}",
                hint=f"use True, or one of: {', '.join(ttls)}",
            )

    def iter_set(self) -> Iterator[OptionTraits]:
        """Yield the traits of every option that differs from its default."""
        return (traits for traits in OPTION_TRAITS if getattr(self, traits.name) != traits.default)

    @property
    def functions(self) -> Sequence[dict[str, Any]]:
        """The declarations of the functions among the tools."""
        return [tool for tool in self.tools if isinstance(tool, dict)] if self.tools else ()

    @property
    def hosted_tools(self) -> Sequence[HostedTool]:
        """The tools that the provider runs."""
        return [tool for tool in self.tools if not isinstance(tool, dict)] if self.tools else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts in these options that must not be shown or stored."""
        # Asked for with every call, and most have no tools.
        if not self.tools:
            return ()
        tokens = (getattr(tool, "token", None) for tool in self.hosted_tools)
        return tuple(token for token in tokens if token not in (None, _HIDDEN))

    def hide_secrets(self) -> Options:
        """Return the options with a mark in place of each secret."""
        if not self.secrets:
            return self
        hidden: Any = {"token": _HIDDEN}
        tools = [
            tool if isinstance(tool, dict) or not getattr(tool, "token", None) else attrs.evolve(tool, **hidden)
            for tool in self.tools or ()
        ]
        return attrs.evolve(self, tools=tools)

    def has_raw(self, provider: str) -> bool:
        """Return whether there are raw fields or headers for a provider."""
        return any((given or {}).get(provider) for given in (self.provider_options, self.provider_headers))

    def read_raw_fields(self, provider: str) -> Mapping[str, Any]:
        """Return the raw fields for a provider, empty without any."""
        return (self.provider_options or {}).get(provider) or {}

    def dump_tools(self) -> list[dict[str, Any]]:
        """Return the tools as JSON-ready data, with a mark in place of each secret."""
        tools = self.hide_secrets().tools or ()
        return [tool if isinstance(tool, dict) else {"kind": tool.kind, **dict(tool.iter_set())} for tool in tools]

    @property
    def stop_texts(self) -> list[str] | None:
        """The texts before which an answer ends, None without any."""
        return [self.stop] if isinstance(self.stop, str) else None if self.stop is None else [*self.stop]

    @property
    def priced_tier(self) -> str:
        """The tier by which a call is priced before it is served; "auto" may turn out to be any."""
        return "default" if self.service_tier in (None, "auto") else self.service_tier

    @property
    def wants_conversation(self) -> bool:
        """True if the caller opted in to conversation state; an empty history does so too."""
        return self.history is not None or self.continue_from is not None

    @property
    def wants_json_object(self) -> bool:
        """True if the answer is to be any JSON object: JSON mode, without a schema."""
        return self.response_schema is dict

    def response_schema_json(self) -> dict[str, Any] | None:
        """Return the response schema as JSON Schema, or None without one."""
        return None if self.response_schema is None else schemas.schema_of(self.response_schema)

    def response_schema_model(self) -> type[T] | UnionType | None:
        """Return the class of the response schema, or None if it is a dict or absent."""
        return None if isinstance(self.response_schema, dict) else self.response_schema

    def response_schema_hash(self) -> str | None:
        """Return the hex SHA-256 of the schema's canonical JSON; equal schemas have equal hashes in every release."""
        schema = self.response_schema_json()
        return None if schema is None else schemas.schema_hash(schema)


def _is_hosted(tool: object) -> bool:
    if isinstance(tool, dict):
        return False
    from pollux_sync.data.hosted import HostedTool

    return isinstance(tool, HostedTool)


def _replace_none(value: object) -> object:
    return {} if value is None else value


def _require_list(name: str, value: object) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ConfigurationError(
            f"{name} must be a list of dicts, got {type(value).__name__}", hint=f"pass {name}=[...]"
        )
    return value


#: The traits of every field of `Options`, in its order.
OPTION_TRAITS = tuple(
    OptionTraits(
        field.name,
        field.default,
        field.name if field.metadata["declared_as"] == "" else field.metadata["declared_as"],
        field.metadata["refused_by"],
        field.metadata.get("off"),
    )
    for field in attrs.fields(Options)
)
#: The options of a call without any.
NO_OPTIONS = Options()
