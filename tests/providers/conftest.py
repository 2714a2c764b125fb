import pytest

from pollux_sync.testing.server import ScriptedServer


@pytest.fixture
def server():
    with ScriptedServer() as running:
        yield running
