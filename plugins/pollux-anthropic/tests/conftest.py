import pytest
from anthropic import Anthropic

from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer

KEY = "sk-ant-very-secret"
QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=["direct", "sdk"])
def config(request, server):
    """Return a function that builds configurations for both clients: the core's, and one of the caller."""
    base_url = server.url
    with Anthropic(api_key=KEY, base_url=base_url) as client:

        def make(**fields):
            reach = {"client": client} if request.param == "sdk" else {"api_key": KEY, "base_url": base_url}
            return Config(**({"provider": "anthropic", "model": "claude-sonnet-4-5", "retry": QUICK} | reach | fields))

        make.way = request.param
        make.key = KEY
        yield make
