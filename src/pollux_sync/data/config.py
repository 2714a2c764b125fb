"""The values of a configuration: the model, and how to reach it.

`pollux_sync.hooks.config.Config`, the public class, completes them from the provider's declaration and the
environment.
"""

from __future__ import annotations

import json
import os
import re
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_bool, check_int, check_seconds, check_text, require_mapping
from pollux_sync.data.headers import REDACTED, check_headers, iter_secrets, redact_values
from pollux_sync.data.retry import RetryPolicy
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from urllib.parse import SplitResult

#: The variables that may name a file of trusted certificates, in the order in which they are read: requests knows the
#: first two, OpenSSL and httpx the third.
CA_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
#: The variables that name a proxy, and the addresses without one. Either spelling counts.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
#: Every variable by which the environment chooses the way to a server.
_WAY_VARIABLES = (*CA_BUNDLE_VARIABLES, *PROXY_VARIABLES, *map(str.lower, PROXY_VARIABLES))
_WAY_KEYS = tuple(map(os.environ.encodekey, _WAY_VARIABLES))
#: How files that a provider can store reach it.
Uploads = Literal["auto", "always", "never"]
#: One part of a host's name: of ASCII only letters, digits, hyphens and the underscore of container networks. Written
#: as what is not in it, since a class of 100,000 characters takes 2 ms to compile.
_HOST_LABEL = re.compile(r"[^\x00-,./:-@\[-^`{-\x7f]{1,63}")
#: The user and password of a URL, with or without a scheme.
_CREDENTIALS = re.compile(r"^((?:[\w+.-]+:)?//|)[^/?#]*@")

#: A shorter key is not redacted: it protects nothing, and its characters occur in every text.
_MIN_SECRET_CHARS = 4
#: A shorter key, such as "test", may be part of ordinary words: it is redacted only where it is a word of its own.
_MIN_UNIQUE_CHARS = 12
#: How the account of every mock begins. A fingerprint of a key is hexadecimal, so it cannot begin so.
_MOCK_ACCOUNT = "mock"


def _redact(value: str | None) -> str:
    return repr(value) if value is None else f"'{REDACTED}'"


def redact_secret(text: str, secret: str) -> str:
    """Return ``text`` without the secret: a long one anywhere, a short one where it is a whole word.

    One of fewer than 4 characters protects nothing, and stays.
    """
    if len(secret) < _MIN_SECRET_CHARS:
        return text
    if len(secret) < _MIN_UNIQUE_CHARS:
        return re.sub(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", REDACTED, text)
    # Repeated, because the texts around a replacement may form the secret anew.
    while secret in text:
        text = text.replace(secret, REDACTED)
    return text


def read_way_variables() -> tuple[object, ...]:
    """Return what the environment says about the way to a server, as it stands there, for comparison alone."""
    # Beneath os.environ, which costs 10 µs to ask for so many names: every call does. Whoever replaces it pays that.
    values = getattr(os.environ, "_data", None)
    return tuple(map(os.environ.get, _WAY_VARIABLES) if values is None else map(values.get, _WAY_KEYS))


def is_mock_account(account: str | None) -> bool:
    """Return whether a handle of this account was made by the mock."""
    return (account or "").startswith(_MOCK_ACCOUNT)


def redact_credentials(url: str) -> str:
    """Return a URL without user and password."""
    return _CREDENTIALS.sub(rf"\1{REDACTED}@", url)


class SecretText(str):
    """A text that does not show in reprs or in the locals of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{REDACTED}'"


class SecretUrl(str):
    """A URL whose user and password do not show in reprs or in the locals of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact_credentials(str(self)))


def read_password(url: str | None) -> str | None:
    """Return the password in a URL, or None."""
    parts = _split_url(url) if url else None
    if parts is None or not parts.password:
        return None
    from urllib.parse import unquote

    return SecretText(unquote(parts.password))


def _redact_url(url: str | None) -> str:
    return repr(url if url is None else redact_credentials(url))


def _strip_credentials(text: str) -> str:
    """Return the part after the last @ of a text that is not a URL, since the part before may hold a password."""
    return f"{REDACTED}@{text.rpartition('@')[2]}" if "@" in text else text


def _to_text_path(path: str | PathLike[str] | None) -> str | None:
    # What is neither a text nor a path is refused later, with a hint.
    return fspath(path) if isinstance(path, PathLike) else path


# Dicts have no hash, so they are compared as text; repr stands in for values without a JSON form.
def _dump_json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, default=repr)


def _identify_plugins(plugins: Sequence[Any] | None) -> object:
    """Return a key by which plugin objects compare by identity: equal objects still make separate observations."""
    if not isinstance(plugins, tuple):
        return id(plugins)
    return tuple(plugin if isinstance(plugin, str) else id(plugin) for plugin in plugins)


def _copy_options(value: object) -> Mapping[str, Any]:
    return require_mapping("provider_options", {} if value is None else value)


def _copy_headers(value: object) -> Mapping[str, str]:
    return require_mapping("headers", {} if value is None else value)


def _copy_capabilities(value: object) -> Mapping[str, bool]:
    return require_mapping("capabilities", {} if value is None else value)


def _split_url(url: str) -> SplitResult | None:
    from urllib.parse import urlsplit  # with the first address

    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - urlsplit itself does not check the port; reading it raises ValueError
    except ValueError:
        return None
    return parts


def _is_host(host: str) -> bool:
    """Return whether a host may exist. One with other letters than ASCII's is also checked when it is encoded."""
    # An address of IPv6, which urlsplit has checked. It may end in the name of a network interface.
    if ":" in host:
        return True
    # A dot at the end says that the name is complete.
    labels = host.removesuffix(".").split(".")
    return host.isprintable() and all(_HOST_LABEL.fullmatch(label) for label in labels)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Completed(Value):
    """The values of a configuration that came from the environment, and the provider that they are for."""

    provider: str
    api_key: str | None = attrs.field(repr=False)
    base_url: str | None
    headers: Mapping[str, str] = attrs.field(repr=False)


# The hash is cached, because every call looks up its client by the configuration.
@attrs.frozen(kw_only=True, cache_hash=True)
class ConfigValues:
    """The fields of a configuration, checked for type and range. Equal values share one client."""

    provider: str
    model: str
    api_key: str | None = attrs.field(default=None, repr=_redact)
    base_url: str | None = attrs.field(default=None, repr=_redact_url)
    use_mock: bool = False
    request_concurrency: int = 6
    timeout_s: float = 600.0
    stream_timeout_s: float = 3600.0
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    proxy: str | None = attrs.field(default=None, repr=_redact_url)
    ca_bundle: str | None = attrs.field(default=None, converter=_to_text_path)
    headers: Mapping[str, str] = attrs.field(default=None, converter=_copy_headers, eq=_dump_json, repr=redact_values)
    uploads: Uploads = "auto"
    # Plugins and clients compare by identity: equal configurations share one open client.
    plugins: Sequence[Any] | None = attrs.field(default=None, eq=_identify_plugins)
    client: Any = attrs.field(default=None, eq=id, repr=lambda client: type(client).__name__)
    #: What the environment had for the provider: see hooks.config. A copy for another provider drops it, so that no
    #: key reaches a provider that it does not belong to.
    _completed: Completed | None = attrs.field(default=None, repr=False, eq=False)
    provider_options: Mapping[str, Any] = attrs.field(default=None, converter=_copy_options, eq=_dump_json)
    capabilities: Mapping[str, bool] = attrs.field(default=None, converter=_copy_capabilities, eq=_dump_json)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that nothing may show: keys, the proxy's password, headers that carry secrets by their names."""
        secrets = filter(None, (*self._keys, read_password(self.proxy), *iter_secrets(self.headers)))
        return tuple([SecretText(secret) for secret in secrets if len(secret) >= _MIN_SECRET_CHARS])

    @property
    def excluded_options(self) -> frozenset[str]:
        """The options that the model does not take according to ``capabilities``."""
        return frozenset(name for name, is_accepted in self.capabilities.items() if not is_accepted)

    @property
    def account(self) -> str | None:
        """A fingerprint of the key, from which the key cannot be recovered; None without a key.

        That of a mock is marked as such: see `is_mock_account`.
        """
        key = next(iter(self._keys), None)
        # Hashed with a text of ours, so that the fingerprint differs from a plain hash of the key made elsewhere.
        import hashlib  # for what has an account: a file, a cache, a job

        fingerprint = key and hashlib.sha256(f"pollux-sync account {key}".encode()).hexdigest()[:16]
        return "-".join(filter(None, (_MOCK_ACCOUNT, fingerprint))) if self.use_mock else fingerprint

    @property
    def _keys(self) -> list[str]:
        # A token in a header is a key too. It counts without its scheme, since a server may quote it alone.
        tokens = (value.rpartition(" ")[2] for name, value in self.headers.items() if name.lower() == "authorization")
        own = (getattr(self.client, name, None) for name in ("api_key", "auth_token"))
        return [key for key in (self.api_key, *own, *tokens) if isinstance(key, str) and key]

    # Config runs this again after it has completed the fields, so it must accept its own results.
    def __attrs_post_init__(self) -> None:
        check_text("provider", self.provider, hint="name an installed provider plugin, e.g. provider='local'")
        check_text("model", self.model, hint="pass the model's name as the provider writes it")
        self._check_api_key()
        self._check_base_url()
        self._check_way()
        if self.uploads not in get_args(Uploads):
            raise ConfigurationError(
                f"uploads {self.uploads!r} is not known", hint=f"use one of: {', '.join(get_args(Uploads))}"
            )
        check_bool("use_mock", self.use_mock)
        check_int("request_concurrency", self.request_concurrency, minimum=1)
        check_seconds("timeout_s", self.timeout_s, above=True)
        check_seconds("stream_timeout_s", self.stream_timeout_s, above=True)
        if not isinstance(self.retry, RetryPolicy):
            raise ConfigurationError(
                f"retry must be a RetryPolicy, got {type(self.retry).__name__}",
                hint="retry=RetryPolicy(max_attempts=3)",
            )
        self._check_plugins()
        for name, is_accepted in self.capabilities.items():
            check_bool(f"capabilities[{name!r}]", is_accepted)

    def _check_api_key(self) -> None:
        """Check the key, and strip white space from it."""
        api_key: object = self.api_key
        if api_key is None:
            return
        if not isinstance(api_key, str) or not api_key.strip():
            raise ConfigurationError(
                "api_key must be a non-blank string", hint="leave it out to read it from the environment"
            )
        # A key that was read from a file ends with a line break, which no header may hold.
        api_key = api_key.strip()
        object.__setattr__(self, "api_key", api_key)
        if not (api_key.isascii() and api_key.isprintable()):
            raise ConfigurationError(
                "api_key holds a line break or a character that is not printable ASCII", hint="pass the key alone"
            )

    def _check_base_url(self) -> None:
        if self.base_url is None:
            return
        check_text("base_url", self.base_url)
        parts = _split_url(self.base_url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(
                f"base_url is not an http(s) URL: {_strip_credentials(self.base_url)!r}",
                hint="e.g. http://127.0.0.1:8080/v1",
            )
        if not _is_host(parts.hostname):
            raise ConfigurationError(
                f"base_url names the host {parts.hostname!r}, which no server can have",
                hint="e.g. http://127.0.0.1:8080/v1",
            )
        # The client adds its own path and the key's header, so these parts of the address would be lost.
        if parts.username is not None or parts.query or parts.fragment:
            raise ConfigurationError(
                "base_url holds credentials, a query or a fragment, which would not be sent",
                hint="pass the key as api_key, and the bare address as base_url",
            )

    def _check_way(self) -> None:
        """Check how the address is reached: the proxy, the certificates and the headers."""
        if self.proxy not in {None, ""}:
            check_text("proxy", self.proxy, hint="leave it out to use what the environment names, or pass '' for none")
        if self.ca_bundle is not None:
            check_text("ca_bundle", self.ca_bundle, hint="leave it out to use what the environment names")
        check_headers("headers", self.headers)

    def _check_plugins(self) -> None:
        if self.plugins is None:
            return
        if isinstance(self.plugins, str) or not hasattr(self.plugins, "__iter__"):
            raise ConfigurationError("plugins must be a list of names or objects", hint="plugins=['pollux-log']")
        # A tuple of its own: a list could change after it was checked, and has no hash.
        object.__setattr__(self, "plugins", tuple(self.plugins))
        for plugin in self.plugins:
            if isinstance(plugin, type):
                raise ConfigurationError(
                    f"plugins holds the class {plugin.__name__}", hint=f"pass an object: plugins=[{plugin.__name__}()]"
                )
