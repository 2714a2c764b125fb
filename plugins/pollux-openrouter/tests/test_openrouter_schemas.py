"""Types of every kind, asked through `run` in the dialect that is really sent, come back as the same objects."""

import json

import pytest

from openrouter_api import answer
from pollux_openrouter import STRICT
from pollux_sync import Config, Options, run
from pollux_sync.schemas import answer_format, unstructure
from pollux_sync.testing.server import ScriptedServer
from schema_types import EXAMPLES

TYPES = [(tp, values) for tp, values in EXAMPLES if tp is not None]


@pytest.fixture(scope="module")
def server():
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize(("tp", "values"), TYPES, ids=[str(tp) for tp, _ in TYPES])
def test_values_come_back_as_they_were(server, tp, values):
    config = Config(provider="openrouter", model="m", api_key="k", base_url=f"{server.url}/v1")
    lowered = answer_format(tp, STRICT).lowered
    for value in values:
        server.reply(answer(json.dumps(lowered.lower_value(unstructure(value)))))
        result = run("which?", config=config, options=Options(response_schema=tp))
        assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
        assert type(result["structured"][0]) is type(value)
        sent = server.requests[-1].json()["response_format"]["json_schema"]
        assert (sent["strict"], sent["schema"]) == (True, lowered.schema)


def test_there_are_more_than_thirty_types():
    assert len(TYPES) >= 30
