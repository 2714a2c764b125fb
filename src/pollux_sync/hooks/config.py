"""The public `Config`: values completed from what the provider declares and from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync.data.config import ConfigValues
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.environment import read_enabled_plugins, read_variable
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import Hooks, build_manager, read_provider_info

if TYPE_CHECKING:
    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.hooks.loading import Loaded

#: The provider that answers under any name when ``use_mock`` is set.
MOCK = "mock"


@attrs.frozen(kw_only=True, cache_hash=True)
class Config(ConfigValues):
    """Which provider and model to ask, and how to reach them. Frozen; equal configs share one client.

    * ``provider``: name of an installed provider plugin (``"distribution:name"`` if two offer it).
    * ``model``: as the provider calls it.
    * ``api_key``: default from the variable that the provider declares, or from the nearest ``.env``.
    * ``base_url``: where the provider takes one.
    * ``use_mock``: answer offline under any provider name; needs no key and no plugin.
    * ``request_concurrency``: how many requests of one call may be in flight.
    * ``timeout_s``: seconds that one physical attempt may take in all.
    * ``retry``: the `RetryPolicy`.
    * ``plugins``: middleware by name or as objects, inner to outer; None takes POLLUX_SYNC_PLUGINS, else
      ``[tool.pollux-sync] plugins`` of the nearest pyproject.toml.
    * ``client``: the vendor's own client, to carry every call, where the provider takes one.
    * ``provider_options``: settings that the provider declares for itself.
    * ``capabilities``: what ``model`` takes, where the provider knows it less well than you: options by name, False
      for one that is to be refused, True for one that is to be sent whatever the provider knows of the model.

    Raises ConfigurationError (PluginLoadError for plugins) with a hint; the key is in no text or repr.
    """

    def __attrs_post_init__(self) -> None:
        self._reset_defaults()
        ConfigValues.__attrs_post_init__(self)
        if self.plugins is None:
            self._set("plugins", read_enabled_plugins())
        if not self.use_mock:
            self._fill_defaults(load(PROVIDERS, self.provider))
        elif self.capabilities:
            self._check_capabilities(read_provider_info(load(PROVIDERS, MOCK)))

    def _reset_defaults(self) -> None:
        """A copy for another provider must not carry this one's key to it."""
        if self._completed is None or self._completed[0] == self.provider:
            return
        _, api_key, base_url = self._completed
        if self.api_key == api_key:
            self._set("api_key", None)
        if self.base_url == base_url:
            self._set("base_url", None)
        self._set("_completed", None)

    def _fill_defaults(self, provider: Loaded) -> None:
        info = read_provider_info(provider)
        given = self.api_key, self.base_url
        self._check_provider_options(info)
        self._check_capabilities(info)
        self._check_client(info)
        if self.api_key is None and self.client is None:
            self._set("api_key", next(filter(None, map(read_variable, info.key_env)), None))
        if self.base_url is not None and info.base_url_policy == "fixed":
            raise ConfigurationError(f"provider {info.name!r} takes no base_url", hint="leave base_url out")
        if self.base_url is None and info.base_url_env is not None:
            self._set("base_url", read_variable(info.base_url_env))
        ConfigValues.__attrs_post_init__(self)
        found = (new if old is None else None for old, new in zip(given, (self.api_key, self.base_url), strict=True))
        if self._completed is None:
            self._set("_completed", (self.provider, *found))
        self._check_required(info)
        for problem in Hooks(config=self, info=info, manager=build_manager([provider])).check_config():
            raise ConfigurationError(problem.message, hint=problem.hint)

    def _check_required(self, info: ProviderInfo) -> None:
        if self.base_url is None and info.base_url_policy == "required":
            raise ConfigurationError(
                f"provider {info.name!r} needs a base_url",
                hint="pass base_url=..." + (f" or set {info.base_url_env}" if info.base_url_env else ""),
            )
        if self.api_key is None and info.needs_key and self.client is None:
            names = " or ".join(info.key_env)
            wanted = f"set {names}, write it into .env, or pass api_key=..." if names else "pass api_key=..."
            raise ConfigurationError(
                f"no API key for provider {info.name!r}",
                hint=wanted,
            )

    def _check_client(self, info: ProviderInfo) -> None:
        if self.client is None:
            return
        if not info.accepts_client:
            raise ConfigurationError(f"provider {info.name!r} takes no client", hint="leave client out")
        if self.api_key is not None or self.base_url is not None:
            raise ConfigurationError(
                "a client brings its own key and address", hint="leave api_key and base_url out, or leave client out"
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
        """What the provider has no words for cannot be sent, whatever the model takes."""
        for name in self.capabilities:
            if name not in info.options:
                raise ConfigurationError(
                    f"capabilities names {name!r}, which provider {info.name!r} has no option for",
                    hint=f"it has: {', '.join(sorted(info.options)) or 'none'}",
                )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
