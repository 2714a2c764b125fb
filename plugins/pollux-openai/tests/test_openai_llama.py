"""The plugin against a Responses API that is not OpenAI's: llama.cpp's, with a real model."""

import json

import pytest

from demo_model import find_demo_model
from llama_server import serve
from pollux_sync import APIError, Config, Options, Source, TextDelta, ToolCallDelta, run, run_many, stream

TOOL = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def earlier(city, weather, call_id):
    call = {"id": call_id, "name": "weather", "arguments": {"city": city}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": weather},
        {"role": "assistant", "content": f"{weather.title()}."},
    ]


#: The model is tiny: it calls a tool after it has seen how that is done.
SEEN_BEFORE = [*earlier("Oslo", "rain", "c1"), *earlier("Paris", "sun", "c2")]


@pytest.fixture(scope="module")
def config():
    url, key = serve(find_demo_model().resolve())
    return Config(provider="openai", model="smollm2", api_key=key, base_url=url)


def test_answers_about_a_text(config):
    source = Source.from_text("The lighthouse was built by Ada Morrow in 1874.")
    options = Options(temperature=0, max_tokens=40)
    result = run("Who built the lighthouse?", source=source, config=config, options=options)
    assert "Morrow" in result["answers"][0]
    assert result["usage"]["total_tokens"] == result["usage"]["input_tokens"] + result["usage"]["output_tokens"]
    assert result["metrics"]["finish_reasons"][0] in {"stop", "length"}


def test_fans_out(config):
    result = run_many(["One?", "Two?", "Three?"], config=config, options=Options(max_tokens=3))
    assert result["status"] == "ok"


def test_calls_a_tool(config):
    options = Options(temperature=0, max_tokens=60, tools=[TOOL], history=SEEN_BEFORE)
    result = run("What is the weather in Rome?", config=config, options=options)
    (call,) = result["tool_calls"][0]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Rome"})
    assert result["metrics"]["finish_reasons"] == ["tool_calls"]


def test_streamed_answer_equals_the_blocking_answer(config):
    options = Options(temperature=0, max_tokens=40)
    blocking = run("Name three colours.", config=config, options=options)
    events = list(stream("Name three colours.", config=config, options=options))
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(deltas) == events[-1].result["answers"][0] == blocking["answers"][0]
    assert len(deltas) > 3
    assert events[-1].result["usage"]["output_tokens"] == blocking["usage"]["output_tokens"]
    assert events[-1].result["metrics"]["finish_reasons"] == blocking["metrics"]["finish_reasons"]


def test_streams_a_tool_call(config):
    options = Options(temperature=0, max_tokens=60, tools=[TOOL], history=SEEN_BEFORE)
    events = list(stream("What is the weather in Rome?", config=config, options=options))
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    (call,) = events[-1].result["tool_calls"][0]
    assert (deltas[0].id, deltas[0].name) == (call["id"], call["name"])
    assert json.loads("".join(delta.arguments for delta in deltas)) == {"city": "Rome"}


def test_maps_an_error_of_that_server(config):
    with pytest.raises(APIError) as caught:
        run("word " * 20_000, config=config)
    assert (caught.value.kind, caught.value.status_code) == ("context_overflow", 400)
