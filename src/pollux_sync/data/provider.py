"""What a provider declares about itself, as data: the engine decides by it, docs are written from it."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.data.converter import Storable
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import PLAIN, SchemaDialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pollux_sync.data.source import Source

#: The version of the hook interface this core speaks: (major, minor).
API_VERSION = (1, 0)

Delivery = Literal["text", "inline", "upload", "uri"]
BaseUrlPolicy = Literal["fixed", "optional", "required"]


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _to_frozenset(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class SourceRule:
    """How sources of some types reach the provider; of a provider's rules the first match wins.

    ``mime_types`` are shell-style patterns. ``delivery``: "text" sends the content as text, "inline" the
    bytes inside the request, "upload" a file that `pollux_upload` stored, "uri" only the address.
    """

    source_types: frozenset[str] = attrs.field(converter=_to_frozenset)
    mime_types: tuple[str, ...] = ("*",)
    delivery: Delivery
    uri_schemes: tuple[str, ...] = ()

    def matches(self, source: Source) -> bool:
        """Whether this rule is about ``source``."""
        mime = source.mime_type.partition(";")[0].strip().lower()
        return (
            source.source_type in self.source_types
            and any(fnmatchcase(mime, pattern) for pattern in self.mime_types)
            and (not self.uri_schemes or source.identifier.partition(":")[0].lower() in self.uri_schemes)
        )


#: Text and JSON go into the prompt everywhere.
TEXT_RULE = SourceRule(source_types={"text", "json"}, delivery="text")

#: Files that every model can read as text.
TEXT_FILE_RULE = SourceRule(
    source_types={"file"},
    mime_types=(
        "text/*",
        "application/*json",
        "application/jsonl",
        "application/*xml",
        "application/*yaml",
        "application/csv",
        "application/toml",
        "application/*javascript",
        "application/x-tex",
        "application/x-latex",
        "application/x-bibtex",
    ),
    delivery="text",
)


@attrs.frozen(kw_only=True)
class ConfigOption:
    """One key that ``Config(provider_options={...})`` may hold for this provider."""

    name: str
    types: tuple[type, ...]
    about: str
    minimum: float | None = None
    maximum: float | None = None

    def find_problem(self, value: object) -> str | None:
        """Why it does not take ``value``, None when it does: booleans are not integers, integers are floats."""
        is_typed = isinstance(value, self.types) or (isinstance(value, int) and float in self.types)
        if not is_typed or (isinstance(value, bool) and bool not in self.types):
            wanted = " or ".join(kind.__name__ for kind in self.types)
            return f"must be {wanted}, got {type(value).__name__}"
        if isinstance(value, int | float) and self.minimum is not None and value < self.minimum:
            return f"must be at least {self.minimum:g}, got {value}"
        if isinstance(value, int | float) and self.maximum is not None and value > self.maximum:
            return f"must be at most {self.maximum:g}, got {value}"
        return None


@attrs.frozen(kw_only=True)
class DeferredLimits:
    """How much one deferred job may hold; ``max_bytes`` is the size of its requests as JSON lines."""

    max_requests: int
    max_bytes: int


@attrs.frozen(kw_only=True)
class ProviderInfo:
    """A provider's declaration. What it does not declare is refused before anything is sent.

    ``options`` are the names of `Options` fields it honours ("history" stands for conversation), and
    ``conditions`` say for some of them, by name, under what condition; else they are refused.
    ``key_env`` are the environment variables that may hold its key, tried in order.
    ``auth`` is the header that carries the key, as (name, format with ``{key}``); ``placeholder_key`` goes
    there when there is no key, for servers that want the header all the same.
    ``managed_fields`` are the body fields that raw provider options may not set.
    ``resends_stale`` allows the HTTP client to send a request once more on a fresh connection when a
    reused one turns out to be closed before a byte of the answer came: for servers that close
    connections they called alive and where a request costs nothing.
    ``deferred`` are the limits of one deferred job, None for a provider that has none.
    ``accepts_client`` lets ``Config(client=...)`` hand over the vendor's own client, which needs no key.
    """

    name: str
    api: tuple[int, int] = API_VERSION
    docs_url: str = ""
    key_env: tuple[str, ...] = ()
    needs_key: bool = True
    placeholder_key: str | None = None
    auth: tuple[str, str] = ("Authorization", "Bearer {key}")
    base_url: str | None = None
    base_url_policy: BaseUrlPolicy = "fixed"
    base_url_env: str | None = None
    options: frozenset[str] = attrs.field(default=frozenset(), converter=_to_frozenset)
    conditions: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    config_options: tuple[ConfigOption, ...] = ()
    sources: tuple[SourceRule, ...] = (TEXT_RULE, TEXT_FILE_RULE)
    sources_hint: str | None = None
    managed_fields: frozenset[str] = attrs.field(default=frozenset(), converter=_to_frozenset)
    schema_dialect: SchemaDialect = PLAIN
    resends_stale: bool = False
    accepts_client: bool = False
    deferred: DeferredLimits | None = None

    def exclude_options(self, names: Iterable[str]) -> ProviderInfo:
        """The declaration of a provider that does not honour these options."""
        return attrs.evolve(self, options=self.options - set(names))

    def find_rule(self, source: Source) -> SourceRule | None:
        """How ``source`` reaches this provider; None when it cannot."""
        return next((rule for rule in self.sources if rule.matches(source)), None)


@attrs.frozen
class Problem:
    """Something found wrong before any side effect: what, and the next step."""

    message: str
    hint: str | None = None


def find_client_problem(client: object, *classes: str) -> Problem | None:
    """Why a client that was handed over is none of these classes, ``"package.Class"``; None without a client.

    Nothing is imported: who has a client has imported its package.
    """
    names = {f"{base.__module__.partition('.')[0]}.{base.__qualname__}" for base in type(client).__mro__}
    if client is None or names & {*classes}:
        return None
    hint = "pass the blocking client" if any("Async" in name for name in names) else "pass an object, as in the guide"
    return Problem(f"client must be a {classes[0]}, got {type(client).__qualname__}", hint)


@attrs.frozen(kw_only=True)
class Address:
    """Where requests go: ``base_url``, None where it is not known before the client is open.

    ``headers`` go with every request, beside its own and that of the key.
    """

    base_url: str | None
    headers: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class HttpRequest:
    """One request as data: what `pollux_encode` gives and `pollux_send` moves. It never holds the key.

    ``path`` is relative to the base url; ``body`` is JSON-ready, or None for no body.
    """

    path: str
    body: dict[str, Any] | None = None
    method: str = "POST"
    headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def content(self) -> bytes | None:
        """The body as compact UTF-8 JSON. Raises ConfigurationError for what JSON cannot hold."""
        if self.body is None:
            return None
        try:
            return _ENCODER.encode(self.body).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"the request cannot be written as JSON: {error}",
                hint="look for values in tools, schema or provider options that are no plain data",
            ) from error


@attrs.frozen(kw_only=True)
class HttpResponse(Storable):
    """One answer as data: status, headers with lower-case names, and the decoded JSON body."""

    status: int
    headers: dict[str, str] = attrs.field(factory=dict, repr=False)
    body: Any = None

    @property
    def request_id(self) -> str | None:
        """The provider's own id of this exchange, if it named one."""
        for name in _REQUEST_ID_HEADERS:
            if name in self.headers:
                return self.headers[name]
        return None


_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-goog-request-id", "x-generation-id", "cf-ray")
