"""What is said about an address that a server does not know."""

import pytest

from pollux_sync import APIError, Config, check_ready, run
from pollux_sync.data.addresses import find_address_hint
from pollux_sync.testing.server import Answer, ScriptedServer


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize(
    ("base_url", "usual", "hint"),
    [
        ("http://h:1", "https://a.example/v1", "base_url usually ends in /v1: http://h:1/v1"),
        ("http://h:1/api/", "https://a.example/v1", "base_url usually ends in /v1: http://h:1/api/v1"),
        ("http://h:1/v1/v1", "https://a.example/v1", "base_url holds /v1 twice: leave one out"),
        ("http://h:1/v1/v1/", "https://a.example", "base_url holds /v1 twice: leave one out"),
        ("http://h:1/v1", "https://a.example", "leave /v1 out of base_url: the provider adds it"),
        (
            "http://h:1/v1/chat/completions",
            "https://a.example/v1",
            "leave /chat/completions out of base_url: the provider adds it",
        ),
        ("http://h:1/v1/messages", "https://a.example", "leave /messages out of base_url: the provider adds it"),
        ("http://h:1/v1", "https://a.example/v1", None),
        ("http://h:1/api/v4", "https://a.example/v1", None),
        ("http://h:1", "https://a.example", None),
    ],
)
def test_names_the_mistake_in_an_address(base_url, usual, hint):
    assert find_address_hint(base_url, usual) == hint


@pytest.mark.parametrize(
    ("provider", "path", "hints"),
    [
        ("openai", "", ["base_url usually ends in /v1", "provider 'local'"]),
        ("openai", "/v1", ["provider 'local'"]),
        ("openai", "/v1/v1", ["/v1 twice"]),
        ("openrouter", "", ["base_url usually ends in /v1"]),
        ("anthropic", "/v1", ["leave /v1 out", "provider 'local'"]),
        ("local", "", ["base_url usually ends in /v1"]),
        ("local", "/v1/chat/completions", ["leave /chat/completions out"]),
    ],
)
def test_hints_at_the_mistakes_once_the_server_answers_404(server, provider, path, hints):
    server.reply(Answer(status=404, json={"detail": "Not Found"}))
    with pytest.raises(APIError) as caught:
        run("a", config=Config(provider=provider, model="some-model", api_key="k", base_url=server.url + path))
    assert caught.value.kind == "not_found"
    assert all(hint in caught.value.hint for hint in hints)
    assert "check the model's name" in caught.value.hint


def test_leaves_the_address_alone_when_the_server_looked_for_the_model(server):
    server.reply(Answer(status=404, json={"error": {"message": "model 'some-model' not found"}}))
    with pytest.raises(APIError) as caught:
        run("a", config=Config(provider="local", model="some-model", base_url=server.url))
    assert caught.value.hint == "check the model's name and the base url"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_is_ready_where_the_list_has_the_model_though_it_has_no_path(server, provider):
    server.reply(Answer(status=404, json={"detail": "Not Found"}), Answer(json={"data": [{"id": "m1"}]}))
    assert check_ready(config=Config(provider=provider, model="m1", api_key="k", base_url=f"{server.url}/api"))


def test_names_the_nearest_model_of_the_list(server):
    server.reply(Answer(status=404, json={}), Answer(json={"data": [{"id": "gpt-5-mini"}]}))
    ready = check_ready(config=Config(provider="openai", model="gpt5-mini", api_key="k", base_url=f"{server.url}/v1"))
    assert (ready.is_ready, ready.kind, ready.hint) == (False, "not_found", "did you mean 'gpt-5-mini'?")


def test_the_404_stands_without_a_list(server):
    server.reply(Answer(status=404, json={"detail": "no such path"}), Answer(status=500, json={}))
    ready = check_ready(config=Config(provider="openai", model="m1", api_key="k", base_url=f"{server.url}/v1"))
    assert (ready.kind, "no such path" in ready.reason) == ("not_found", True)


def test_a_local_server_gets_the_key_of_its_variable(server, monkeypatch):
    monkeypatch.setenv("POLLUX_LOCAL_API_KEY", "a-key-of-the-company")
    server.reply(Answer(json={"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}))
    run("a", config=Config(provider="local", model="m", base_url=f"{server.url}/v1"))
    assert server.requests[0].headers["authorization"] == "Bearer a-key-of-the-company"
