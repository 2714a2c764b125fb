"""The key and the token: which of them is sent, in which header."""

import attrs
import pytest

from messages_api import answer, text
from pollux_sync import Config, ConfigurationError, run
from pollux_sync.testing.server import Answer

KEY, TOKEN = "a-key-of-the-script", "a-token-of-the-gateway"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    (tmp_path / ".env").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def build(server):
    def build(**fields):
        return Config(provider="anthropic", model="claude-sonnet-4-6", base_url=server.url, **fields)

    return build


def ask(server, config):
    """Return the headers for key and token that a call sends."""
    server.reply(answer(text("hi")))
    run("Hello?", config=config)
    headers = server.requests[-1].headers
    return headers.get("x-api-key"), headers.get("authorization")


@pytest.mark.parametrize(
    ("variables", "fields", "sent"),
    [
        ({"ANTHROPIC_API_KEY": KEY}, {}, (KEY, None)),
        ({"ANTHROPIC_AUTH_TOKEN": TOKEN}, {}, (None, f"Bearer {TOKEN}")),
        ({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": TOKEN}, {}, (KEY, None)),
        ({"ANTHROPIC_AUTH_TOKEN": TOKEN}, {"api_key": KEY}, (KEY, None)),
        ({}, {"headers": {"authorization": f"Bearer {TOKEN}"}}, (None, f"Bearer {TOKEN}")),
        (
            {"ANTHROPIC_AUTH_TOKEN": "other"},
            {"headers": {"authorization": f"Bearer {TOKEN}"}},
            (None, f"Bearer {TOKEN}"),
        ),
        ({"ANTHROPIC_CUSTOM_HEADERS": f"Authorization: Bearer {TOKEN}"}, {}, (None, f"Bearer {TOKEN}")),
    ],
)
def test_sends_the_key_or_else_the_token(server, build, monkeypatch, variables, fields, sent):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ask(server, build(**fields)) == sent


def test_a_key_in_a_copy_replaces_the_token(server, build, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", TOKEN)
    assert ask(server, attrs.evolve(build(), api_key=KEY)) == (KEY, None)


def test_the_token_goes_to_no_other_provider(build, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", TOKEN)
    assert attrs.evolve(build(), provider="local").headers == {}


def test_the_token_shows_nowhere_and_is_an_account(server, build, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", TOKEN)
    config = build()
    server.reply(Answer(status=401, json={"error": {"message": f"bad token {TOKEN}"}}))
    with pytest.raises(Exception, match="REDACTED") as caught:
        run("Hello?", config=config)
    assert TOKEN not in repr(config) + str(caught.value)
    assert config.account == build(api_key=TOKEN).account


def test_neither_is_refused_with_both_names(build):
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        build()
    assert "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN" in caught.value.hint
