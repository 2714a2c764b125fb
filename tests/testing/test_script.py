"""Scripted answers as middleware sees them."""

import json

import attrs
import pytest

from pollux_sync import Config, Reply, ToolCall, Usage, hookimpl, run
from pollux_sync.schemas import unstructure
from pollux_sync.testing import Script

FULL = Reply(
    text="Hé",
    reasoning="hm",
    tool_calls=(ToolCall("c1", "add", '{"a": 1}'),),
    usage=Usage(input_tokens=3),
    finish_reason="tool_calls",
    provider_state={"a": [1]},
    artifacts={"b": None},
)


class Store:
    """Middleware that writes each answer as JSON and passes on what it read again."""

    @hookimpl(wrapper=True)
    def pollux_send(self):
        answer = yield
        return attrs.evolve(answer, body=json.loads(json.dumps(answer.body)))


@pytest.mark.parametrize("answer", [FULL, "one", {"a": 1}, ["x"]])
def test_an_answer_can_be_stored_as_json_and_read_again(answer):
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(answer), Store()])
    direct = Config(provider="openai", model="m", use_mock=True, plugins=[Script(answer)])
    (stored,), (unstored,) = (run("hi", config=one)["diagnostics"]["raw_responses"] for one in (config, direct))
    assert stored == unstored


def test_an_answer_of_the_mock_can_be_stored_as_json():
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Store()])
    assert run("hi", config=config)["answers"] == ["echo: hi"]


def test_a_reply_can_be_written_as_plain_data():
    assert json.loads(json.dumps(unstructure(FULL)))["tool_calls"] == [
        {"id": "c1", "name": "add", "arguments": '{"a": 1}'}
    ]
