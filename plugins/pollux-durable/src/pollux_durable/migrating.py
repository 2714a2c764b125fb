"""Creates or upgrades the tables of a database, for workers that may not do so themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_durable.opening import MEMORY_URL, open_viewer
from pollux_durable.tables.schema import create_tables, read_version
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.data.settings import DurableSettings


def migrate(settings: DurableSettings) -> dict[str, str]:
    """Create or upgrade all tables; return their versions. Raises ConfigurationError for a missing database."""
    from pollux_durable.dbosengine import migrate_database

    if settings.url == MEMORY_URL:
        raise ConfigurationError("memory: has no tables that stay", hint="name a database")
    with migrate_database(settings) as database:
        create_tables(database)
    with open_viewer(attrs.evolve(settings, execute=False)) as host:
        return {**host.engine.describe(), "tables": str(read_version(host.engine.database))}
