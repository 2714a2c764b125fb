"""Config -> Hooks: the plugins of a configuration, put together.

Apart from the engine, which takes longer to import than all that is needed here: a process that only sends has no use
for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync.builtin.defaults import CoreDefaults
from pollux_sync.hooks.config import MOCK
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, Loaded, load
from pollux_sync.hooks.relay import Hooks, build_manager, read_provider_info

if TYPE_CHECKING:
    from pollux_sync.data.config import ConfigValues


def open_hooks(config: ConfigValues) -> Hooks:
    """Build the hooks of one configuration: the core's defaults, the provider, then the middleware."""
    provider = load(PROVIDERS, MOCK if config.use_mock else config.provider)
    info = read_provider_info(provider)
    middleware = [_load_middleware(plugin) for plugin in config.plugins or ()]
    manager = build_manager([Loaded(CoreDefaults(), "defaults"), provider, *middleware])
    if config.use_mock:
        # Under the name that was asked for, so that a script sees its own provider in results and states.
        info = attrs.evolve(info, name=config.provider.rpartition(":")[2])
    return Hooks(config=config, info=info.exclude_options(config.excluded_options), manager=manager)


def _load_middleware(plugin: object) -> Loaded:
    return load(MIDDLEWARE, plugin) if isinstance(plugin, str) else Loaded(plugin, type(plugin).__name__)
