"""Types of every kind, asked through `run` in the dialect that is really sent, come back as the same objects."""

import json

import pytest

from pollux_local import SCHEMAS
from pollux_sync import Config, Options, run
from pollux_sync.schemas import answer_format, unstructure
from pollux_sync.testing.server import Answer, ScriptedServer
from schema_types import EXAMPLES

TYPES = [(tp, values) for tp, values in EXAMPLES if tp is not None]


@pytest.fixture(scope="module")
def server():
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize(("tp", "values"), TYPES, ids=[str(tp) for tp, _ in TYPES])
def test_values_come_back_as_they_were(server, tp, values):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1")
    lowered = answer_format(tp, SCHEMAS).lowered
    for value in values:
        message = {"role": "assistant", "content": json.dumps(lowered.lower_value(unstructure(value)))}
        server.reply(Answer(json={"choices": [{"message": message, "finish_reason": "stop"}]}))
        result = run("which?", config=config, options=Options(response_schema=tp))
        assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
        assert type(result["structured"][0]) is type(value)
        assert server.requests[-1].json()["response_format"]["json_schema"]["schema"] == lowered.schema
