"""Fixtures that run the command line, in this process or another, in a working directory without settings."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from installing import install
from pollux_sync.cli import main
from pollux_sync.testing.server import ScriptedServer

SUPPORT = Path(__file__).parents[1] / "support"
VARIABLES = (
    *("POLLUX_SYNC_PLUGINS", "POLLUX_SYNC_STRICT_PLUGINS", "POLLUX_SYNC_PROVIDER", "POLLUX_SYNC_MODEL"),
    *("ACME_API_KEY", "CEDAR_BASE_URL", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory. Its empty files end the search for settings in the folders above."""
    (tmp_path / ".env").touch()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for variable in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(tmp_path / variable.lower()))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def state(folder):
    """The folder of what the program remembers."""
    return folder / "state" / "pollux-sync"


CEDAR = """
from pollux_sync import HttpRequest, ProviderInfo, Reply, hookimpl
from pollux_sync.data.provider import ConfigOption

class Cedar:
    @hookimpl
    def pollux_provider_info(self):
        rings = ConfigOption(name="rings", types=(int,), about="how old")
        where = {"base_url_policy": "required", "base_url_env": "CEDAR_BASE_URL"}
        return ProviderInfo(name="cedar", needs_key=False, config_options=(rings,), **where)

    @hookimpl
    def pollux_encode(self, call):
        return HttpRequest(path="/ask", body={"question": call.prompt})

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text=response.body["answer"])
"""


class Stdin(io.StringIO):
    """Standard input: piped text, or without one a keyboard at which nobody types."""

    def __init__(self, text=None):
        super().__init__(text or "")
        self.is_keyboard = text is None

    def isatty(self):
        return self.is_keyboard


@pytest.fixture
def cli(capsys, monkeypatch):
    """Return a function that runs a command line in this process and returns exit code, stdout and stderr."""

    def cli(*words, stdin=None):
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        code = main(words)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return cli


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path, for distributions and modules of a test."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def acme(site, monkeypatch):
    """Install the test provider and set its key."""
    install(site, "pollux-acme", "1.2", acme="acme_provider:Acme")
    monkeypatch.setenv("ACME_API_KEY", "sk-secret")


@pytest.fixture
def cedar(site):
    """Install a provider that needs no key, but a base URL, and has one setting."""
    (site / "cedar_provider.py").write_text(CEDAR)
    install(site, "pollux-cedar", cedar="cedar_provider:Cedar")


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def at_server(acme, server):
    """The arguments that name the test provider at the scripted server."""
    return ("-p", "acme", "-m", "m", "--base-url", server.url, "--retries", "0")


@pytest.fixture
def start(site):
    """Return a function that starts a command line in another process."""
    started = []

    def start(*words, module="pollux_sync", **settings):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(SUPPORT)])}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            env=environment | settings.pop("env", {}),
            text=True,
            **(streams | settings),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
