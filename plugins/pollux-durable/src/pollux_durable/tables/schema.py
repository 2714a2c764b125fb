"""Creates the tables. A database of a newer release is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.errors import StoredDataError
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.engines import Database

#: The version of these tables.
SCHEMA_VERSION = 1
_SERIAL = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY"}
_FLOAT = {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION"}
_TABLES = """
CREATE TABLE IF NOT EXISTS pollux_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS pollux_events (
    sequence_id {serial}, topic TEXT NOT NULL, event_type TEXT, data TEXT NOT NULL, execution_id TEXT,
    once TEXT UNIQUE, at {float} NOT NULL);
CREATE INDEX IF NOT EXISTS pollux_events_topic ON pollux_events (topic, sequence_id);
CREATE INDEX IF NOT EXISTS pollux_events_at ON pollux_events (at);

CREATE TABLE IF NOT EXISTS pollux_waits (
    execution_id TEXT PRIMARY KEY, step_key TEXT NOT NULL, kind TEXT NOT NULL, target TEXT, wake_at {float},
    queue TEXT, state TEXT NOT NULL, at {float} NOT NULL);
CREATE INDEX IF NOT EXISTS pollux_waits_target ON pollux_waits (target);
CREATE INDEX IF NOT EXISTS pollux_waits_wake_at ON pollux_waits (wake_at);
CREATE TABLE IF NOT EXISTS pollux_cancels (
    execution_id TEXT PRIMARY KEY, aborts INTEGER NOT NULL, at {float} NOT NULL);
CREATE INDEX IF NOT EXISTS pollux_cancels_at ON pollux_cancels (at);
CREATE TABLE IF NOT EXISTS pollux_retries (execution_id TEXT PRIMARY KEY, failures BIGINT NOT NULL);

CREATE TABLE IF NOT EXISTS pollux_states (
    workflow_id TEXT NOT NULL, scope TEXT NOT NULL, data TEXT NOT NULL, execution_id TEXT NOT NULL,
    PRIMARY KEY (workflow_id, scope));
CREATE TABLE IF NOT EXISTS pollux_sessions (
    session_id TEXT NOT NULL, agent_id TEXT NOT NULL, memory TEXT NOT NULL, PRIMARY KEY (session_id, agent_id));
CREATE TABLE IF NOT EXISTS pollux_calls (
    execution_id TEXT NOT NULL, step_key TEXT NOT NULL, request_key TEXT NOT NULL, request TEXT NOT NULL,
    reply TEXT NOT NULL, at {float} NOT NULL, PRIMARY KEY (execution_id, step_key, request_key));

CREATE TABLE IF NOT EXISTS pollux_workers (
    executor_id TEXT PRIMARY KEY, version TEXT NOT NULL, host TEXT NOT NULL, pid BIGINT NOT NULL,
    beat {float} NOT NULL);
CREATE TABLE IF NOT EXISTS pollux_triggers (
    workflow_id TEXT PRIMARY KEY, topic TEXT NOT NULL, sequence_id BIGINT NOT NULL, previous_id BIGINT,
    claimed_at {float});
CREATE TABLE IF NOT EXISTS pollux_schedules (
    workflow_id TEXT NOT NULL, schedule_key TEXT NOT NULL, cron TEXT NOT NULL, timezone TEXT NOT NULL,
    backfill INTEGER NOT NULL, is_declared INTEGER NOT NULL, is_paused INTEGER NOT NULL, next_at {float} NOT NULL,
    last_at {float}, previous_at {float}, claimed_at {float}, PRIMARY KEY (workflow_id, schedule_key));
CREATE TABLE IF NOT EXISTS pollux_pauses (queue TEXT PRIMARY KEY, until {float});
CREATE TABLE IF NOT EXISTS pollux_shares (
    execution_id TEXT PRIMARY KEY, scope TEXT NOT NULL, share {float} NOT NULL);
"""


_META = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'pollux_meta'",
    "postgresql": "SELECT 1 WHERE to_regclass('pollux_meta') IS NOT NULL",
}


def read_version(database: Database) -> int | None:
    """Return the version of the tables, or None for a database without them."""
    with database.transact() as transaction:
        if not transaction.execute(_META[database.dialect]):
            return None
        rows = transaction.execute("SELECT value FROM pollux_meta WHERE name = 'schema'")
    return int(rows[0][0]) if rows else None


def create_tables(database: Database) -> None:
    """Create what is missing. Raises StoredDataError if a newer release has written this database."""
    # A worker that must not create tables can still begin where they are there.
    if read_version(database) == SCHEMA_VERSION:
        return
    kinds = {"serial": _SERIAL[database.dialect], "float": _FLOAT[database.dialect]}
    with database.transact() as transaction:
        if database.dialect == "postgresql":
            # Two processes that create the same table at once would fail over the names of its types.
            transaction.execute("SELECT pg_advisory_xact_lock(7653211)")
        for statement in _TABLES.format(**kinds).split(";"):
            if statement.strip():
                transaction.execute(statement)
        transaction.execute(
            "INSERT INTO pollux_meta (name, value) VALUES ('schema', :value) ON CONFLICT (name) DO NOTHING",
            {"value": str(SCHEMA_VERSION)},
        )
    check_tables(database)


def check_tables(database: Database) -> None:
    """Raise ConfigurationError if the tables are missing, StoredDataError if a newer release has written them."""
    version = read_version(database)
    if version is None or version < SCHEMA_VERSION:
        found = "no tables" if version is None else f"tables of version {version}"
        raise ConfigurationError(
            f"the database has {found}, and this release needs those of version {SCHEMA_VERSION}",
            hint="pollux-sync durable migrate",
        )
    if version > SCHEMA_VERSION:
        raise StoredDataError(
            f"the database has tables of version {version}, and this release knows those of {SCHEMA_VERSION}",
            hint="pip install --upgrade pollux-durable",
        )
