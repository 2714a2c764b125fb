import threading

import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Reply,
    Session,
    StreamDone,
    StreamStart,
    StreamToolResult,
    TextDelta,
    ToolCall,
    Usage,
    run_tools,
    stream_tools,
)
from pollux_sync.testing import Script, failing
from streams import remove_times

CALL = Reply(
    tool_calls=(ToolCall("c1", "weather", '{"city": "Rome"}'),), finish_reason="tool_calls", usage=Usage(input_tokens=2)
)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"blue over {city}"


def build_config(*answers):
    return Config(provider="openai", model="m", use_mock=True, plugins=[Script(*answers)])


def test_events_of_all_rounds_come_in_their_order():
    events = list(stream_tools("weather?", tools=[weather], config=build_config(CALL, "Blue.")))
    kinds = [event.type for event in events if event.type in {"start", "tool_result", "text_delta", "done"}]
    assert kinds == ["start", "tool_result", "start", "text_delta", "done"]
    (result,) = [event.run for event in events if isinstance(event, StreamToolResult)]
    assert (result["name"], result["content"]) == ("weather", "blue over Rome")
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Blue."]


def test_result_is_that_of_run_tools():
    answers = (CALL, CALL, "Blue.")
    streamed = stream_tools("weather?", tools=[weather], config=build_config(*answers)).result()
    whole = run_tools("weather?", tools=[weather], config=build_config(*answers))
    for result in (streamed, whole):
        for step in result["diagnostics"]["steps"]:
            step["attempts"] = len(step["attempts"])
            for run in step["tool_runs"]:
                run["duration_s"] = 0
    assert remove_times(streamed) == remove_times(whole)


def test_session_streams_tools_too():
    with Session(config=build_config(CALL, "Blue.")) as session:
        events = session.stream_tools("weather?", tools=[weather])
        assert "".join(events.text_chunks) == "Blue."


def test_settings_are_refused_before_anything_is_sent():
    config = build_config("never")
    with pytest.raises(ConfigurationError, match="tools must be"):
        stream_tools("weather?", tools=[], config=config)
    with pytest.raises(ConfigurationError, match="tools of their own"):
        stream_tools("weather?", tools=[weather], config=config, options=Options(tools=[{"name": "f"}]))
    with pytest.raises(ConfigurationError):
        stream_tools(7, tools=[weather], config=config)
    assert config.plugins[0].requests == []


def test_failure_of_a_later_round_keeps_what_was_paid():
    config = build_config(CALL, failing(400))
    with pytest.raises(APIError) as caught:
        list(stream_tools("weather?", tools=[weather], config=config))
    assert len(caught.value.partial_result["diagnostics"]["steps"]) == 1


def test_closing_between_rounds_sends_no_more():
    config = build_config(CALL, "never")
    events = stream_tools("weather?", tools=[weather], config=config)
    while not isinstance(next(events), StreamToolResult):
        pass
    events.close()
    assert list(events) == []
    assert len(config.plugins[0].requests) == 1


def test_closing_by_another_thread_while_a_tool_runs_sends_no_more():
    config = build_config(CALL, "never")
    running, closed = threading.Event(), threading.Event()

    def wait(city: str) -> str:
        """Wait."""
        running.set()
        assert closed.wait(5)
        return city

    wait.__name__ = "weather"
    events = stream_tools("weather?", tools=[wait], config=config)
    reader = threading.Thread(target=lambda: _drain(events))
    reader.start()
    assert running.wait(5)
    events.close()
    closed.set()
    reader.join(5)
    assert not reader.is_alive()
    assert len(config.plugins[0].requests) == 1


def _drain(events):
    try:
        for _ in events:
            pass
    except APIError:
        pass


def test_done_comes_once():
    events = list(stream_tools("weather?", tools=[weather], config=build_config(CALL, "Blue.")))
    assert sum(isinstance(event, StreamDone) for event in events) == 1
    assert sum(isinstance(event, StreamStart) for event in events) == 2
