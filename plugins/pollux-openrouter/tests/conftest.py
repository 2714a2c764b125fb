import pytest

from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer

KEY = "sk-or-very-secret"
QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def config(server):
    def make(**fields):
        reach = {"api_key": KEY, "base_url": f"{server.url}/api/v1"}
        return Config(**({"provider": "openrouter", "model": "acme/one:nitro", "retry": QUICK} | reach | fields))

    return make
