import pytest

from pollux_sync import Config, ConfigurationError, Message, Options, ToolCall, continue_tool, run
from pollux_sync.testing import Script

CONFIG = Config(provider="openai", model="m", use_mock=True)
ASKED = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "weather", "arguments": "{}"}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}


def refuse(turn):
    with pytest.raises(ConfigurationError) as caught:
        Options(history=[turn])
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi", "sources": []},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "function_call": None},
        ASKED | {"provider_state": {"signature": "x"}},
        {"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": {}, "arguments_parsed": {}}]},
        RESULT | {"is_error": True},
        RESULT | {"content": {"sky": "blue"}},
        RESULT | {"content": [1, 2]},
        RESULT | {"content": [{"type": "hotel", "stars": 4}, {"type": ["text"]}]},
        RESULT | {"content": ""},
        Message("assistant", tool_calls=[ToolCall("c1", "weather", "{}")]).to_turn(),
    ],
)
def test_takes_a_turn(turn):
    assert Options(history=[turn]).history == [turn]


@pytest.mark.parametrize(
    ("role", "meant"),
    [("assist", "assistant"), ("model", "assistant"), ("Users", None), ("human", "user"), ("function", "tool")],
)
def test_names_the_role_that_was_meant(role, meant):
    error = refuse({"role": role, "content": "hi"})
    assert error.message == f"history[0] has the role {role!r}, which is not known"
    assert meant is None or error.hint.startswith(f"did you mean {meant!r}?")


@pytest.mark.parametrize("key", ["text", "contents", "output", "parts"])
def test_names_the_key_that_was_meant(key):
    error = refuse({"role": "user", key: "My name is Ann."})
    assert f"the key {key!r}" in error.message
    assert error.hint.startswith("did you mean 'content'?")


@pytest.mark.parametrize(
    ("key", "turn"),
    [
        ("name", {"role": "user", "content": "hi", "name": "Ann"}),
        ("refusal", {"role": "assistant", "content": "", "refusal": "No."}),
        ("cache_control", {"role": "user", "content": "hi", "cache_control": {"type": "ephemeral"}}),
    ],
)
def test_refuses_a_key_that_nobody_reads(key, turn):
    assert f"the key {key!r}" in refuse(turn).message


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize("content", [[{"type": "text", "text": "My name is Ann."}], [{"type": "image_url"}], ["a"]])
def test_points_from_content_parts_to_the_converter(role, content):
    assert "messages_from_openai" in refuse({"role": role, "content": content}).hint


def test_refuses_a_tools_result_in_parts_of_text():
    error = refuse(RESULT | {"content": [{"type": "text", "text": "sunny"}]})
    assert "list of parts" in error.message
    assert error.hint == "join the texts of the parts"


def test_refuses_a_tool_result_that_is_no_json():
    asked = run("The weather in Rome?", config=CONFIG, options=Options(tools=[{"name": "weather"}]))
    with pytest.raises(ConfigurationError, match=r"tool_results\[0\]\['content'\] cannot be written as JSON"):
        continue_tool(asked, [{"tool_call_id": "call_0", "content": {"sky": object()}}], config=CONFIG)


def test_points_from_nested_tool_calls_to_the_converter():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert "messages_from_openai" in refuse({"role": "assistant", "tool_calls": [call]}).hint


@pytest.mark.parametrize("content", [{"a": 1}, 3, True])
@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_refuses_content_that_is_no_text_by_its_place(role, content):
    assert refuse({"role": role, "content": content}).message.startswith("history[0]['content'] must be a string")


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        ({"role": "tool", "content": "sunny"}, "needs a tool_call_id"),
        ({"role": "tool", "tool_call_id": 3, "content": "sunny"}, "needs a tool_call_id"),
        ({"role": "tool", "tool_call_id": "c1"}, "needs content"),
        (RESULT | {"content": None}, "needs content"),
        ({"role": "user", "content": "hi", "tool_call_id": "c1"}, "not a turn of the tool"),
        ({"role": "user", "content": "hi", "is_error": True}, "not a turn of the tool"),
        (ASKED | {"role": "user"}, "not a turn of the assistant"),
        (RESULT | {"is_error": "yes"}, "['is_error'] must be True or False"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "input": {"a": 1}}]}, "the key 'input'"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": [1]}]}, "must be a JSON object"),
    ],
)
def test_refuses_a_turn_that_a_provider_would_read_otherwise(turn, problem):
    assert problem in refuse(turn).message


@pytest.mark.parametrize("key", ["output", "result", "text"])
def test_refuses_a_tool_result_whose_content_has_another_name(key):
    options = Options(tools=[{"name": "weather"}])
    asked = run("The weather in Rome?", config=CONFIG, options=options)
    with pytest.raises(ConfigurationError, match=rf"tool_results\[0\] has the key '{key}'") as caught:
        continue_tool(asked, [{"role": "tool", "tool_call_id": "call_0", key: "sunny"}], config=CONFIG, options=options)
    assert caught.value.hint.startswith("did you mean 'content'?")


def test_refuses_a_tool_result_without_content():
    asked = run("The weather in Rome?", config=CONFIG, options=Options(tools=[{"name": "weather"}]))
    with pytest.raises(ConfigurationError, match=r"tool_results\[0\] needs content"):
        continue_tool(asked, [{"tool_call_id": "call_0"}], config=CONFIG)


def test_checks_a_stored_conversation_before_anything_is_sent():
    script = Script("never")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    state = {"_conversation_state": {"history": [{"role": "user", "text": "hi"}]}}
    with pytest.raises(ConfigurationError, match=r"history\[0\] has the key 'text'"):
        run("go on", config=config, options=Options(continue_from=state))
    assert not script.is_used_up
