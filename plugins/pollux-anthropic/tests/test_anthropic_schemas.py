"""Types of every kind, asked through `run` in the dialect that is really sent, come back as the same objects."""

import json

import pytest

from messages_api import answer, text
from pollux_anthropic import STRICT
from pollux_sync import Config, ConfigurationError, Options, run
from pollux_sync.schemas import answer_format, unstructure
from pollux_sync.testing.server import ScriptedServer
from schema_types import EXAMPLES

TYPES = [(tp, values) for tp, values in EXAMPLES if tp is not None]


@pytest.fixture(scope="module")
def server():
    with ScriptedServer() as server:
        yield server


def config_for(server):
    return Config(provider="anthropic", model="m", api_key="k", base_url=server.url)


@pytest.mark.parametrize(("tp", "values"), TYPES, ids=[str(tp) for tp, _ in TYPES])
def test_values_come_back_as_they_were(server, tp, values):
    lowered = answer_format(tp, STRICT).lowered
    for value in values:
        server.reply(answer(text(json.dumps(lowered.lower_value(unstructure(value))))))
        result = run("which?", config=config_for(server), options=Options(response_schema=tp))
        assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
        assert type(result["structured"][0]) is type(value)
        sent = server.requests[-1].json()["output_config"]["format"]
        assert sent == {"type": "json_schema", "schema": lowered.schema}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"type": "string"}, "25 optional properties, 24 are allowed"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "unions, 16 are allowed"),
    ],
)
def test_refuses_what_is_too_wide(server, field, message):
    schema = {"type": "object", "properties": {f"f{number}": field for number in range(25)}}
    with pytest.raises(ConfigurationError, match=message):
        run("which?", config=config_for(server), options=Options(response_schema=schema))


def test_keeps_what_the_service_can_check_and_tells_the_rest(server):
    schema = {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 3}},
        "required": ["tags"],
    }
    server.reply(answer(text('{"tags": ["aa", "bb", "cc"]}')))
    run("which?", config=config_for(server), options=Options(response_schema=schema))
    tags = server.requests[-1].json()["output_config"]["format"]["schema"]["properties"]["tags"]
    assert tags["minItems"] == 1
    assert "minLength" not in tags["items"]
