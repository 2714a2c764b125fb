import json
import sqlite3

import pytest

from bulk_service import Service
from pollux_batch import run_batch
from pollux_sync import Config


@pytest.fixture
def server():
    with Service() as server:
        yield server


@pytest.fixture
def config(server):
    def make(**fields):
        return Config(**({"provider": "local", "model": "m", "base_url": f"{server.url}/v1"} | fields))

    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job.journal"


@pytest.fixture
def ask(config, path):
    """Run a batch over the journal of the test."""

    def ask(items, **settings):
        return run_batch(items, **({"config": config(), "journal": path} | settings))

    return ask


@pytest.fixture
def query(path):
    """Read the journal of the test."""

    def query(statement):
        database = sqlite3.connect(path)
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()

    return query


@pytest.fixture
def read_lost(query):
    """Return what the latest run found to be lost."""
    return lambda: json.loads(query("SELECT lost FROM runs ORDER BY id DESC LIMIT 1")[0][0])


@pytest.fixture
def server_b():
    with Service() as server:
        yield server
