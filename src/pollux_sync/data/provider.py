"""A provider's declaration, and one HTTP exchange, as data.

The engine decides by the declaration alone, and the capability tables in the docs are generated from it.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import attrs

from pollux_sync._values import Value, to_frozenset
from pollux_sync.data.bodies import InlineText, Payload, expand_texts
from pollux_sync.data.converter import Storable
from pollux_sync.data.headers import redact_secrets
from pollux_sync.data.texts import map_texts
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import PLAIN, SchemaDialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pollux_sync.data.rules import CacheLabels, DeferredLimits, InlineLimits, PrefixCaching, ToolNames
    from pollux_sync.data.source import Source

#: The version of the hook interface that this core implements: (major, minor).
API_VERSION = (1, 0)

Delivery = Literal["text", "inline", "upload", "uri", "stored"]
BaseUrlPolicy = Literal["fixed", "optional", "required"]


class _InlineTextFoundError(Exception):
    """A body holds an `InlineText`."""


def _refuse_value(value: Any) -> NoReturn:
    if isinstance(value, InlineText):
        raise _InlineTextFoundError
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# NaN and Infinity are refused because they are not JSON, although Python writes them by default.
_JSON_SETTINGS: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
# One encoder for every request: json.dumps would build one for each call.
_ENCODER = json.JSONEncoder(**_JSON_SETTINGS, default=_refuse_value)
_SORTING_ENCODER = json.JSONEncoder(**_JSON_SETTINGS, default=_refuse_value, sort_keys=True)
#: What an encoder raises for a value that JSON cannot hold, and UTF-8 for a text.
_JSON_ERRORS = (TypeError, ValueError, RecursionError)

# A body may hold files of megabytes.
_SHORTENED = reprlib.Repr()
_SHORTENED.maxlevel, _SHORTENED.maxdict, _SHORTENED.maxlist, _SHORTENED.maxstring = 20, 100, 100, 500


# A plan looks for the rule of each source several times, and a rule for text has eleven patterns.
@lru_cache(maxsize=1024)
def _matches_any(mime_type: str, patterns: tuple[str, ...]) -> bool:
    # Parameters such as "; charset=utf-8" say nothing about the kind of content.
    mime = mime_type.partition(";")[0].strip().lower()
    return any(fnmatchcase(mime, pattern) for pattern in patterns)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SourceRule(Value):
    """A rule that says how sources of some types reach the provider. The first rule that matches is used.

    ``mime_types`` are shell-style patterns, and so are ``excluded_types``, which the rule leaves out. ``delivery`` is
    one of: "text" sends the content as text, "inline" sends the bytes inside the request, "upload" refers to a file
    that `pollux_upload` stored, "stored" to one that was there before, "uri" sends the address alone.
    ``uri_schemes`` restricts the rule to sources whose identifier has one of these schemes; empty allows all.
    With "upload", ``inline`` says up to which size the provider takes the bytes inside the request too: the core then
    chooses what costs less.
    """

    source_types: frozenset[str] = attrs.field(converter=to_frozenset)
    mime_types: tuple[str, ...] = ("*",)
    excluded_types: tuple[str, ...] = ()
    delivery: Delivery
    uri_schemes: tuple[str, ...] = ()
    inline: InlineLimits | None = None

    def matches(self, source: Source) -> bool:
        """Return whether this rule applies to ``source``."""
        return (
            source.source_type in self.source_types
            and _matches_any(source.mime_type, self.mime_types)
            and not (self.excluded_types and _matches_any(source.mime_type, self.excluded_types))
            and (not self.uri_schemes or source.identifier.partition(":")[0].lower() in self.uri_schemes)
        )


#: Text and JSON are sent as part of the prompt by every provider.
TEXT_RULE = SourceRule(source_types={"text", "json"}, delivery="text")

#: Files that every model can read as text. Many text formats have no text/* type, so they are listed.
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
        # A drawing, but written as text: no service takes it as an image.
        "image/svg+xml",
    ),
    delivery="text",
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfigOption(Value):
    """One key of ``Config(provider_options={...})`` that the provider accepts.

    ``about`` describes the option to users; it is the hint of the error when a value is refused. ``changes_answers``
    marks an option by which the same request is answered otherwise: it is part of the key of a request.
    """

    name: str
    types: tuple[type, ...]
    about: str
    minimum: float | None = None
    maximum: float | None = None
    changes_answers: bool = False

    def find_problem(self, value: object) -> str | None:
        """Return what is wrong with ``value``, or None if the option accepts it.

        The text continues a sentence that begins with the option's name. A boolean does not count as an integer; an
        integer counts as a float.
        """
        has_type = isinstance(value, self.types) or (isinstance(value, int) and float in self.types)
        # bool is a subclass of int: without this test True would pass for 1.
        if not has_type or (isinstance(value, bool) and bool not in self.types):
            expected = " or ".join(kind.__name__ for kind in self.types)
            return f"must be {expected}, got {type(value).__name__}"
        if isinstance(value, int | float) and self.minimum is not None and value < self.minimum:
            return f"must be at least {self.minimum:g}, got {value}"
        if isinstance(value, int | float) and self.maximum is not None and value > self.maximum:
            return f"must be at most {self.maximum:g}, got {value}"
        return None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderInfo(Value):
    """The declaration of a provider. The core refuses whatever is not declared, before anything is sent.

    ``options`` are the names of the `Options` fields that the provider honours; "history" stands for conversation.
    ``conditions`` state, by option name, the condition under which an option is honoured; otherwise the provider
    refuses it. The docs show them.
    ``key_env`` are the environment variables that may hold the key, tried in order.
    ``token_env`` is the variable of a token that is sent as ``Authorization: Bearer`` if there is no key.
    ``auth`` is the header that carries the key, as (name, format with ``{key}``). ``placeholder_key`` is sent in it
    without a key, for servers that require the header anyway.
    ``base_url_example`` is an address of the usual form, by default ``base_url``; "" stands for no example;
    ``not_found_hint`` says what else may be wrong with an address that the user chose, once a server there has
    answered 404.
    ``header_env`` names the variables that set a header of every request, by header; ``headers_env`` one that holds
    any headers, a line each.
    ``version_path`` is the version with which every path of its requests begins, if ``base_url`` has none: an address
    that ends in it is meant without it.
    ``sources`` are the rules of delivery, in order. ``sources_hint`` is the hint of the error when none of them
    matches a source; by default it lists the rules.
    ``managed_fields`` are the body fields that raw provider options may never set, since the core or the decoder
    depends on them; a name with a dot is a field inside an object, whose other fields they may set. What a call has
    written is refused in any case. ``managed_by`` says by path what writes a field and all that is inside it, such as
    ``Options(max_tokens=...)``, unless that is an option of the same name.
    ``list_headers`` are the headers, in lower case, whose values are comma-separated lists: those of the configuration,
    of the encoder and of the call are sent together.
    ``resends_stale`` allows the HTTP client to send a request once more on a new connection when a reused one turns
    out to be closed before any byte of the response. Set it for a server that closes connections which it promised
    to keep alive, and only if a request that is carried out twice costs nothing.
    ``tool_names`` are the names of tools that the service takes; None leaves that to the service.
    ``cache_labels`` are the labels of its caches; None means that a cache has none, and the core refuses them.
    ``prefix_caching`` are its rules for the option "implicit_caching"; None if they are not known, or without a choice.
    ``call_id_pattern`` matches the ids of tool calls that the service takes; the core replaces others, which another
    service made up.
    ``hosted_tools`` are the tools that the provider runs, and of each the fields that it honours, by the kinds of
    `HostedTool`; "raw" stands for any tool of its own.
    ``result_types`` are shell-style patterns of the files that a tool may return to the model, such as images; of
    others the model gets the name alone.
    ``has_json_mode`` marks a service that answers any JSON object without a schema: its encoder honours
    ``Options.wants_json_object``, and the core refuses ``response_schema=dict`` for others.
    ``deferred`` are the limits of one deferred job; None means that the provider does not offer deferred jobs.
    ``accepts_client`` permits ``Config(client=...)``, the vendor's own client, which brings its own key.
    """

    name: str
    api: tuple[int, int] = API_VERSION
    docs_url: str = ""
    key_env: tuple[str, ...] = ()
    token_env: str | None = None
    needs_key: bool = True
    placeholder_key: str | None = None
    auth: tuple[str, str] = ("Authorization", "Bearer {key}")
    base_url: str | None = None
    base_url_policy: BaseUrlPolicy = "fixed"
    base_url_env: str | None = None
    version_path: str = ""
    base_url_example: str | None = None
    not_found_hint: str | None = None
    header_env: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    headers_env: str | None = None
    options: frozenset[str] = attrs.field(default=frozenset(), converter=to_frozenset)
    # A dict has no hash, and would leave the whole declaration without one.
    conditions: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    config_options: tuple[ConfigOption, ...] = ()
    sources: tuple[SourceRule, ...] = (TEXT_RULE, TEXT_FILE_RULE)
    sources_hint: str | None = None
    managed_fields: frozenset[str] = attrs.field(default=frozenset(), converter=to_frozenset)
    managed_by: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    list_headers: frozenset[str] = attrs.field(default=frozenset(), converter=to_frozenset)
    schema_dialect: SchemaDialect = PLAIN
    has_json_mode: bool = False
    resends_stale: bool = False
    tool_names: ToolNames | None = None
    cache_labels: CacheLabels | None = None
    prefix_caching: PrefixCaching | None = None
    call_id_pattern: str | None = None
    hosted_tools: Mapping[str, frozenset[str]] = attrs.field(factory=dict, hash=False)
    result_types: tuple[str, ...] = ()
    accepts_client: bool = False
    deferred: DeferredLimits | None = None

    @property
    def credential_env(self) -> tuple[str, ...]:
        """The variables that may hold a key or a token, in the order in which they are tried."""
        return (*self.key_env, *([self.token_env] if self.token_env else []))

    def exclude_options(self, names: Iterable[str]) -> ProviderInfo:
        """Return this declaration without these options, so that the engine refuses them."""
        return attrs.evolve(self, options=self.options - set(names))

    def resolve_base_url(self, base_url: str | None) -> str:
        """Return the address that the paths of requests continue, "" if none is known.

        It is ``base_url`` without doubled slashes, slashes at the end and ``version_path``; or the service's own
        address, if ``base_url`` is None or only the beginning of that address.
        """
        from urllib.parse import urlsplit  # with the first address

        own = self.base_url or ""
        # Not those of an address inside the path, by which some gateways are told where to go.
        root = re.sub(r"(?<!:)//+", "/", base_url or own).rstrip("/")
        parts, known = urlsplit(root), urlsplit(own)
        # The beginning of the service's own address. The path on another host is that host's affair.
        if parts.netloc.lower() == known.netloc.lower() and known.path.startswith(f"{parts.path}/"):
            return own
        return root.removesuffix(self.version_path)

    def find_rule(self, source: Source) -> SourceRule | None:
        """Return the rule by which ``source`` reaches this provider, or None if no rule matches."""
        # A loop, which costs half of what a generator costs.
        for rule in self.sources:
            if rule.matches(source):
                return rule
        return None

    def takes_result(self, source: Source) -> bool:
        """Return whether the result of a tool may hold ``source``."""
        return _matches_any(source.mime_type, self.result_types)


@attrs.frozen(eq=False, repr=False)
class Problem(Value):
    """Something wrong that a plugin found before anything was sent: the message, and the next step as a hint."""

    message: str
    hint: str | None = None


def find_client_problem(client: object, *classes: str) -> Problem | None:
    """Return the problem of a ``client`` that is not an instance of any of ``classes``, or None.

    Write a class as package and name, ``"openai.OpenAI"``. Without a client the result is None.
    """
    # Classes are compared by name, so that checking imports no SDK: a caller who holds a client has imported its own.
    names = {f"{base.__module__.partition('.')[0]}.{base.__qualname__}" for base in type(client).__mro__}
    if client is None or names & {*classes}:
        return None
    hint = (
        "pass the blocking client"
        if any("Async" in name for name in names)
        else "pass a client object, as the provider's guide shows"
    )
    return Problem(f"client must be a {classes[0]}, got {type(client).__qualname__}", hint)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Address(Value):
    """The address to which requests are sent. ``base_url`` is None if it is not known before the client is open.

    ``headers`` are sent with every request, in addition to its own headers and the one with the key.
    """

    base_url: str | None
    headers: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HttpRequest(Value):
    """One HTTP request as data: `pollux_encode` returns it and `pollux_send` sends it. It never holds the key.

    ``path`` is relative to the base url, or a whole address on the same host, such as that of an upload in progress.
    ``fields`` are the body, given as ``body``, or None for no body; files in base64 may stand in it as `InlineText`.
    ``payload`` is sent in its place where the body is not JSON: bytes, a file, a form with a file.
    ``is_answer_optional`` admits a successful answer without a body, which is decoded as None; otherwise it is an
    error. ``extra_headers`` are those of ``headers`` that the caller added to this call, in lower case: the core sets
    them.
    """

    path: str
    fields: dict[str, Any] | None = attrs.field(default=None, repr=_SHORTENED.repr, alias="body")
    payload: Payload | None = None
    is_answer_optional: bool = False
    method: str = "POST"
    headers: dict[str, str] = attrs.field(factory=dict, repr=redact_secrets)
    extra_headers: dict[str, str] = attrs.field(factory=dict, repr=redact_secrets)

    @property
    def body(self) -> dict[str, Any] | None:
        """The body as JSON-ready data, None without a body; files in base64 are texts, made anew each time."""
        body: dict[str, Any] | None = expand_texts(self.fields)
        return body

    @property
    def content(self) -> bytes | None:
        """The body as compact UTF-8 JSON, None without a body. Raises ConfigurationError if JSON cannot hold it."""
        return None if self.fields is None else b"".join(self.split_content())

    def split_content(self, *, sort_keys: bool = False) -> tuple[bytes, ...]:
        """Return `content` in pieces, in which files in base64 are not copied; none without a body.

        With ``sort_keys`` the order of fields makes no difference.
        """
        if self.fields is None:
            return ()
        encoder = _SORTING_ENCODER if sort_keys else _ENCODER
        try:
            try:
                return (encoder.encode(self.fields).encode(),)
            except _InlineTextFoundError:
                return _split_at_texts(self.fields, sort_keys=sort_keys)
        except _JSON_ERRORS as error:
            raise _build_json_error(error) from error


def encode_json(value: Any) -> bytes:
    """Return ``value`` as compact UTF-8 JSON. Raises ConfigurationError if JSON cannot hold it."""
    try:
        return _ENCODER.encode(value).encode()
    except _JSON_ERRORS as error:
        raise _build_json_error(error) from error


def _build_json_error(error: Exception) -> ConfigurationError:
    """Return the error of a value that JSON cannot hold."""
    if isinstance(error, UnicodeEncodeError):
        place = error.object[max(0, error.start - 20) : error.end + 20]
        return ConfigurationError(
            f"the request holds a lone surrogate, which UTF-8 cannot encode, in {place!a}",
            hint="decode the input with errors='replace' before you pass it",
        )
    return ConfigurationError(
        f"the request cannot be written as JSON: {error}",
        hint="use only plain data in tools, response_schema and provider_options",
    )


def _split_at_texts(fields: dict[str, Any], *, sort_keys: bool) -> tuple[bytes, ...]:
    found: list[InlineText] = []
    # Random, so that no text of the caller's is taken for it.
    mark = os.urandom(16).hex()

    def replace(value: Any) -> str:
        if not isinstance(value, InlineText):
            _refuse_value(value)
        found.append(value)
        return mark

    content = json.JSONEncoder(**_JSON_SETTINGS, default=replace, sort_keys=sort_keys).encode(fields).encode()
    # The encoder takes values in the order in which it writes them.
    first, *rest = content.split(mark.encode())
    return (first, *(piece for text, after in zip(found, rest, strict=True) for piece in (*text.json, after)))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HttpResponse(Storable):
    """One HTTP response as data: status, headers with lower-case names, and the body decoded from JSON.

    ``content`` are the bytes of the body as they came, decompressed; None where the response was made from data. Of a
    body that could not be decoded it is the beginning, at most 1 MiB: the answer may be paid for.
    """

    status: int
    headers: dict[str, str] = attrs.field(factory=dict, repr=False)
    body: Any = None
    # Two responses with one body are equal, however the body was written.
    content: bytes | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def request_id(self) -> str | None:
        """The provider's trace id of this exchange, None if no header holds one."""
        for name in _REQUEST_ID_HEADERS:
            if name in self.headers:
                return self.headers[name]
        return None

    def scrub(self, scrub: Callable[[str], str]) -> HttpResponse:
        """Return the response with each text of headers, body and content passed through ``scrub``.

        The names and numbers of a body stay, so that it keeps its shape even where they look like a secret.
        """
        try:
            body = map_texts(self.body, scrub)
        except RecursionError:
            body = "an answer that is nested too deeply to be shown"
        content = self.content
        if content is not None:
            content = scrub(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        headers = {name: scrub(value) for name, value in self.headers.items()}
        return attrs.evolve(self, headers=headers, body=body, content=content)


# In order of preference. The last one is Cloudflare's, which names only the exchange with its proxy.
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-goog-request-id", "x-generation-id", "cf-ray")
