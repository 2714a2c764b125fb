import socket
import subprocess
import sys
import threading
import time

import pytest

from mcp_processes import SERVERS, SHARED, wait_for_end
from pollux_mcp import MCPServer, transport


@pytest.fixture
def open_server(monkeypatch):
    """Opens servers of their own, and looks at the end whether a thread or a process of them is left."""
    monkeypatch.setattr(transport, "_GRACE_S", 0.3)
    opened = []
    before = {*threading.enumerate()}

    def open_one(way="behaves", **settings):
        server = MCPServer(sys.executable, [str(SERVERS / "small_server.py"), way], **settings)
        opened.append(server)
        server.open()
        return server

    yield open_one
    for server in opened:
        server.close()
    assert {*threading.enumerate()} <= before
    assert wait_for_end() == []


@pytest.fixture
def offer_tools(open_server):
    """The tools of a new server, by name."""

    def offer(**settings):
        return {tool.name: tool for tool in open_server(**settings).tools()}

    return offer


@pytest.fixture(scope="session")
def address():
    """The address of a server over SHARED, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / "good_server.py"), SHARED, str(port)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(10)
