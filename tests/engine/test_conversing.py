import copy
import json

import attrs
import pytest

from pollux_sync import Config, ConfigurationError, Options, Source, continue_tool, run, run_many, to_jsonable

CONFIG = Config(provider="openai", model="m", use_mock=True)
TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_keeps_no_state_unless_asked():
    assert "_conversation_state" not in run("hi", config=CONFIG)


def test_an_empty_history_opts_in():
    result = run("hi", config=CONFIG, options=Options(history=[]))
    assert result["_conversation_state"] == {
        "version": 1,
        "provider": "openai",
        "history": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "echo: hi"}],
    }


def test_history_comes_before_the_new_turns():
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "extra": 1}]
    state = run("c", config=CONFIG, options=Options(history=history))["_conversation_state"]
    assert [turn["content"] for turn in state["history"]] == ["a", "b", "c", "echo: c"]


def test_continues_from_an_earlier_result():
    first = run("a", config=CONFIG, options=Options(history=[]))
    second = run("b", config=CONFIG, options=Options(continue_from=first))
    assert [turn["role"] for turn in second["_conversation_state"]["history"]] == ["user", "assistant"] * 2


def test_text_sources_are_part_of_the_users_turn():
    result = run("b", source=Source.from_text("a"), config=CONFIG, options=Options(history=[]))
    assert result["_conversation_state"]["history"][0]["content"] == "a\n\nb"


def test_a_file_leaves_the_prompt_alone_in_the_users_turn(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    source = Source.from_file(tmp_path / "a.png")
    result = run("b", source=source, config=CONFIG, options=Options(history=[]))
    assert result["_conversation_state"]["history"][0]["content"] == "b"


def test_a_tool_call_makes_a_state_without_asking():
    result = run("weather?", config=CONFIG, options=Options(tools=[TOOL]))
    assert result["status"] == "ok"
    assert result["answers"] == [""]
    (call,) = result["tool_calls"][0]
    assert call == {
        "id": "call_0",
        "name": "weather",
        "arguments": '{"city": "text"}',
        "arguments_parsed": {"city": "text"},
    }
    assert result["_conversation_state"]["history"][-1]["tool_calls"] == [
        {"id": "call_0", "name": "weather", "arguments": '{"city": "text"}'}
    ]


def test_goes_on_after_a_tool_through_json():
    result = run("weather?", config=CONFIG, options=Options(tools=[TOOL]))
    stored = json.loads(json.dumps(to_jsonable(result)))
    results = [{"role": "tool", "tool_call_id": "call_0", "content": "sunny"}]
    final = continue_tool(stored, results, config=CONFIG, options=Options(tools=[TOOL]))
    assert final["answers"] == ["echo: sunny"]
    assert [turn["role"] for turn in final["_conversation_state"]["history"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_tool_result_may_be_data():
    result = run("weather?", config=CONFIG, options=Options(tools=[TOOL]))
    results = [{"role": "tool", "tool_call_id": "call_0", "content": {"sky": "blue"}}]
    assert continue_tool(result, results, config=CONFIG)["answers"] == ['echo: {"sky": "blue"}']


def test_continue_tool_changes_nothing_that_it_was_given():
    result = run("weather?", config=CONFIG, options=Options(tools=[TOOL]))
    options = Options(history=[{"role": "user", "content": "ignored"}])
    results = [{"role": "tool", "tool_call_id": "call_0", "content": "sunny"}]
    before = copy.deepcopy((result, results, attrs.asdict(options)))
    continue_tool(result, results, config=CONFIG, options=options)
    assert (result, results, attrs.asdict(options)) == before


def test_continue_tool_needs_a_state():
    with pytest.raises(ConfigurationError, match="no conversation state"):
        continue_tool({}, [], config=CONFIG)


def test_only_the_first_prompt_carries_state():
    result = run_many(["a", "b"], config=CONFIG, options=Options(tools=[TOOL]))
    assert result["_conversation_state"]["history"][0]["content"] == "a"


@pytest.mark.parametrize("call", ["x", {}, {"name": 3}])
def test_refuses_tool_calls_in_history_that_are_none(call):
    with pytest.raises(ConfigurationError, match="tool_calls"):
        run("a", config=CONFIG, options=Options(history=[{"role": "assistant", "tool_calls": [call]}]))


def test_tool_arguments_in_history_may_be_data():
    call = {"id": "c", "name": "weather", "arguments": {"city": "Rome"}}
    result = run("a", config=CONFIG, options=Options(history=[{"role": "assistant", "tool_calls": [call]}]))
    assert result["_conversation_state"]["history"][0]["tool_calls"][0]["arguments"] == '{"city": "Rome"}'
