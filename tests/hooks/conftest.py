"""Installed distributions that are real to Python, and a working directory without settings around it."""

import importlib
import itertools
import sys
from textwrap import dedent

import pytest

_numbers = itertools.count()

ACME = """
from pollux_sync import HttpRequest, Problem, ProviderInfo, Reply, hookimpl
from pollux_sync.data.provider import ConfigOption

class Plugin:
    @hookimpl
    def pollux_provider_info(self):
        return ProviderInfo(name="acme", {info})

    @hookimpl
    def pollux_encode(self, call):
        return HttpRequest(path="/ask", body={"question": call.prompt})

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text=response.body["answer"])

"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory: empty files end the search upwards, so that the machine's own stay out."""
    (tmp_path / ".env").touch()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for variable in ("POLLUX_SYNC_PLUGINS", "POLLUX_SYNC_STRICT_PLUGINS", "ACME_API_KEY", "ACME_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution of one module, in a new folder in front of the others; return the module's name."""
    modules = []

    def install(
        source="",
        *,
        distribution="pollux-acme",
        version="1.0",
        group="pollux_sync.providers",
        names=("acme",),
        attribute=":Plugin",
        metadata="{distribution}-{version}.dist-info",
    ):
        number = next(_numbers)
        module = f"installed_{number}"
        modules.append(module)
        site = tmp_path / f"site-{number}"
        info = site / metadata.format(distribution=distribution.replace("-", "_"), version=version)
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(dedent(source))
        lines = [f"[{group}]", *(f"{name} = {module}{attribute}" for name in names)]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def install_acme(install):
    """Install a provider called acme, which declares ``info`` and has the methods in ``body`` besides."""

    def install_acme(info="needs_key=False", body="", **where):
        body = "".join(f"    {line}\n" for line in dedent(body).splitlines())
        return install(ACME.replace("{info}", info) + body, **where)

    return install_acme
