"""Servers that tests open; after each test no thread and no process may be left."""

import sys
import threading

import pytest

from mcp_servers import SCRIPTED, OfficialServer, list_children, wait_until
from pollux_mcp import MCPServer


@pytest.fixture(autouse=True)
def leaves_nothing(official):
    threads, children = threading.active_count(), list_children()
    yield
    assert wait_until(lambda: threading.active_count() <= threads), threading.enumerate()
    assert list_children() <= children


@pytest.fixture
def log(tmp_path):
    """The file in which a scripted server keeps what it reads."""
    return tmp_path / "log"


@pytest.fixture
def scripted(log):
    """Return a server that behaves as its tools say; ``mode`` is how it behaves from the start."""

    def build(mode="", *, env=None, **settings):
        return MCPServer(
            sys.executable,
            ["-S", SCRIPTED, mode],
            env={"MCP_LOG": str(log), **(env or {})},
            **{"name": "scripted", **settings},
        )

    return build


@pytest.fixture(scope="session")
def official():
    """The address of a server of the official package, over HTTP in its own process."""
    with OfficialServer() as url:
        yield url
