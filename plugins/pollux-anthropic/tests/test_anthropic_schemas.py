"""Schemas that the dialect of the Messages API cannot hold."""

import pytest

from messages_api import answer, text
from pollux_sync import Config, ConfigurationError, Options, run
from pollux_sync.testing.server import ScriptedServer


@pytest.fixture(scope="module")
def server():
    with ScriptedServer() as server:
        yield server


def build_config(server):
    return Config(provider="anthropic", model="m", api_key="k", base_url=server.url)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"type": "string"}, "25 optional properties, 24 are allowed"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "unions, 16 are allowed"),
    ],
)
def test_refuses_a_schema_that_is_too_wide(server, field, message):
    schema = {"type": "object", "properties": {f"f{number}": field for number in range(25)}}
    with pytest.raises(ConfigurationError, match=message):
        run("which?", config=build_config(server), options=Options(response_schema=schema))


def test_keeps_keywords_that_the_service_checks_and_reports_the_rest(server):
    schema = {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 3}},
        "required": ["tags"],
    }
    server.reply(answer(text('{"tags": ["aa", "bb", "cc"]}')))
    run("which?", config=build_config(server), options=Options(response_schema=schema))
    tags = server.requests[-1].json()["output_config"]["format"]["schema"]["properties"]["tags"]
    assert tags["minItems"] == 1
    assert "minLength" not in tags["items"]
