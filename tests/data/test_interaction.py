import json
import subprocess
import sys

import attrs
import pytest

from pollux_sync import (
    ConfigurationError,
    Continuation,
    Environment,
    Input,
    Message,
    Source,
    SourceError,
    Tool,
    ToolCall,
    ToolDeclaration,
    ToolResult,
)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


DECLARED = Tool.from_function(weather).declaration
CONTINUATION = Continuation.from_dict({"provider": "openai", "version": 1, "history": []})
ASKED = Message("assistant", tool_calls=[ToolCall("c", "weather", "{}")])
RESULT = ToolResult("c", "sunny")


def test_an_environment_equals_its_options():
    environment = Environment(instructions="Be brief.", tools=[weather], tool_choice="required")
    assert environment.settings == {
        "system_instruction": "Be brief.",
        "tools": [DECLARED],
        "tool_choice": "required",
        "cache": None,
    }


@pytest.mark.parametrize(
    "tool", [weather, Tool.from_function(weather), ToolDeclaration.from_function(weather), DECLARED]
)
def test_accepts_a_tool_in_any_form(tool):
    assert Environment(tools=[tool]).settings["tools"] == [DECLARED]


def test_a_function_becomes_a_tool_that_can_be_called():
    (tool,) = Environment(tools=[weather]).tools
    assert tool({"city": "Rome"}) == "sunny in Rome"


def test_a_dict_that_changes_later_changes_no_environment():
    tool = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    environment = Environment(tools=[tool])
    tool["parameters"]["properties"]["city"] = {"type": "string"}
    assert environment.tools[0]["parameters"]["properties"] == {}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"instructions": 3}, "instructions must be a string"),
        ({"instructions": " "}, "instructions must not be empty"),
        ({"sources": Source.from_text("a")}, "sources must be a list, got Source"),
        ({"sources": ["a.txt"]}, r"sources\[0\] must be Source, got str"),
        ({"tools": weather}, "tools must be a list, got function"),
        ({"tools": DECLARED}, "tools must be a list, got dict"),
        ({"tools": ["weather"]}, r"tools\[0\] must be a dict"),
        ({"tools": [weather, weather]}, "tools hold weather more than once"),
        ({"tool_choice": "auto"}, "tool_choice is given without tools"),
        ({"cache": "c"}, "cache must be a CacheHandle"),
    ],
)
def test_refuses_environments_that_cannot_be(fields, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Environment(**fields)


def build_environment(text="text", city="Rome", **changes):
    tools = [{"name": "weather", "parameters": {"type": "object", "properties": {city: {}}}}]
    return Environment(**{"instructions": "i", "sources": [Source.from_text(text)], "tools": tools} | changes)


def test_equal_environments_have_one_fingerprint(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    same = build_environment(sources=[Source.from_file(tmp_path / "a.txt")])
    assert same.fingerprint() == build_environment().fingerprint()
    assert len(build_environment().fingerprint()) == 64


def test_a_fingerprint_is_the_same_in_every_process():
    environment = Environment(instructions="i", sources=[Source.from_text("a")], tools=[weather])
    script = f"""
from pollux_sync import Environment, Source
print(Environment(instructions="i", sources=[Source.from_text("a")], tools=[{DECLARED}]).fingerprint())
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == environment.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        build_environment(text="other"),
        build_environment(city="Oslo"),
        build_environment(instructions=None),
        build_environment(tools=()),
        build_environment(sources=()),
    ],
)
def test_another_environment_has_another_fingerprint(other):
    assert other.fingerprint() != build_environment().fingerprint()


def test_a_fingerprint_for_a_provider_counts_its_settings_of_sources():
    video = Source.from_youtube("https://youtu.be/x")
    plain = Environment(sources=[video])
    clip = Environment(sources=[video.with_gemini_video_settings(start_offset="9s")])
    assert clip.fingerprint("openai") == plain.fingerprint("openai")
    assert clip.fingerprint("gemini") != plain.fingerprint("gemini")


def test_a_fingerprint_needs_its_files(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    environment = Environment(sources=[Source.from_file(tmp_path / "a.txt")])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(SourceError, match="cannot read"):
        environment.fingerprint()


def test_an_environment_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Environment().instructions = "x"


def test_a_continuation_round_trips_through_json():
    state = {"provider": "openai", "version": 1, "history": [{"role": "user", "content": "\ud83d ü"}]}
    continuation = Continuation.from_dict(state)
    assert Continuation.from_json(continuation.to_json()) == continuation
    assert Continuation.from_dict(json.loads(json.dumps(continuation.to_dict()))) == continuation
    assert (continuation.to_dict(), continuation.provider) == (state, "openai")
    assert continuation.to_json().isascii()


def test_a_continuation_does_not_change_with_its_source_dict():
    state = {"provider": "openai", "history": []}
    continuation = Continuation.from_dict(state)
    state["history"].append(1)
    continuation.to_dict()["history"].append(2)
    assert continuation.to_dict()["history"] == []


def test_a_continuation_shows_no_content_in_its_repr():
    state = {"provider": "openai", "history": [{"role": "user", "content": "my secret"}]}
    assert repr(Continuation.from_dict(state)) == "Continuation(provider='openai')"


@pytest.mark.parametrize("data", [None, [], "x", {}, {"provider": 3}, {"provider": "a", "history": {1, 2}}])
def test_refuses_dicts_that_are_no_continuation(data):
    with pytest.raises(ConfigurationError, match="not a stored Continuation") as caught:
        Continuation.from_dict(data)
    assert caught.value.hint == "pass the result of to_dict(), unchanged"


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "[" * 100_000, b"\xff"])
def test_refuses_texts_that_are_no_continuation(text):
    with pytest.raises(ConfigurationError, match="not a stored Continuation"):
        Continuation.from_json(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "hi"},
        {"content": "hi", "continuation": CONTINUATION},
        {"content": "hi", "history": [Message("assistant", "a")]},
        {"history": [Message("user", "hi")]},
        {"history": [ASKED, Message("tool", "sunny", tool_call_id="c")]},
        {"tool_results": [RESULT], "continuation": CONTINUATION},
        {"tool_results": [RESULT], "history": [Message("user", "hi"), ASKED]},
        {"tool_results": [RESULT], "continuation": CONTINUATION, "content": "and?"},
    ],
)
def test_an_input_keeps_its_parts(fields):
    built = Input(**fields)
    assert {name: value for name, value in attrs.asdict(built, recurse=False).items() if value} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "has neither content nor tool_results"),
        ({"content": " "}, "content must not be empty"),
        ({"content": 3}, "content must be a string"),
        ({"continuation": CONTINUATION}, "has neither content nor tool_results"),
        ({"history": [Message("user", "hi"), Message("assistant", "yes")]}, "has neither content nor tool_results"),
        ({"history": [Message("system", "Be brief.")]}, "has neither content nor tool_results"),
        ({"content": "a", "history": [Message("user", "a")], "continuation": CONTINUATION}, "exclude each other"),
        ({"content": "a", "continuation": {"provider": "openai"}}, "continuation must be a Continuation, got dict"),
        ({"content": "a", "history": [{"role": "user", "content": "a"}]}, r"history\[0\] must be Message, got dict"),
        ({"content": "a", "tool_results": [RESULT]}, "tool_results need the tool calls"),
        ({"tool_results": [RESULT], "history": [Message("user", "hi")]}, "tool_results need the tool calls"),
        (
            {"tool_results": [RESULT], "history": [ASKED, Message("tool", "sunny", tool_call_id="c")]},
            "tool_results need the tool calls",
        ),
        ({"tool_results": [{"tool_call_id": "c"}], "continuation": CONTINUATION}, "must be ToolResult, got dict"),
        ({"tool_results": RESULT, "continuation": CONTINUATION}, "tool_results must be a list"),
    ],
)
def test_refuses_inputs_that_do_not_fit_together(fields, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Input(**fields)
    assert caught.value.hint
