import pytest
from google import genai

from gemini_api import KEY
from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer

QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=["direct", "sdk"])
def config(request, server):
    """Return a function that builds configurations for both clients: the core's, and one of the caller."""
    options = {"base_url": server.url, "api_version": "v1beta", "retry_options": {"attempts": 3, "initial_delay": 0.01}}
    client = genai.Client(vertexai=False, api_key=KEY, http_options=options)

    def make(**fields):
        reach = {"client": client} if request.param == "sdk" else {"api_key": KEY, "base_url": server.url}
        return Config(**({"provider": "gemini", "model": "gemini-2.5-flash", "retry": QUICK} | reach | fields))

    make.way = request.param
    yield make
    client.close()
