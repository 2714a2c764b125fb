import socket

import pytest

from pollux_sync.testing.server import ScriptedServer


@pytest.fixture
def server():
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def no_network(monkeypatch):
    """Whoever reaches for the network fails, and so does the test, even if the failure is swallowed."""
    reached = []

    def refuse(*args, **kwargs):
        reached.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert reached == []
