"""The way to the provider in a configuration: its proxy and its certificates."""

import traceback
from pathlib import Path

import pytest

from pollux_sync import APIError, Config, ConfigurationError, RetryPolicy, run
from pollux_sync.testing.server import Answer, ScriptedServer

PASSWORD = "hunter2secret"
KEY = "sk-key-of-these-tests"


def build_config(**fields):
    reach = {"provider": "openai", "model": "m", "api_key": "sk-key", "retry": RetryPolicy(max_attempts=1)}
    return Config(**(reach | fields))


def format_with_locals(error):
    """Return a traceback as crash reporters send it, with the locals of the core's frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown.stack = traceback.StackSummary.from_list([frame for frame in shown.stack if "/tests/" not in frame.filename])
    return "".join(shown.format())


@pytest.mark.parametrize(
    ("name", "value"), [("proxy", " "), ("proxy", 3), ("ca_bundle", ""), ("ca_bundle", " "), ("ca_bundle", 3)]
)
def test_refuses_what_is_no_text(name, value):
    with pytest.raises(ConfigurationError, match=name) as caught:
        build_config(**{name: value})
    assert caught.value.hint


def test_takes_a_path_of_certificates():
    assert build_config(ca_bundle=Path("ca.pem")).ca_bundle == "ca.pem"


def test_does_not_show_the_password_of_the_proxy():
    config = build_config(proxy=f"http://me:{PASSWORD}@proxy.example:3128")
    assert PASSWORD not in repr(config)
    assert "proxy.example:3128" in repr(config)


def test_sends_through_its_proxy():
    with ScriptedServer(default=Answer(status=400, json={"error": "no"})) as proxy:
        with pytest.raises(APIError):
            run("p", config=build_config(proxy=proxy.url, base_url="http://api.example/v1"))
        assert [request.path for request in proxy.requests] == ["http://api.example/v1/responses"]


def test_sends_through_no_proxy_where_it_is_empty(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ScriptedServer(default=Answer(status=400, json={"error": "no"})) as server:
        with pytest.raises(APIError, match="status 400"):
            run("p", config=build_config(proxy="", base_url=server.url))
        assert len(server.requests) == 1


def test_shows_the_password_of_the_proxy_in_no_error():
    with ScriptedServer(default=Answer(status=407, json={"error": f"bad password {PASSWORD}"})) as proxy:
        address = proxy.url.replace("http://", f"http://me:{PASSWORD}@")
        with pytest.raises(APIError) as caught:
            run("p", config=build_config(proxy=address, base_url="http://api.example/v1"))
    assert "bad password [REDACTED]" in caught.value.message
    assert PASSWORD not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": f"ftp://me:{PASSWORD}@proxy.example"},
        {"proxy": f"http://me:{PASSWORD}@bad host:3128"},
        {"ca_bundle": "/nowhere/ca.pem", "base_url": "https://api.example"},
    ],
)
def test_shows_key_and_password_in_no_local_of_a_client_that_cannot_be_opened(fields):
    config = build_config(api_key=KEY, **fields)
    with pytest.raises(ConfigurationError) as caught:
        run("p", config=config)
    shown = format_with_locals(caught.value)
    assert KEY not in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize("fields", [{"proxy": "ftp://proxy.example"}, {"ca_bundle": "/nowhere/ca.pem"}])
def test_refuses_a_way_that_cannot_be_used_before_anything_is_sent(fields):
    with pytest.raises(ConfigurationError, match=r"Config\((proxy|ca_bundle)\)"):
        run("p", config=build_config(**fields))


def test_configurations_with_different_proxies_are_different():
    assert build_config(proxy="http://a.example") != build_config(proxy="http://b.example")


@pytest.mark.parametrize("fields", [{"proxy": "http://a.example"}, {"proxy": ""}, {"ca_bundle": "ca.pem"}])
def test_client_of_the_caller_brings_its_own(fields):
    with pytest.raises(ConfigurationError, match=f"a client brings its own {next(iter(fields))}"):
        build_config(api_key=None, client=object(), **fields)
