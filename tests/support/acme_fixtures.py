"""Fixtures of tests that call the acme provider at a scripted server."""

import pytest

from installing import install
from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer

QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """The test provider, installed."""
    install(tmp_path / "site", "pollux-acme", acme="acme_provider:Acme")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def config(acme, server):
    """Makes configurations for the test provider at the scripted server."""

    def make(**fields):
        defaults = {"provider": "acme", "model": "m", "api_key": "sk-secret", "base_url": server.url, "retry": QUICK}
        return Config(**(defaults | fields))

    return make
