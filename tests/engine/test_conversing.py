import copy
import hashlib
import json

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Reply,
    Source,
    SourceError,
    ToolCall,
    ToolCallParseError,
    Usage,
    continue_tool,
    hookimpl,
    result_of,
    run,
    run_many,
    to_jsonable,
    tool_arguments,
)
from pollux_sync.data.events import FileUploaded
from pollux_sync.testing import Script

CONFIG = Config(provider="openai", model="m", use_mock=True)
TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_keeps_no_state_by_default():
    assert "_conversation_state" not in run("hi", config=CONFIG)


def test_an_empty_history_opts_in():
    result = run("hi", config=CONFIG, options=Options(history=[]))
    assert result["_conversation_state"] == {
        "version": 1,
        "provider": "openai",
        "history": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "echo: hi"}],
    }


def test_history_comes_before_the_new_turns():
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    state = run("c", config=CONFIG, options=Options(history=history))["_conversation_state"]
    assert [turn["content"] for turn in state["history"]] == ["a", "b", "c", "echo: c"]


def test_continues_from_an_earlier_result():
    first = run("a", config=CONFIG, options=Options(history=[]))
    second = run("b", config=CONFIG, options=Options(continue_from=first))
    assert [turn["role"] for turn in second["_conversation_state"]["history"]] == ["user", "assistant"] * 2


def test_text_sources_are_part_of_the_users_turn():
    result = run("b", source=Source.from_text("a"), config=CONFIG, options=Options(history=[]))
    assert result["_conversation_state"]["history"][0]["content"] == "a\n\nb"


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    return tmp_path / "a.png"


def list_requests(script):
    return script.requests


def test_a_file_stays_with_the_users_turn(picture):
    sources = [Source.from_file(picture), Source.from_text("note"), Source.from_youtube("https://youtu.be/x")]
    result = run_many("b", sources=sources, config=CONFIG, options=Options(history=[]))
    turn, _ = result["_conversation_state"]["history"]
    digest = hashlib.sha256(b"\x89PNG").hexdigest()
    assert turn == {
        "role": "user",
        "content": "b",
        "sources": [
            {
                "source_type": "file",
                "identifier": str(picture),
                "mime_type": "image/png",
                "path": str(picture),
                "sha256": digest,
            },
            {"source_type": "text", "identifier": "note", "mime_type": "text/plain", "text": "note"},
            {"source_type": "youtube", "identifier": "https://youtu.be/x", "mime_type": "video/mp4"},
        ],
    }


def test_sends_files_of_earlier_turns_again(picture):
    script = Script()
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    first = run("a?", source=Source.from_file(picture), config=config, options=Options(history=[]))
    second = run("b?", config=config, options=Options(continue_from=json.loads(json.dumps(first))))
    third = run("c?", source=Source.from_file(picture), config=config, options=Options(continue_from=second))
    shown = [{"asset": "mock://uploaded/a.png"}]
    assert [[turn["parts"] for turn in body["history"]] for body in list_requests(script)] == [
        [],
        [shown, []],
        [shown, [], [], []],
    ]
    kept = [len(turn.get("sources", ())) for turn in third["_conversation_state"]["history"]]
    assert kept == [1, 0, 0, 0, 1, 0]


def test_uploads_a_file_of_several_turns_once_per_call(picture):
    class Uploads:
        count = 0

        @hookimpl
        def pollux_event(self, event):
            self.count += isinstance(event, FileUploaded)

    uploads = Uploads()
    config = Config(provider="openai", model="m", use_mock=True, plugins=[uploads])
    source = Source.from_file(picture)
    first = run("a?", source=source, config=config, options=Options(history=[]))
    run("b?", source=source, config=config, options=Options(continue_from=first))
    assert uploads.count == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda path: path.write_bytes(b"else"), "has changed"), (lambda path: path.unlink(), "not found")],
    ids=["changed", "gone"],
)
def test_refuses_a_changed_file(picture, spoil, message):
    first = run("a?", source=Source.from_file(picture), config=CONFIG, options=Options(history=[]))
    spoil(picture)
    with pytest.raises(SourceError, match=message):
        run("b?", config=CONFIG, options=Options(continue_from=first))


def test_what_the_provider_keeps_is_not_built_upon_where_files_are_deleted(picture):
    script = Script(Reply(text="yes", response_id="r1"), Reply(text="yes", response_id="r2"))
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    with_file = run("a?", source=Source.from_file(picture), config=config, options=Options(history=[]))
    without = run("a?", config=config, options=Options(history=[]))
    assert "response_id" not in with_file["_conversation_state"]
    assert without["_conversation_state"]["response_id"] == "r2"


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "sources": "x"}, "must be lists"),
        ({"role": "assistant", "sources": [{}]}, "not a turn of the user"),
        ({"role": "user", "sources": [{}]}, "not a stored source"),
    ],
)
def test_refuses_sources_that_are_none(turn, message):
    with pytest.raises((ConfigurationError, SourceError), match=message):
        run("a", config=CONFIG, options=Options(history=[turn]))


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


def test_continue_tool_does_not_change_its_arguments():
    result = run("weather?", config=CONFIG, options=Options(tools=[TOOL]))
    options = Options(history=[{"role": "user", "content": "ignored"}])
    results = [{"role": "tool", "tool_call_id": "call_0", "content": "sunny"}]
    before = copy.deepcopy((result, results, attrs.asdict(options)))
    continue_tool(result, results, config=CONFIG, options=options)
    assert (result, results, attrs.asdict(options)) == before


def test_continue_tool_needs_a_state():
    with pytest.raises(ConfigurationError, match="no conversation state"):
        continue_tool({}, [], config=CONFIG)


def test_every_prompt_of_a_fan_out_can_be_continued():
    result = json.loads(json.dumps(run_many(["a", "b"], config=CONFIG, options=Options(tools=[TOOL]))))
    assert result["_conversation_state"] == result["_conversation_states"][0]
    results = [{"role": "tool", "tool_call_id": "call_0", "content": "sunny", "is_error": True}]
    for index, prompt in enumerate(["a", "b"]):
        final = continue_tool(result_of(result, index), results, config=CONFIG)
        turns = final["_conversation_state"]["history"]
        assert [turn["content"] for turn in turns] == [prompt, "", "sunny", "echo: sunny"]
        assert turns[2]["is_error"] is True


def test_one_of_several_results_equals_a_single_one():
    options = Options(response_schema={"type": "object"}, on_error="keep")
    script = Script("{}", APIError("no", kind="invalid_request"), "nothing")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script], request_concurrency=1)
    several = run_many(["a", "b", "c"], config=config, options=options)
    alone = [run("a", config=CONFIG, options=options), None, None]
    picked = [result_of(several, index) for index in range(3)]
    assert [one["status"] for one in picked] == ["ok", "error", "ok"]
    assert [one["structured"] for one in picked] == [[{}], [None], [None]]
    assert [one["errors"][0] and one["errors"][0]["kind"] for one in picked] == [None, "invalid_request", None]
    assert picked[1]["usage"] == {}
    assert {name: type(value) for name, value in picked[0].items()} == {
        name: type(value) for name, value in alone[0].items()
    }
    assert picked[0]["metrics"] | {"duration_s": 0} == alone[0]["metrics"] | {"duration_s": 0}


def test_one_of_several_results_has_its_own_cache_hit():
    hit, miss = (Reply(text="x", usage=Usage(cached_tokens=count)) for count in (5, 0))
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(hit, miss)], request_concurrency=1)
    several = run_many(["a", "b"], config=config)
    assert [result_of(several, index)["metrics"]["cache_hit"] for index in range(2)] == [True, False]


@pytest.mark.parametrize("index", [2, -1, True, "0"])
def test_there_is_no_other_result(index):
    with pytest.raises(ConfigurationError, match="has no answer") as caught:
        result_of(run_many(["a", "b"], config=CONFIG), index)
    assert "it has 2" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[1]", "false", "[" * 100_000])
def test_arguments_that_are_no_object_raise_when_used(text):
    script = Script(Reply(tool_calls=(ToolCall("c", "weather", text),)))
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    (call,) = run("a", config=config, options=Options(tools=[TOOL]))["tool_calls"][0]
    assert call["arguments_parsed"] is None
    with pytest.raises(ToolCallParseError, match="'weather'") as caught:
        tool_arguments(call)
    assert (caught.value.tool, caught.value.arguments) == ("weather", text)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["c0"], "for c0, the model called c0, c1"),
        (["c0", "c1", "c1"], "for c0, c1, c1"),
        (["c0", "cx"], "for c0, cx"),
    ],
)
def test_each_call_wants_one_result(ids, message):
    calls = tuple(ToolCall(f"c{n}", "weather", "{}") for n in range(2))
    script = Script(Reply(tool_calls=calls), "never")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    asked = run("a", config=config, options=Options(tools=[TOOL]))
    with pytest.raises(ConfigurationError, match=message):
        continue_tool(asked, [{"tool_call_id": call_id, "content": "x"} for call_id in ids], config=config)
    assert not script.is_used_up


def test_calls_of_one_id_want_a_result_each():
    calls = (ToolCall("same", "weather", "{}"), ToolCall("same", "weather", "{}"))
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(Reply(tool_calls=calls), "done")])
    asked = run("a", config=config, options=Options(tools=[TOOL]))
    results = [{"tool_call_id": "same", "content": "x"}] * 2
    assert continue_tool(asked, results, config=config)["answers"] == ["done"]


def test_a_prompt_that_called_no_tool_can_be_continued_too():
    script = Script("just so", "and more")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script], request_concurrency=1)
    asked = run_many(["a", "b"], config=config, options=Options(tools=[TOOL]))
    told = run("go on", config=config, options=Options(continue_from=result_of(asked, 1)))
    assert [turn["content"] for turn in told["_conversation_state"]["history"]][:3] == ["b", "and more", "go on"]


def test_arguments_are_data():
    assert tool_arguments({"name": "x", "arguments": ""}) == {}
    assert tool_arguments(ToolCall("c", "x", '{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("call", ["x", {}, {"name": 3}])
def test_refuses_tool_calls_in_history_that_are_none(call):
    with pytest.raises(ConfigurationError, match="tool_calls"):
        run("a", config=CONFIG, options=Options(history=[{"role": "assistant", "tool_calls": [call]}]))


def test_tool_arguments_in_history_may_be_data():
    call = {"id": "c", "name": "weather", "arguments": {"city": "Rome"}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "sunny"}]
    result = run("a", config=CONFIG, options=Options(history=turns))
    assert result["_conversation_state"]["history"][0]["tool_calls"][0]["arguments"] == '{"city": "Rome"}'
