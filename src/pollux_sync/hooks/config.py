"""The public `Config`: values completed from what the provider declares and from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.config import Completed, ConfigValues
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.environment import read_enabled_plugins, read_variable
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import Hooks, build_provider_manager, read_provider_info

if TYPE_CHECKING:
    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.hooks.loading import Loaded

#: The fields that a client passed to the configuration has itself.
_OF_CLIENT = ("api_key", "base_url", "proxy", "ca_bundle", "headers")
#: The header that carries a token of the environment.
_AUTHORIZATION = "Authorization"
#: The provider that answers under any name when ``use_mock`` is set.
MOCK = "mock"


class Config(ConfigValues):
    """The provider and model to call, and how to reach them. Frozen; equal configs share one client.

    * ``provider``: name of an installed provider plugin (``"distribution:name"`` if two offer it).
    * ``model``: the provider's name of the model.
    * ``api_key``: default from the variable that the provider declares, or from the nearest ``.env``.
    * ``base_url``: another address of the provider, if it takes one.
    * ``use_mock``: answer offline, under any provider name, without key and plugin.
    * ``request_concurrency``: the number of requests that one ``run_many`` may have in flight.
    * ``timeout_s``: the seconds that one physical attempt may take in all, from connecting to the last byte; of a
      stream, the wait for each next event.
    * ``stream_timeout_s``: the seconds that a whole streamed answer may take, your own time between events included.
    * ``proxy``, ``ca_bundle``: the proxy's address ("" for none), and a file of trusted certificates; default from
      HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, and from REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE.
    * ``uploads``: "auto" sends a file inside each request where that costs less than storing it at the provider,
      "always" and "never" decide it.
    * ``headers``: headers that go with every request, files and jobs included; the provider's page names the variables
      that add some.
    * ``retry``: the `RetryPolicy`.
    * ``plugins``: middleware by name or as objects, inner to outer; None takes POLLUX_SYNC_PLUGINS, else
      ``[tool.pollux-sync] plugins`` of the nearest pyproject.toml.
    * ``client``: the vendor's own client, which then carries every call, if the provider takes one.
    * ``provider_options``: settings that the provider declares.
    * ``capabilities``: options that ``model`` takes, by name, where you know the model better than the plugin: False
      refuses an option, True sends it even if the plugin's tables say that the model does not take it.

    Raises ConfigurationError with a hint (PluginLoadError for plugins). The key is in no text or repr.
    """

    # It has no fields of its own, and so no methods for attrs to write.
    __slots__ = ()

    def __attrs_post_init__(self) -> None:
        self._reset_defaults()
        # Checked before anything is looked up, so that a bad argument is reported rather than a missing plugin.
        ConfigValues.__attrs_post_init__(self)
        if self.plugins is None:
            self._set("plugins", read_enabled_plugins())
        # The mock answers offline, so it neither loads the plugin nor looks for a key.
        if not self.use_mock:
            self._fill_defaults(load(PROVIDERS, self.provider))
        elif self.capabilities:
            self._check_capabilities(read_provider_info(load(PROVIDERS, MOCK)))

    def _reset_defaults(self) -> None:
        """Drop the key and base url that were completed from the environment for another provider.

        Without this ``attrs.evolve(config, provider=...)`` would send one vendor's key to another.
        """
        known = self._completed
        if known is None:
            return
        # A key that a copy was given takes the place of the token.
        if self.api_key is not None and known.api_key is None and _AUTHORIZATION in known.headers:
            self._set("headers", {name: value for name, value in self.headers.items() if name != _AUTHORIZATION})
        if known.provider == self.provider:
            return
        if self.api_key == known.api_key:
            self._set("api_key", None)
        if self.base_url == known.base_url:
            self._set("base_url", None)
        self._set("headers", {name: value for name, value in self.headers.items() if known.headers.get(name) != value})
        self._set("_completed", None)

    def _fill_defaults(self, provider: Loaded) -> None:
        """Complete key and base url from the environment, and check everything against the declaration."""
        info = read_provider_info(provider)
        passed = self.api_key, self.base_url
        if self.api_key is None and self.client is None:
            self._set("api_key", next(filter(None, map(read_variable, info.key_env)), None))
        added = self._complete_headers(info)
        self._check_provider_options(info)
        self._check_capabilities(info)
        self._check_client(info)
        if self.uploads == "always" and all(rule.delivery != "upload" for rule in info.sources):
            raise ConfigurationError(
                f"provider {info.name!r} stores no files, so uploads cannot be 'always'", hint="leave uploads out"
            )
        if self.base_url is not None and info.base_url_policy == "fixed":
            raise ConfigurationError(f"provider {info.name!r} takes no base_url", hint="leave base_url out")
        if self.base_url is None and info.base_url_env is not None:
            self._set("base_url", read_variable(info.base_url_env))
        # Checked again, since values from the environment may be wrong too.
        ConfigValues.__attrs_post_init__(self)
        current = self.api_key, self.base_url
        completed = (new if old is None else None for old, new in zip(passed, current, strict=True))
        # Remembered, so that a copy for another provider can drop these values.
        if self._completed is None:
            api_key, base_url = completed
            known = Completed(provider=self.provider, api_key=api_key, base_url=base_url, headers=added)
            self._set("_completed", known)
        self._check_required(info)
        for problem in Hooks(config=self, info=info, manager=build_provider_manager(provider)).check_config():
            raise ConfigurationError(problem.message, hint=problem.hint)

    def _complete_headers(self, info: ProviderInfo) -> dict[str, str]:
        """Add the headers of the environment to those that were passed, and return them."""
        # A header is the same in upper and lower case.
        given = {name.lower() for name in self.headers}
        found = self._read_headers(info)
        is_open = self.api_key is None and self.client is None
        token = read_variable(info.token_env) if info.token_env and is_open else None
        found |= {_AUTHORIZATION: f"Bearer {token}"} if token else {}
        added = {name: value for name, value in found.items() if name.lower() not in given}
        self._set("headers", {**added, **self.headers})
        return added

    def _read_headers(self, info: ProviderInfo) -> dict[str, str]:
        """Return the headers that the environment sets for this provider; none for a client, which has read them."""
        if self.client is not None:
            return {}
        values = ((header, read_variable(name)) for header, name in info.header_env.items())
        headers = {header: value for header, value in values if value}
        lines = (read_variable(info.headers_env) or "") if info.headers_env else ""
        for line in filter(str.strip, lines.splitlines()):
            name, colon, value = line.partition(":")
            if not colon:
                raise ConfigurationError(
                    f"{info.headers_env} holds a header without a colon", hint="write each line as Name: value"
                )
            headers[name.strip()] = value.strip()
        return headers

    def _check_required(self, info: ProviderInfo) -> None:
        if self.base_url is None and info.base_url_policy == "required":
            raise ConfigurationError(
                f"provider {info.name!r} needs a base_url",
                hint="pass base_url=..." + (f" or set {info.base_url_env}" if info.base_url_env else ""),
            )
        # A client that was handed over has its own key, and a header may carry one.
        has_header = not {_AUTHORIZATION.lower(), info.auth[0].lower()}.isdisjoint(map(str.lower, self.headers))
        if self.api_key is None and info.needs_key and self.client is None and not has_header:
            names = " or ".join(info.credential_env)
            hint = f"set {names}, write it into .env, or pass api_key=..." if names else "pass api_key=..."
            raise ConfigurationError(f"no API key for provider {info.name!r}", hint=hint)

    def _check_client(self, info: ProviderInfo) -> None:
        if self.client is None:
            return
        if not info.accepts_client:
            raise ConfigurationError(f"provider {info.name!r} takes no client", hint="leave client out")
        own = [name for name in _OF_CLIENT if getattr(self, name) not in (None, {})]
        if own:
            raise ConfigurationError(
                f"a client brings its own {', '.join(own)}", hint=f"leave {', '.join(own)} out, or leave client out"
            )

    def _check_provider_options(self, info: ProviderInfo) -> None:
        known = {option.name: option for option in info.config_options}
        for name, value in self.provider_options.items():
            if name not in known:
                raise ConfigurationError(
                    f"provider {info.name!r} has no option {name!r}",
                    hint=f"it declares: {', '.join(sorted(known)) or 'none'}",
                )
            refusal = known[name].find_problem(value)
            if refusal is not None:
                raise ConfigurationError(f"option {name!r} of provider {info.name!r} {refusal}", hint=known[name].about)

    def _check_capabilities(self, info: ProviderInfo) -> None:
        """Refuse capabilities for options that the provider does not declare: it could not encode them."""
        for name in self.capabilities:
            if name not in info.options:
                raise ConfigurationError(
                    f"capabilities names {name!r}, which is no option of provider {info.name!r}",
                    hint=f"use one of: {', '.join(sorted(info.options)) or 'none'}",
                )

    def _set(self, name: str, value: object) -> None:
        # The class is frozen for its users; values are completed while it is built.
        object.__setattr__(self, name, value)
