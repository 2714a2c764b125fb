"""Finds the plugins of this package and calls their hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pluggy

from pollux_durable.specs import DurableHooks
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_durable.codecs import Codec, JsonStore
    from pollux_durable.data.events import Suspension
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.engines import Engine

ENTRY_POINT_GROUP = "pollux_durable.plugins"


class PluginHooks:
    """The hooks of all plugins."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._hook = manager.hook

    def find_engine(self, settings: DurableSettings, store: JsonStore) -> Engine | None:
        """Return the engine of the first plugin that has one for these settings."""
        return cast("Engine | None", self._hook.pollux_durable_engine(settings=settings, store=store))

    def find_codec(self) -> Codec | None:
        """Return the codec of the first plugin that has one."""
        return cast("Codec | None", self._hook.pollux_durable_codec())

    def list_notifiers(self) -> list[Callable[[Suspension], object]]:
        """Return what is called with each run that waits for an answer."""
        return [lambda suspension: self._hook.pollux_suspend_notify(suspension=suspension)]


def load_plugins(given: Sequence[object]) -> PluginHooks:
    """Return the hooks of the given and the installed plugins. Raises ConfigurationError for one without any."""
    manager = pluggy.PluginManager("pollux_sync")
    manager.add_hookspecs(DurableHooks)
    manager.load_setuptools_entrypoints(ENTRY_POINT_GROUP)
    for plugin in given:
        name = manager.register(plugin)
        if not manager.get_hookcallers(plugin):
            raise ConfigurationError(
                f"the plugin {name!r} has no hook of pollux-durable", hint="mark its methods with pollux_sync.hookimpl"
            )
    return PluginHooks(manager)
