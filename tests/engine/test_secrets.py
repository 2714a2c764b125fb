"""The key is in no text, whoever puts it there."""

import pickle
import traceback

import attrs
import pytest

from acme_server import FileServer, build_answer
from pollux_sync import APIError, Config, ConfigurationError, PolluxError, hookimpl, run
from pollux_sync.testing.server import Answer

KEY = "sk-secret-of-these-tests"


@pytest.fixture
def config(config):
    """Return the function of the same name, with this key."""
    return lambda **fields: config(api_key=KEY, **fields)


def describe_error(error):
    lines = "".join(traceback.format_exception(error))
    return f"{lines} {error!r} {error.hint} {vars(error)} {error.partial_result} {pickle.dumps(error)!r}"


def catch_failure(config):
    with pytest.raises(PolluxError) as caught:
        run("hi", config=config)
    return caught.value


@pytest.mark.parametrize(
    "step",
    [
        Answer(status=401, json={"error": f"Incorrect API key provided: {KEY}"}),
        Answer(status=400, json={"error": "x" * 490 + KEY}),
        Answer(status=400, json={"error": "no"}, headers={"x-request-id": f"req-{KEY}"}),
        Answer(status=500, body=f"<html><title>{KEY}</title>".encode()),
        Answer(status=307, headers={"Location": f"http://127.0.0.1:9/{KEY}"}),
        Answer(json={"error": {"message": KEY}}),
    ],
    ids=["message", "cut", "request id", "page", "redirect", "inside a 200"],
)
def test_an_echo_of_the_server_is_cleaned(server, config, step):
    server.reply(step, step)
    assert KEY not in describe_error(catch_failure(config()))


def test_a_request_id_of_a_success_is_cleaned(server, config):
    server.reply(Answer(json={"answer": "x"}, headers={"x-request-id": KEY}))
    assert KEY not in str(run("hi", config=config()))


class SilentError(Exception):
    def __str__(self):
        return f"no way with {KEY}"


def build_noted_error():
    error = ValueError("noted")
    error.add_note(f"key was {KEY}")
    return error


def build_chained_error():
    error = ValueError("outer")
    error.__cause__ = OSError(5, f"inner {KEY}")
    error.__context__ = error
    return error


@pytest.mark.parametrize(
    "raised",
    [
        APIError(f"bad {KEY}", hint=f"not {KEY}", request_id=KEY),
        ConfigurationError(f"bad {KEY}", hint=f"not {KEY}"),
        ConnectionRefusedError(111, f"refused {KEY}"),
        ValueError(f"bad {KEY}"),
        ExceptionGroup("several", [ValueError(KEY)]),
        build_noted_error(),
        build_chained_error(),
        SilentError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("hook", ["pollux_send", "pollux_encode"])
def test_an_error_of_a_plugin_is_cleaned(config, raised, hook):
    def fail(self):
        raise raised

    plugin = type("Failing", (), {hook: hookimpl(fail, tryfirst=True)})()
    assert KEY not in describe_error(catch_failure(config(plugins=[plugin])))


def test_a_short_key_garbles_no_other_word(server, config):
    server.reply(Answer(status=400, json={"error": "the latest contest is no test: test"}))
    error = catch_failure(attrs.evolve(config(), api_key="test"))
    assert error.message == "status 400: the latest contest is no [REDACTED]: [REDACTED]"


@pytest.mark.parametrize("key", ["1234", "null", "message", "error", 'a"b\\c'])
def test_a_key_that_looks_like_a_part_of_the_answer_leaves_its_shape(server, config, key):
    body = {"error": {"message": f"no: {key}.", "code": 1234, "param": None}}
    server.reply(Answer(status=400, json=body))
    error = catch_failure(attrs.evolve(config(), api_key=key))
    assert error.message == "status 400: no: [REDACTED]."


def test_a_short_key_does_not_hide_a_cause_that_merely_contains_it(config):
    def fail(self):
        raise ValueError("the latest one")

    plugin = type("Failing", (), {"pollux_encode": hookimpl(fail, tryfirst=True)})()
    error = catch_failure(attrs.evolve(config(plugins=[plugin]), api_key="test"))
    assert str(error.__cause__) == "the latest one"


def test_a_key_from_the_environment_does_not_follow_to_another_provider(acme, monkeypatch, server):
    monkeypatch.setenv("ACME_API_KEY", KEY)
    config = Config(provider="acme", model="m")
    assert config.api_key == KEY
    moved = attrs.evolve(config, provider="local", base_url=f"{server.url}/v1")
    assert moved.api_key is None
    assert attrs.evolve(config, model="n").api_key == KEY


def test_keeps_a_passed_key_when_the_provider_changes(acme, server):
    config = Config(provider="acme", model="m", api_key=KEY)
    assert attrs.evolve(config, provider="local", base_url=f"{server.url}/v1").api_key == KEY


def test_values_that_are_printed_do_not_show_it(server, config):
    server.handler = FileServer()
    seen = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.append(repr(event))

    run("hi", config=config(plugins=[Watch()]))
    server.reply(build_answer())
    assert KEY not in f"{seen} {config()!r}"
