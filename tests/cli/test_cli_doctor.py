import json
import re
import sys
from importlib.metadata import requires
from pathlib import Path

import certifi
import pytest

from installing import install
from pollux_sync.cli.doctor import main
from pollux_sync.testing.server import Answer

SECRET = "sk-never-shown"


@pytest.fixture
def report(cli):
    """Return a function that runs ``doctor --json`` and returns exit code and report."""

    def report():
        done = cli("doctor", "--json")
        return done.code, json.loads(done.out)

    return report


def test_finds_no_problem_in_a_sound_installation(cli):
    done = cli("doctor")
    assert done.code == 0
    assert done.out.endswith("no problems found\n")


def test_versions_are_reported(report):
    _, found = report()
    assert found["python"].startswith("3.")
    assert found["packages"]["requests"]


def test_version_of_every_dependency_is_reported(report):
    declared = [re.match(r"[\w-]+", line)[0] for line in requires("pollux-sync") if "extra ==" not in line]
    assert set(declared) <= report()[1]["packages"].keys()


def test_package_that_is_missing_is_reported_as_such(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    main([])
    assert "requests missing" in capsys.readouterr().out


@pytest.mark.usefixtures("acme")
def test_key_is_reported_as_set_and_never_shown(cli, report, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    assert {"ACME_API_KEY": True} in [provider["keys_set"] for provider in report()[1]["providers"]]
    text = cli("doctor").out
    assert "loads; ACME_API_KEY: set\n" in text
    assert SECRET not in text + cli("doctor", "--json").out


@pytest.mark.usefixtures("acme")
def test_missing_key_is_not_a_problem(cli, monkeypatch):
    monkeypatch.delenv("ACME_API_KEY")
    done = cli("doctor")
    assert "ACME_API_KEY: not set" in done.out
    assert done.code == 0


@pytest.mark.usefixtures("acme")
def test_key_in_a_dotenv_file_counts_as_set(folder, cli, monkeypatch):
    monkeypatch.delenv("ACME_API_KEY")
    (folder / ".env").write_text(f"ACME_API_KEY={SECRET}\n")
    assert "ACME_API_KEY: set" in cli("doctor").out


@pytest.mark.usefixtures("cedar")
def test_base_url_variable_is_reported(cli, monkeypatch):
    monkeypatch.setenv("CEDAR_BASE_URL", "http://user:sk-never-shown@127.0.0.1/v1")
    out = cli("doctor").out
    assert "loads; CEDAR_BASE_URL: set; no key needed" in out
    assert SECRET not in out


def test_broken_provider_is_a_problem(site, report):
    install(site, "pollux-broken", broken="no_such_module:X")
    code, found = report()
    assert code == 1
    assert found["problems"] == [
        "plugin 'broken' of pollux-broken 1.0 cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"
    ]
    assert {"name": "broken", "loads": False, "needs_key": None}.items() <= provider(found, "broken").items()


def provider(found, name):
    return next(provider for provider in found["providers"] if provider["name"] == name)


def test_provider_offered_twice_is_a_problem(acme, site, cli):
    install(site, "pollux-rival", acme="acme_provider:Acme")
    done = cli("doctor")
    assert done.code == 1
    assert "problem: provider 'acme' of pollux-acme is also offered by pollux-rival 1.0" in done.out
    assert done.out.endswith("2 problems found\n")


def test_middleware_is_reported_with_the_variable_that_enabled_it(site, report, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "trace")
    install(site, "pollux-trace", group="pollux_sync.plugins", trace="acme_provider:Acme")
    code, found = report()
    assert code == 0
    assert (found["middleware"], found["middleware_from"]) == (["trace"], "POLLUX_SYNC_PLUGINS")


def test_middleware_is_reported_with_the_file_that_enabled_it(folder, site, cli):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["trace"]\n')
    install(site, "pollux-trace", group="pollux_sync.plugins", trace="acme_provider:Acme")
    assert "trace ([tool.pollux-sync] of the nearest pyproject.toml)" in cli("doctor").out


def test_middleware_that_is_enabled_but_missing_is_a_problem(cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "tracy")
    done = cli("doctor")
    assert done.code == 1
    assert "problem: no installed plugin is called 'tracy'\n1 problem found\n" in done.out


def test_broken_middleware_that_is_enabled_is_one_problem(site, report, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "trace")
    install(site, "pollux-trace", group="pollux_sync.plugins", trace="no_such_module:X")
    assert len(report()[1]["problems"]) == 1


def test_list_of_middleware_that_cannot_be_read_is_a_problem(folder, report):
    (folder / "pyproject.toml").write_text("[tool.pollux-sync\n")
    code, found = report()
    assert code == 1
    assert "is not valid TOML" in found["problems"][0]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_proxies_are_reported_without_their_address(cli, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://user:sk-never-shown@proxy.invalid")
    out = cli("doctor").out
    assert "HTTPS_PROXY: set" in out
    assert SECRET not in out


def test_ca_bundle_is_reported(report, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    code, found = report()
    assert (code, found["ca_bundle"]) == (0, f"{certifi.where()} (REQUESTS_CA_BUNDLE)")


def test_ca_bundle_without_a_certificate_is_a_problem(folder, report, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / ".env"))
    code, found = report()
    assert code == 1
    assert "REQUESTS_CA_BUNDLE names" in found["problems"][0]
    assert "no certificate" in found["problems"][0]


def test_ca_bundle_that_does_not_exist_is_a_problem(cli, monkeypatch):
    monkeypatch.setenv("CURL_CA_BUNDLE", str(Path("nowhere.pem")))
    done = cli("doctor")
    assert done.code == 1
    assert "problem: CURL_CA_BUNDLE names the certificates 'nowhere.pem', which cannot be read" in done.out


def test_defaults_are_reported(cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "mock")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "m1")
    assert "POLLUX_SYNC_PROVIDER: mock, POLLUX_SYNC_MODEL: m1" in cli("doctor").out


def test_default_provider_that_is_not_installed_is_a_problem(report, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "nobody")
    code, found = report()
    assert (code, found["problems"]) == (1, ["POLLUX_SYNC_PROVIDER: no installed provider is called 'nobody'"])


# online


def test_checks_that_the_default_provider_is_ready(cli, report, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "mock")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "m1")
    done = cli("doctor", "--online")
    assert (done.code, "\nonline " in done.out, "  ready, " in done.out) == (0, True, True)
    assert json.loads(cli("doctor", "--online", "--json").out)["online"]["is_ready"] is True
    assert report()[1]["online"] is None


def test_default_provider_that_is_not_ready_is_a_problem(cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "local")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "m1")
    monkeypatch.setenv("POLLUX_LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    done = cli("doctor", "--online")
    assert done.code == 1
    assert "  not ready, " in done.out
    assert "problem: online: the connection failed" in done.out
    assert "(check that the server runs" in done.out


def test_missing_default_is_a_problem(cli):
    done = cli("doctor", "--online")
    assert done.code == 1
    assert "problem: online: set POLLUX_SYNC_PROVIDER and POLLUX_SYNC_MODEL: they name what to check" in done.out


def test_problem_without_a_hint_is_printed_without_one(cli, server, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "local")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "m1")
    monkeypatch.setenv("POLLUX_LOCAL_BASE_URL", server.url)
    server.handler = lambda _: Answer(status=400, json={"error": "too late"})
    assert "problem: online: status 400: too late\n" in cli("doctor", "--online").out
