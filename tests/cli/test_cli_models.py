import json

import pytest

from installing import install
from pollux_sync.testing.server import Answer

LISTING = """
from acme_provider import Acme
from pollux_sync import HttpRequest, ModelInfo, hookimpl

class Listing(Acme):
    @hookimpl
    def pollux_list_models(self, client, timeout_s):
        body = client.send(HttpRequest(method="GET", path="/models"), timeout_s).body
        return [ModelInfo(**facts) for facts in body]
"""
MODELS = [
    {"id": "big", "display_name": "The\nbig one", "context_tokens": 1000, "max_output_tokens": 10, "created_at": 0},
    {"id": "small"},
]


@pytest.fixture
def listing(site, monkeypatch):
    """Install the test provider with a list of models, and set its key."""
    (site / "listing_provider.py").write_text(LISTING)
    install(site, "pollux-acme", "1.2", acme="listing_provider:Listing")
    monkeypatch.setenv("ACME_API_KEY", "sk-secret")


def test_lists_the_models_of_the_provider(cli, listing, server):
    server.reply(Answer(json=MODELS))
    done = cli("models", "-p", "acme", "--base-url", server.url)
    assert done.code == 0
    assert done.out.splitlines() == [
        "MODEL  CONTEXT  OUTPUT  CREATED     NAME",
        "big    1000     10      1970-01-01  The big one",
        "small",
    ]


def test_lists_through_a_proxy(cli, listing, server):
    server.reply(Answer(json=MODELS[1:]))
    done = cli("models", "-p", "acme", "--base-url", "http://acme.example", "--proxy", server.url)
    assert done.out.splitlines()[1:] == ["small"]


def test_lists_as_data(cli, listing, server):
    server.reply(Answer(json=MODELS[1:]))
    done = cli("models", "-p", "acme", "--base-url", server.url, "--json")
    assert json.loads(done.out) == [
        {"id": "small", "display_name": None, "context_tokens": None, "max_output_tokens": None, "created_at": None}
    ]


def test_lists_the_default_providers(cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "mock")
    assert cli("models").out.splitlines()[1].split() == ["mock", "Mock"]


def test_lists_offline(cli):
    assert cli("models", "--mock").code == 0


def test_names_the_file_of_an_embedded_model(cli):
    done = cli("models", "-p", "local", "-m", "nowhere.gguf")
    assert (done.code, "no model file at nowhere.gguf" in done.err) == (2, True)


@pytest.mark.usefixtures("acme")
def test_provider_without_a_list_is_refused(cli):
    done = cli("models", "-p", "acme")
    assert done.code == 2
    assert "'acme' does not list its models" in done.err


def test_missing_provider_is_refused(cli):
    done = cli("models")
    assert (done.code, "no provider is named" in done.err) == (2, True)
