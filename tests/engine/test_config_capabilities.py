import pytest

from acme_server import build_answer
from pollux_sync import Config, ConfigurationError, Options, Source, create_cache, defer, run

MOCK = {"provider": "any", "model": "m", "use_mock": True}
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("response_schema", SCHEMA),
        ("system_instruction", "Be brief."),
        ("reasoning_budget_tokens", 0),
        ("implicit_caching", True),
        ("history", []),
        ("tools", [{"name": "ping"}]),
    ],
)
def test_an_option_that_is_ruled_out_is_refused(name, value):
    config = Config(**MOCK, capabilities={name: False})
    with pytest.raises(ConfigurationError, match=f"'m' does not take {name}, says Config") as caught:
        run("?", config=config, options=Options(**{name: value}))
    assert "correct the capabilities" in caught.value.hint


def test_nothing_is_sent_when_an_option_is_ruled_out(server, config):
    with pytest.raises(ConfigurationError, match="does not take temperature"):
        run("?", config=config(capabilities={"temperature": False}), options=Options(temperature=0.5))
    assert server.requests == []


def test_unused_features_are_not_refused(server, config):
    server.reply(build_answer())
    ruled_out = dict.fromkeys(["temperature", "response_schema", "system_instruction"], False)
    assert run("?", config=config(capabilities=ruled_out))["answers"] == ["fine"]


def test_accepts_switching_off_an_excluded_feature():
    config = Config(**MOCK, capabilities={"implicit_caching": False})
    assert run("?", config=config, options=Options(implicit_caching=False))["status"] == "ok"


def test_what_is_ruled_out_cannot_be_deferred_either():
    config = Config(**MOCK, capabilities={"temperature": False})
    with pytest.raises(ConfigurationError, match="does not take temperature"):
        defer("?", config=config, options=Options(temperature=0.5))


def test_caches_can_be_ruled_out():
    with pytest.raises(ConfigurationError, match="has no caches"):
        create_cache([Source.from_text("x")], config=Config(**MOCK, capabilities={"cache": False}))


def test_a_call_carries_the_capabilities():
    from pollux_sync import hookimpl

    seen = []

    class Watch:
        @hookimpl
        def pollux_validate(self, call):
            seen.append(call.capabilities)

    run("?", config=Config(**MOCK, capabilities={"temperature": True}, plugins=[Watch()]))
    assert seen == [{"temperature": True}]
