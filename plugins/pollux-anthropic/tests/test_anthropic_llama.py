"""The plugin against a Messages API that is not Anthropic's: llama.cpp's, with a real model."""

import json

import pytest

from demo_model import find_demo_model
from llama_server import serve
from pollux_sync import APIError, Config, Options, Source, TextDelta, run, run_many, stream

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
    return Config(provider="anthropic", model="smollm2", api_key=key, base_url=url.removesuffix("/v1"))


def test_answers_about_a_text(config):
    source = Source.from_text("The lighthouse was built by Ada Morrow in 1874.")
    options = Options(temperature=0, max_tokens=40)
    result = run("Who built the lighthouse?", source=source, config=config, options=options)
    assert "Morrow" in result["answers"][0]
    assert result["usage"]["total_tokens"] == result["usage"]["input_tokens"] + result["usage"]["output_tokens"]
    assert result["metrics"]["finish_reasons"][0] in {"stop", "length"}


def test_streamed_answer_equals_the_blocking_answer(config):
    options = Options(temperature=0, max_tokens=20)
    prompt = "Name three colours."
    told = list(stream(prompt, config=config, options=options))
    texts = [event.text for event in told if isinstance(event, TextDelta)]
    assert len(texts) > 1
    whole, blocking = told[-1].result, run(prompt, config=config, options=options)
    assert "".join(texts) == whole["answers"][0] == blocking["answers"][0]
    assert whole["metrics"]["finish_reasons"] == blocking["metrics"]["finish_reasons"]
    assert whole["usage"]["output_tokens"] == blocking["usage"]["output_tokens"]


def test_fans_out(config):
    result = run_many(["One?", "Two?", "Three?"], config=config, options=Options(max_tokens=3))
    assert result["status"] == "ok"


def test_calls_a_tool(config):
    options = Options(temperature=0, max_tokens=60, tools=[TOOL], history=SEEN_BEFORE)
    result = run("What is the weather in Rome?", config=config, options=options)
    (call,) = result["tool_calls"][0]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Rome"})
    assert result["metrics"]["finish_reasons"] == ["tool_calls"]


def test_streams_a_tool_call(config):
    options = Options(temperature=0, max_tokens=60, tools=[TOOL], history=SEEN_BEFORE)
    told = list(stream("What is the weather in Rome?", config=config, options=options))
    first, *more = [event for event in told if event.type == "tool_call_delta"]
    assert first.name == "weather"
    assert json.loads("".join(piece.arguments for piece in (first, *more))) == {"city": "Rome"}
    assert json.loads(told[-1].result["tool_calls"][0][0]["arguments"]) == {"city": "Rome"}


def test_maps_an_error_of_that_server(config):
    with pytest.raises(APIError) as caught:
        run("word " * 20_000, config=config)
    assert (caught.value.kind, caught.value.status_code) == ("context_overflow", 400)
