"""Headers of a configuration: the same on every request, in no text, and kept from other providers."""

from contextlib import suppress

import attrs
import pytest

import anthropic_batches
import gemini_batches
import openai_batches
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    RetryPolicy,
    Source,
    cancel_deferred,
    check_ready,
    collect_deferred,
    defer_many,
    explain,
    list_models,
    run,
    stream,
    wait_deferred,
)
from pollux_sync.data.headers import is_secret
from pollux_sync.testing.server import Answer, ScriptedServer

SERVICES = {
    "openai": (openai_batches.OpenAIBatches, "/v1"),
    "anthropic": (anthropic_batches.Batches, ""),
    "gemini": (gemini_batches.Batches, ""),
}
#: What the environment sets, by provider, and the headers that this gives.
VARIABLES = {
    "openai": (
        {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_2"},
        {"openai-organization": "org-1", "openai-project": "proj_2"},
    ),
    "anthropic": (
        {"ANTHROPIC_CUSTOM_HEADERS": "X-Team: blue\n\nX-Trace:  a: b \n"},
        {"x-team": "blue", "x-trace": "a: b"},
    ),
}
SECRET = "tok-very-secret"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for variables, _ in VARIABLES.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def call_everything(server, tmp_path):
    """Return a function that makes a request of every kind with a configuration; it returns the requests."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    source = Source.from_file(tmp_path / "a.pdf")

    def call(provider, **fields):
        build, path = SERVICES[provider]
        service = build()
        server.handler = service
        retry = RetryPolicy(max_attempts=1)
        reach = {"api_key": "sk-key", "base_url": server.url + path, "model": "m", "retry": retry}
        config = Config(provider=provider, uploads="always", **reach, **fields)
        # Not every service of the tests knows every question: what is sent counts.
        with suppress(APIError):
            run("p", config=config)
        with suppress(APIError):
            stream("p", config=config).result()
        handle = defer_many(["a", "b"], sources=[source], config=config)
        if provider == "anthropic":
            for batch in service.account.batches:
                service.end(batch)
        wait_deferred(handle, config=config, poll=0.01)
        collect_deferred(handle, config=config)
        with suppress(APIError):
            cancel_deferred(handle, config=config)
        with suppress(APIError):
            list_models(config=config)
        check_ready(config=config)
        return server.requests

    return call


def list_kinds(requests):
    """Return the first words of the paths that were asked for."""
    kinds = ("responses", "messages", "generateContent", "files", "batches", "models", "upload")
    return {kind for kind in kinds for request in requests if kind in request.path}


@pytest.mark.parametrize("provider", SERVICES)
def test_every_request_has_the_headers_of_the_configuration(call_everything, provider):
    requests = call_everything(provider, headers={"X-Team": "blue"})
    assert {"files", "batches", "models"} <= list_kinds(requests)
    assert {request.method for request in requests} == {"GET", "POST", "DELETE"}
    assert [request.headers.get("x-team") for request in requests] == ["blue"] * len(requests)


@pytest.mark.parametrize("provider", VARIABLES)
def test_every_request_has_the_headers_of_the_environment(call_everything, environment, provider):
    variables, headers = VARIABLES[provider]
    for name, value in variables.items():
        environment.setenv(name, value)
    requests = call_everything(provider)
    sent = [{name: request.headers.get(name) for name in headers} for request in requests]
    assert sent == [headers] * len(requests)


def test_betas_of_the_environment_go_beside_those_that_a_request_needs(call_everything, environment):
    environment.setenv("ANTHROPIC_CUSTOM_HEADERS", "anthropic-beta: mine-2026")
    requests = call_everything("anthropic")
    betas = [request.headers["anthropic-beta"].split(",") for request in requests]
    assert all("mine-2026" in sent for sent in betas)
    stored = [sent for sent, request in zip(betas, requests, strict=True) if "/files" in request.path]
    assert all("files-api-2025-04-14" in sent for sent in stored)


def test_betas_of_the_configuration_go_beside_those_that_a_request_needs(call_everything):
    requests = call_everything("anthropic", headers={"Anthropic-Beta": "mine-2026"})
    assert all("mine-2026" in request.headers["anthropic-beta"] for request in requests)


def ask(server, provider="openai", **fields):
    """Ask one question; return the headers that were sent."""
    server.reply(Answer(status=400, json={"error": {"message": "no"}}))
    config = Config(provider=provider, model="m", **({"api_key": "sk-key", "base_url": server.url} | fields))
    with suppress(APIError):
        run("p", config=config)
    return server.requests[-1].headers


def test_header_of_the_configuration_replaces_that_of_the_environment(server, environment):
    environment.setenv("OPENAI_PROJECT_ID", "proj_of_the_environment")
    assert ask(server, headers={"openai-project": "proj_mine"})["openai-project"] == "proj_mine"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_header_of_the_configuration_replaces_that_of_the_key(server, name):
    assert ask(server, headers={name: "Bearer another"})["authorization"] == "Bearer another"


@pytest.mark.parametrize("name", ["User-Agent", "user-agent"])
def test_header_of_the_configuration_replaces_that_of_the_client(server, name):
    assert ask(server, headers={name: "mine/1.0"})["user-agent"] == "mine/1.0"


@pytest.mark.parametrize("name", ["Content-Length", "content-type", "Transfer-Encoding"])
def test_refuses_headers_that_describe_the_body(name):
    with pytest.raises(ConfigurationError, match=name):
        Config(provider="openai", model="m", api_key="k", headers={name: "1"})


def test_sets_no_header_that_the_environment_leaves_empty(server, environment):
    environment.setenv("OPENAI_PROJECT_ID", "")
    assert "openai-project" not in ask(server)


@pytest.mark.parametrize("line", ["no colon", "bad name: x", ": no name", "X-A: ü"])
def test_refuses_a_line_of_the_environment_that_is_no_header(environment, line):
    environment.setenv("ANTHROPIC_CUSTOM_HEADERS", f"X-Good: 1\n{line}")
    with pytest.raises(ConfigurationError, match="header") as caught:
        Config(provider="anthropic", model="m", api_key="k")
    assert caught.value.hint


@pytest.mark.parametrize(
    "headers",
    [{"X A": "1"}, {"": "1"}, {"X:": "1"}, {"X-A": "a\r\nX-B: 1"}, {"X-A": "ü"}, {"X-A": 1}, {"X-A": None}, {1: "a"}],
)
def test_refuses_what_is_no_header_without_its_value(headers):
    with pytest.raises(ConfigurationError, match="header") as caught:
        Config(provider="openai", model="m", api_key="k", headers=headers)
    assert "X-B" not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("headers", ["X-A: 1", [("X-A", "1")], 3])
def test_refuses_headers_that_are_no_mapping(headers):
    with pytest.raises(ConfigurationError, match="headers"):
        Config(provider="openai", model="m", api_key="k", headers=headers)


def test_shows_names_and_no_values_in_reprs():
    config = Config(provider="openai", model="m", api_key="k", headers={"X-Team": SECRET})
    assert "X-Team" in repr(config)
    assert SECRET not in f"{config!r} {config} {config._completed!r}"


def test_shows_no_values_of_the_environment_in_reprs(environment):
    environment.setenv("ANTHROPIC_CUSTOM_HEADERS", f"X-Team: {SECRET}")
    config = Config(provider="anthropic", model="m", api_key="k")
    assert SECRET not in f"{config!r} {config} {config._completed!r}"


def test_secret_header_that_an_answer_echoes_is_in_no_text(server):
    server.reply(Answer(status=401, json={"error": {"message": f"bad token {SECRET}"}}))
    config = Config(
        provider="openai", model="m", api_key="sk-key", base_url=server.url, headers={"X-Auth-Token": SECRET}
    )
    with pytest.raises(APIError, match=r"bad token \[REDACTED\]") as caught:
        run("p", config=config)
    assert SECRET not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"


def test_explanation_shows_the_headers_and_hides_those_that_are_secret():
    headers = {"X-Team": "blue", "X-Auth-Token": SECRET}
    explanation = explain("p", config=Config(provider="openai", model="m", api_key="k", headers=headers))
    (request,) = explanation.requests
    assert request.headers["X-Team"] == "blue"
    assert SECRET not in f"{explanation!r} {explanation} {explanation.to_dict()} {request.curl}"


@pytest.mark.parametrize(
    "name",
    [
        *("X-Api-Key", "api_key", "X-ApiKey", "Api-Keys", "key", "Authorization", "Proxy-Authorization", "X-OAuth"),
        *("PRIVATE-TOKEN", "X-AuthToken", "Set-Cookie", "client.secret", "db_password", "X-Credentials", "key2"),
    ],
)
def test_knows_a_secret_by_its_name(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["X-Tokenizer", "x-monkey", "Keyboard", "X-Author", "anthropic-beta", "keyed", ""])
def test_takes_no_part_of_a_word_for_the_name_of_a_secret(name):
    assert not is_secret(name)


def test_equal_headers_are_equal_configurations():
    one, two, other = (
        Config(provider="openai", model="m", api_key="k", headers={"X-Team": team}) for team in ("a", "a", "b")
    )
    assert (one == two, hash(one) == hash(two), one == other) == (True, True, False)


def test_other_provider_gets_none_of_the_headers_of_the_environment(environment):
    environment.setenv("OPENAI_PROJECT_ID", "proj_2")
    config = Config(provider="openai", model="m", api_key="k")
    assert config.headers == {"OpenAI-Project": "proj_2"}
    assert attrs.evolve(config, provider="anthropic").headers == {}


def test_other_provider_gets_the_headers_that_were_passed():
    config = Config(provider="openai", model="m", api_key="k", headers={"X-Team": "blue"})
    assert attrs.evolve(config, provider="anthropic").headers == {"X-Team": "blue"}


def test_copy_for_the_same_provider_keeps_the_headers_of_the_environment(environment):
    environment.setenv("OPENAI_PROJECT_ID", "proj_2")
    config = Config(provider="openai", model="m", api_key="k")
    environment.delenv("OPENAI_PROJECT_ID")
    assert attrs.evolve(config, model="n").headers == {"OpenAI-Project": "proj_2"}


def test_client_of_the_caller_brings_its_own_headers(environment):
    from openai import OpenAI

    environment.setenv("OPENAI_PROJECT_ID", "proj_2")
    with OpenAI(api_key="k") as client:
        assert Config(provider="openai", model="m", client=client).headers == {}
        with pytest.raises(ConfigurationError, match="a client brings its own headers"):
            Config(provider="openai", model="m", client=client, headers={"X-Team": "blue"})


def test_says_which_header_is_no_text():
    with pytest.raises(ConfigurationError, match="the value of 'X-Team' must be a string, got int"):
        Config(provider="openai", model="m", api_key="k", headers={"X-Team": 1})
