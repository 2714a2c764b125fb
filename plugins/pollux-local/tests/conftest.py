import pytest

from pollux_sync import Config, RetryPolicy
from pollux_sync.testing.server import ScriptedServer
from tiny_gguf import write_tiny_gguf

QUICK = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def config(server):
    """Makes configurations for a Chat Completions server, which is the scripted one."""

    def make(**fields):
        return Config(**({"provider": "local", "model": "m", "base_url": f"{server.url}/v1", "retry": QUICK} | fields))

    return make


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny model that llama.cpp really loads."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
