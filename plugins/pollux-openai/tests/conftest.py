import pytest
from openai import OpenAI

from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer
from responses_api import KEY

QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=["direct", "sdk"])
def config(request, server):
    """Return a function that builds configurations for both clients: the core's, and one of the caller."""
    base_url = f"{server.url}/v1"
    with OpenAI(api_key=KEY, base_url=base_url) as client:

        def make(**fields):
            reach = {"client": client} if request.param == "sdk" else {"api_key": KEY, "base_url": base_url}
            return Config(**({"provider": "openai", "model": "gpt-5-mini", "retry": QUICK} | reach | fields))

        make.way = request.param
        yield make
