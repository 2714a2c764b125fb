import json
import threading
from decimal import Decimal
from typing import Any

import attrs
import pytest

from pollux_sync import (
    AnswerFile,
    APIError,
    Citation,
    Config,
    ConfigurationError,
    HostedCall,
    Interrupted,
    Options,
    Output,
    ProviderBugError,
    Reply,
    Session,
    Source,
    Terminated,
    Tool,
    ToolCall,
    ToolFailure,
    ToolResult,
    Usage,
    continue_tool,
    hookimpl,
    run_tools,
)
from pollux_sync.testing import Script, failing

CONFIG = Config(provider="openai", model="m", use_mock=True)


def weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    if city == "Nowhere":
        raise LookupError("no such city")
    return {"city": city, "sky": "blue"}


def calling(*cities, text=""):
    calls = tuple(ToolCall(f"c{n}", "weather", json.dumps({"city": city})) for n, city in enumerate(cities))
    return Reply(text=text, tool_calls=calls, finish_reason="tool_calls", usage=Usage(input_tokens=2, output_tokens=3))


def build_script(*answers, **fields):
    script = Script(*answers)
    return script, Config(provider="openai", model="m", use_mock=True, plugins=[script], **fields)


def list_tool_results(body):
    return [turn["content"] for turn in body["history"] if turn["role"] == "tool"]


def test_asks_until_there_is_an_answer():
    script, config = build_script(calling("Rome", "Oslo"), calling("Bonn"), "Blue everywhere.")
    result = run_tools("weather?", tools=[weather], config=config, options=Options(system_instruction="be brief"))
    assert result["answers"] == ["Blue everywhere."]
    blue = [f'{{"city": "{city}", "sky": "blue"}}' for city in ("Rome", "Oslo", "Bonn")]
    assert [list_tool_results(body) for body in script.requests] == [[], blue[:2], blue]
    assert {body["system"] for body in script.requests} == {"be brief"}
    assert [tool["name"] for tool in script.requests[2]["tools"]] == ["weather"]


def test_has_what_the_providers_tools_did_in_all_rounds():
    searches = [HostedCall(kind="web_search", name="web_search", id=name) for name in ("s1", "s2")]
    drawing, source = AnswerFile(id="f1"), Citation(url="https://a.example")
    first = attrs.evolve(calling("Rome"), hosted_calls=searches[:1], files=(drawing,), citations=(Citation(url="x"),))
    _, config = build_script(first, Reply(text="Blue.", hosted_calls=searches[1:], citations=(source,)))
    output = Output(run_tools("weather?", tools=[weather], config=config))
    assert (output.hosted_calls, output.files, output.citations) == ((*searches,), (drawing,), (source,))


def test_passes_a_decimal_with_all_digits_that_the_model_wrote():
    seen = []

    def pay(amount: Decimal, rate: float, note: Any = None) -> str:
        seen.append((amount, rate, type(rate), type(note)))
        return "ok"

    arguments = '{"amount": 1234567890123456.78, "rate": 0.10, "note": 0.10}'
    _, config = build_script(Reply(tool_calls=(ToolCall("c1", "pay", arguments),)), "done")
    run_tools("q", tools=[pay], config=config)
    assert seen == [(Decimal("1234567890123456.78"), 0.1, float, float)]


def test_shows_the_model_a_file_that_a_tool_returns_even_if_the_next_round_replaces_it(tmp_path):
    def draw(city: str) -> Source:
        (tmp_path / "chart.png").write_bytes(b"\x89PNG\r\n\x1a\n" + city.encode())
        return Source.from_file(tmp_path / "chart.png")

    rounds = [Reply(tool_calls=(ToolCall("c1", "draw", json.dumps({"city": city})),)) for city in ("Rome", "Oslo")]
    script, config = build_script(*rounds, "done")
    result = run_tools("charts?", tools=[draw], config=config)
    assert result["answers"] == ["done"]
    results = [turn for turn in script.requests[-1]["history"] if turn["role"] == "tool"]
    assert [turn["content"] for turn in results] == ["chart.png (image/png)"] * 2
    assert [len(turn["parts"]) for turn in results] == [1, 1]
    (tool_run,) = result["diagnostics"]["steps"][0]["tool_runs"]
    assert Source.from_dict(tool_run["sources"][0]).load().endswith(b"Rome")
    json.dumps(result)


def test_tells_the_text_of_a_text_that_a_tool_returns(tmp_path):
    def weather(city: str) -> list[object]:
        (tmp_path / "notes.md").write_text("as ever")
        return [Source.from_text(f"{city} is old."), {"n": 1}, Source.from_file(tmp_path / "notes.md")]

    script, config = build_script(calling("Rome"), "done")
    run_tools("q", tools=[weather], config=config)
    (result,) = list_tool_results(script.requests[1])
    assert result == 'Rome is old.\n\n{"n": 1}\n\nnotes.md (text/markdown)\n\nas ever'


def test_tells_the_model_of_a_file_that_cannot_be_read(tmp_path):
    def draw(city: str) -> Source:
        return Source.from_file(tmp_path / city)

    script, config = build_script(Reply(tool_calls=(ToolCall("c1", "draw", '{"city": "x"}'),)), "done")
    run_tools("q", tools=[draw], config=config)
    assert "file not found" in list_tool_results(script.requests[1])[0]


def test_counts_all_steps():
    _, config = build_script(calling("Rome"), calling("Nowhere"), "Blue.")
    result = run_tools("weather?", tools=[weather], config=config)
    assert result["usage"] == {"input_tokens": 4, "output_tokens": 6}
    assert (result["metrics"]["n_calls"], result["metrics"]["n_attempts"]) == (3, 3)
    steps = result["diagnostics"]["steps"]
    assert [[run["is_error"] for run in step["tool_runs"]] for step in steps] == [[False], [True], []]
    assert steps[1]["tool_runs"][0]["content"] == "LookupError: no such city"
    assert [len(step["attempts"]) for step in steps] == [1, 1, 1]


def test_works_on_the_mock():
    result = run_tools("weather?", tools=[weather], sources=[Source.from_text("Rome")], config=CONFIG)
    assert result["answers"] == ['echo: {"city": "text", "sky": "blue"}']


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall("c", "weather", '{"city": 3}'), "AnswerMismatch: $.city"),
        (ToolCall("c", "weather", "{"), "ToolCallParseError: the model called 'weather'"),
        (ToolCall("c", "wether", "{}"), "LookupError: there is no tool 'wether'; the tools are weather"),
    ],
)
def test_sends_the_model_its_error(call, told):
    script, config = build_script(Reply(tool_calls=(call,)), "Sorry.")
    assert run_tools("weather?", tools=[weather], config=config)["answers"] == ["Sorry."]
    (turn,) = [turn for turn in script.requests[1]["history"] if turn["role"] == "tool"]
    assert turn["is_error"]
    assert turn["content"].startswith(told)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_may_raise_instead(concurrency):
    _, config = build_script(calling("Rome", "Nowhere"), "never")
    with pytest.raises(LookupError, match="no such city") as caught:
        run_tools("?", tools=[weather], config=config, on_tool_error="raise", tool_concurrency=concurrency)
    assert caught.value.partial_result["usage"] == {"input_tokens": 2, "output_tokens": 3}


@pytest.mark.parametrize("on_tool_error", ["tell", "raise"])
def test_sends_the_model_a_failure_that_a_tool_returns(on_tool_error):
    def weather(city: str):
        return ToolFailure(["no such city", {"asked": city}])

    script, config = build_script(calling("Nowhere"), "Sorry.")
    result = run_tools("?", tools=[weather], config=config, on_tool_error=on_tool_error)
    assert result["answers"] == ["Sorry."]
    (turn,) = [turn for turn in script.requests[1]["history"] if turn["role"] == "tool"]
    assert (turn["is_error"], turn["content"]) == (True, '["no such city", {"asked": "Nowhere"}]')


def test_ends_with_an_answer_after_so_many_steps():
    script, config = build_script(calling("Rome"), calling("Oslo"), calling("Bonn", text="Blue, I think."), "never")
    result = run_tools("weather?", tools=[weather], config=config, max_steps=2)
    assert [body["tool_choice"] for body in script.requests] == [None, None, "none"]
    assert result["answers"] == ["Blue, I think."]
    assert not script.is_used_up


def test_a_choice_of_tool_counts_once():
    script, config = build_script(calling("Rome"), "Blue.")
    run_tools("weather?", tools=[weather], config=config, tool_choice="required")
    assert [body["tool_choice"] for body in script.requests] == ["required", None]


def test_goes_on_in_a_conversation():
    script, config = build_script(calling("Rome"), "Blue.", calling("Oslo"), "Grey.")
    first = run_tools("Rome?", tools=[weather], config=config, options=Options(history=[]))
    second = run_tools("Oslo?", tools=[weather], config=config, options=Options(continue_from=first))
    assert second["answers"] == ["Grey."]
    assert len(list_tool_results(script.requests[3])) == 2


def test_a_failure_keeps_earlier_steps_and_can_be_continued():
    _, config = build_script(calling("Rome"), failing(400, "bad day"), "Blue.")
    with pytest.raises(APIError, match="bad day") as caught:
        run_tools("weather?", tools=[weather], config=config)
    kept = json.loads(json.dumps(caught.value.partial_result))
    (run,) = kept["diagnostics"]["steps"][-1]["tool_runs"]
    result = continue_tool(kept, [{"tool_call_id": run["id"], "content": run["content"]}], config=config)
    assert result["answers"] == ["Blue."]


STOP_CAUSES = pytest.mark.parametrize(
    ("cause", "expected"), [(KeyboardInterrupt(), Interrupted), (SystemExit(7), Terminated)]
)


@STOP_CAUSES
def test_a_stop_in_a_later_round_keeps_the_outcomes_of_that_round(cause, expected):
    def stop(body):
        raise cause

    _, config = build_script(calling("Rome"), stop)
    with pytest.raises(expected) as caught:
        run_tools("weather?", tools=[weather], config=config)
    assert len(caught.value.outcomes) == 1
    assert len(caught.value.partial_result["diagnostics"]["steps"]) == 1


@STOP_CAUSES
def test_a_stop_in_a_tool_ends_the_loop(cause, expected):
    def stop() -> None:
        raise cause

    _, config = build_script(
        Reply(tool_calls=(ToolCall("a", "weather", '{"city": "Rome"}'), ToolCall("b", "stop", "{}")))
    )
    with pytest.raises(expected) as caught:
        run_tools("?", tools=[weather, stop], config=config)
    (step,) = caught.value.partial_result["diagnostics"]["steps"]
    assert [run["name"] for run in step["tool_runs"]] == ["weather"]


def test_runs_tools_in_parallel_with_tool_concurrency():
    both = threading.Barrier(2, timeout=20)

    def meet(city: str) -> str:
        both.wait()
        return city

    _, config = build_script(calling("Rome", "Oslo"), "Met.")
    tool = Tool.from_function(meet, name="weather")
    result = run_tools("?", tools=[tool], config=config, tool_concurrency=2)
    assert [run["content"] for run in result["diagnostics"]["steps"][0]["tool_runs"]] == ["Rome", "Oslo"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tools": []}, "at least one"),
        ({"tools": weather}, "at least one"),
        ({"tools": [weather, weather]}, "more than once"),
        ({"options": Options(tools=[{"name": "x"}])}, "tools of their own"),
        ({"max_steps": 0}, "max_steps"),
        ({"tool_concurrency": True}, "tool_concurrency"),
        ({"on_tool_error": "ignore"}, "on_tool_error"),
    ],
)
def test_refuses_invalid_settings(settings, message):
    script, config = build_script("never")
    with pytest.raises(ConfigurationError, match=message):
        run_tools("?", **({"tools": [weather], "config": config} | settings))
    assert script.requests == []


@pytest.mark.parametrize("arguments", ["", "  \n", "null", "{}"])
def test_a_tool_without_parameters_runs_whatever_stands_for_no_arguments(arguments):
    def ping() -> str:
        return "pong"

    script = Script(Reply(tool_calls=(ToolCall("c1", "ping", arguments),)), "done")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    result = run_tools("q", tools=[ping], config=config)
    (ran,) = result["diagnostics"]["steps"][0]["tool_runs"]
    assert (ran["content"], ran["is_error"]) == ("pong", False)
    (call,) = script.requests[-1]["history"][1]["tool_calls"]
    assert call["arguments"] == "{}"


def test_a_model_may_have_no_more_to_say_after_its_tools():
    _, config = build_script(calling("Rome"), Reply(usage=Usage(input_tokens=5)))
    result = run_tools("weather?", tools=[weather], config=config)
    assert (result["answers"], result["errors"][0]["kind"]) == ([""], "empty")
    assert result["usage"] == {"input_tokens": 7, "output_tokens": 3}
    assert [len(step["tool_runs"]) for step in result["diagnostics"]["steps"]] == [1, 0]


class Guard:
    """Refuses calls about Rome, and notes what the tools did."""

    def __init__(self):
        self.results = []

    @hookimpl
    def pollux_call_tool(self, call, proceed, hooks):
        if "Rome" in call.arguments:
            return ToolResult(call.id, f"{hooks.info.name} may not ask", is_error=True)
        result = proceed(call)
        self.results.append(result)
        return result


def run_guarded(guard, *answers, **options):
    script = Script(*answers)
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script, guard])
    return run_tools("weather?", tools=[weather], config=config, **options)


def test_middleware_stands_around_tools():
    guard = Guard()
    result = run_guarded(guard, calling("Rome", "Oslo", "Nowhere"), "fine")
    runs = result["diagnostics"]["steps"][0]["tool_runs"]
    assert [(run["content"], run["is_error"]) for run in runs] == [
        ("openai may not ask", True),
        ('{"city": "Oslo", "sky": "blue"}', False),
        ("LookupError: no such city", True),
    ]
    assert [result.is_error for result in guard.results] == [False, True]


def test_error_of_a_tool_passes_through_middleware_unchanged():
    guard = Guard()
    with pytest.raises(LookupError, match="no such city"):
        run_guarded(guard, calling("Nowhere"), on_tool_error="raise")
    assert guard.results[0].is_error


def test_middleware_of_tools_that_fails_ends_the_loop_and_is_named():
    class Broken:
        @hookimpl
        def pollux_call_tool(self, call):
            raise OSError("no boat")

    with pytest.raises(ProviderBugError, match=r"pollux_call_tool of .*Broken.* raised OSError: no boat") as caught:
        run_guarded(Broken(), calling("Oslo"))
    assert caught.value.partial_result["metrics"]["n_calls"] == 1


def test_middleware_stands_around_the_tools_of_a_session():
    guard = Guard()
    script = Script(calling("Oslo"), "fine")
    with Session(Config(provider="openai", model="m", use_mock=True, plugins=[script, guard])) as session:
        session.run_tools("weather?", tools=[weather])
    assert len(guard.results) == 1
