"""Settings -> a host: the plugins, the engine, and the tables."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pollux_durable.codecs import JsonStore
from pollux_durable.hosting import Host
from pollux_durable.plugins import load_plugins
from pollux_durable.registry import registry
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.engines import Engine

#: Keeps runs in this process alone, for unit tests.
MEMORY_URL = "memory:"


def build_host(settings: DurableSettings, plugins: Sequence[object] = ()) -> Host:
    """Return a host whose engine is not launched yet. Raises ConfigurationError if the database cannot be used."""
    hooks = load_plugins(plugins)
    store = JsonStore(hooks.find_codec())
    engine = hooks.find_engine(settings, store) or _open_engine(settings, store)
    try:
        host = Host(settings, engine, store, registry)
    except BaseException:
        engine.close()
        raise
    host.notifiers += hooks.list_notifiers()
    return host


@contextmanager
def open_viewer(settings: DurableSettings, plugins: Sequence[object] = ()) -> Iterator[Host]:
    """Give a host that only submits and looks, beside whatever else this process is set up with."""
    host = build_host(settings, plugins)
    try:
        host.engine.launch()
        yield host
    finally:
        host.close()


def _open_engine(settings: DurableSettings, store: JsonStore) -> Engine:
    if settings.url == MEMORY_URL:
        from pollux_durable.memory import MemoryEngine

        if not settings.execute:
            raise ConfigurationError(
                "memory: keeps runs in the process that carries them out",
                hint="name a database, such as sqlite:///path/to/file.db",
            )
        return MemoryEngine(store)
    from pollux_durable.dbosengine import DbosEngine

    return DbosEngine(settings, store)
