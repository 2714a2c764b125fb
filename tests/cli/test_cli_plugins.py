import json

import pytest

from installing import install

PLUGIN = """
from pollux_sync import ProviderInfo, hookimpl

class Trace:
    @hookimpl
    def pollux_event(self, event): ...

class Misfit:
    @hookimpl
    def pollux_no_such_hook(self): ...
"""


@pytest.fixture
def list_plugins(cli):
    """Return a function that runs ``plugins --json`` and returns its list by kind and name."""

    def list_plugins():
        done = cli("plugins", "--json")
        assert done.code == 0
        return {(plugin["kind"], plugin["name"]): plugin for plugin in json.loads(done.out)}

    return list_plugins


@pytest.fixture
def module(site):
    """Return a function that writes a module with plugins."""

    def module(name, source=PLUGIN):
        (site / f"{name}.py").write_text(source)

    return module


def test_built_in_plugins_are_listed_with_distribution_and_version(cli):
    rows = [line.split() for line in cli("plugins").out.splitlines()]
    assert rows[0] == ["KIND", "NAME", "DISTRIBUTION", "VERSION", "LOADS"]
    assert ["command", "run", "pollux-sync"] in [row[:3] for row in rows]
    assert ["provider", "mock", "pollux-sync"] in [row[:3] for row in rows]


@pytest.mark.usefixtures("acme")
def test_installed_provider_is_listed(list_plugins):
    assert list_plugins()["provider", "acme"] == {
        "kind": "provider",
        "name": "acme",
        "distribution": "pollux-acme",
        "version": "1.2",
        "loads": True,
        "problem": None,
        "hint": None,
        "clash": None,
    }


def test_installed_middleware_is_listed(site, module, list_plugins):
    module("trace_listed")
    install(site, "pollux-trace", group="pollux_sync.plugins", trace="trace_listed:Trace")
    assert list_plugins()["middleware", "trace"]["loads"]


@pytest.mark.parametrize(
    ("group", "value", "reason"),
    [
        ("providers", "no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("providers", "misfits:Missing", "AttributeError"),
        ("providers", "misfits:Trace", "it does not implement pollux_provider_info"),
        ("plugins", "misfits:Misfit", "unknown hook 'pollux_no_such_hook'"),
        ("commands", "misfits:__name__", "is a str, not a function"),
    ],
)
def test_plugin_that_does_not_load_is_listed_with_the_reason(site, module, cli, group, value, reason):
    module("misfits")
    install(site, "pollux-broken", "0.3", group=f"pollux_sync.{group}", broken=value)
    done = cli("plugins")
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if " broken " in line)
    assert row.split()[2:5] == ["pollux-broken", "0.3", "no:"]
    assert reason in row


def test_plugin_that_exits_while_it_is_imported_is_listed(site, module, list_plugins):
    module("leaving", "raise SystemExit('bye')")
    install(site, "pollux-broken", broken="leaving:X")
    assert "SystemExit: bye" in list_plugins()["provider", "broken"]["problem"]


def test_output_of_a_plugin_stays_out_of_the_list(site, module, list_plugins):
    module("chatty", f"print('hello'){PLUGIN}")
    install(site, "pollux-chatty", group="pollux_sync.plugins", chatty="chatty:Trace")
    assert list_plugins()["middleware", "chatty"]["loads"]


def test_provider_offered_twice_is_listed_twice_with_both_full_names(acme, site, cli):
    install(site, "pollux-rival", acme="acme_provider:Acme")
    rows = [line for line in cli("plugins").out.splitlines() if line.startswith("provider") and " acme " in line]
    assert [row.split("yes; ")[1] for row in rows] == [
        "also offered by pollux-rival 1.0: ask for 'pollux-acme:acme'",
        "also offered by pollux-acme 1.2: ask for 'pollux-rival:acme'",
    ]


def test_distribution_that_offers_a_name_twice_is_listed(site, list_plugins):
    install(site, "pollux-twice", one="a:b")
    folder = next(site.glob("pollux_twice*"))
    (folder / "entry_points.txt").write_text("[pollux_sync.providers]\none = a:b\none = c:d\n")
    assert "is offered by pollux-twice 1.0 and pollux-twice 1.0" in list_plugins()["provider", "one"]["problem"]


def test_strict_mode_shows_where_a_plugin_fails(site, module, cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "1")
    module("failing_import", "raise RuntimeError('no such whale')")
    install(site, "pollux-broken", broken="failing_import:X")
    done = cli("plugins")
    assert done.code == 0
    assert "failing_import.py" in done.err
    assert "no: RuntimeError: no such whale" in done.out


def test_broken_plugins_do_not_fail_the_command(site, start):
    for group in ("providers", "plugins", "commands"):
        install(site, f"pollux-{group}", group=f"pollux_sync.{group}", broken="no_such_module:X", mock="none:X")
    process = start("plugins")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.count("no: plugin 'broken'") == 3
