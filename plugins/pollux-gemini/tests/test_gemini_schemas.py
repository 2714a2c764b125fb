"""Types of every kind, asked through `run` in the dialect that is really sent, come back as the same objects."""

import json

import pytest

from gemini_api import answer, text
from pollux_gemini import JSON_SCHEMA
from pollux_sync import Config, Options, run
from pollux_sync.schemas import answer_format, unstructure
from pollux_sync.testing.server import ScriptedServer
from schema_types import EXAMPLES

TYPES = [(tp, values) for tp, values in EXAMPLES if tp is not None]

#: What google-genai's types name, and nothing else.
KEYWORDS = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
    *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required"),
}


def keywords_in(schema):
    """Every keyword of a schema and of those inside it."""
    if not isinstance(schema, dict):
        return set()
    named = [inner for name in ("properties", "$defs") for inner in schema.get(name, {}).values()]
    listed = [inner for name in ("anyOf", "oneOf", "prefixItems") for inner in schema.get(name, [])]
    inside = [*named, *listed, schema.get("items"), schema.get("additionalProperties")]
    return set(schema).union(*map(keywords_in, inside))


@pytest.fixture(scope="module")
def server():
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize(("tp", "values"), TYPES, ids=[str(tp) for tp, _ in TYPES])
def test_values_come_back_as_they_were(server, tp, values):
    config = Config(provider="gemini", model="m", api_key="k", base_url=server.url)
    lowered = answer_format(tp, JSON_SCHEMA).lowered
    for value in values:
        server.reply(answer(text(json.dumps(lowered.lower_value(unstructure(value))))))
        result = run("which?", config=config, options=Options(response_schema=tp))
        assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
        assert type(result["structured"][0]) is type(value)
        sent = server.requests[-1].json()["generationConfig"]
        assert (sent["responseMimeType"], sent["responseJsonSchema"]) == ("application/json", lowered.schema)
        assert keywords_in(lowered.schema) <= KEYWORDS


def test_there_are_more_than_thirty_types():
    assert len(TYPES) >= 30
