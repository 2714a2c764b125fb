"""The plugin against a real model: through llama.cpp's server, and inside this process."""

import attrs
import pytest

from demo_model import find_demo_model
from llama_server import TOOL_TEMPLATE, serve
from pollux_sync import APIError, Config, ContextOverflowError, Options, Source, continue_tool, run

WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
#: What llama.cpp's grammars refuse as it stands: a closed tuple, and a boolean schema.
PLACE = {
    "name": "place",
    "parameters": {
        "type": "object",
        "properties": {
            "at": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}], "items": False},
            "why": True,
        },
        "required": ["at"],
    },
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
ASKING = {"temperature": 0, "max_tokens": 60, "history": SEEN_BEFORE}


@pytest.fixture(scope="module", params=["server", "embedded"])
def config(request):
    model = find_demo_model().resolve()
    if request.param == "embedded":
        return Config(provider="local", model=str(model), provider_options={"chat_template": TOOL_TEMPLATE})
    url, key = serve(model)
    return Config(provider="local", model="smollm2", api_key=key, base_url=url)


def test_answers_about_a_text(config):
    source = Source.from_text("The lighthouse was built by Ada Morrow in 1874.")
    result = run("Who built it?", source=source, config=config, options=Options(temperature=0, max_tokens=40))
    assert "Morrow" in result["answers"][0]


def test_calls_a_tool_and_continues_with_its_result(config):
    asked = run("What is the weather in Rome?", config=config, options=Options(tools=[WEATHER], **ASKING))
    (call,) = asked["tool_calls"][0]
    assert (call["name"], call["arguments_parsed"]) == ("weather", {"city": "Rome"})
    assert asked["metrics"]["finish_reasons"] == ["tool_calls"]
    results = [{"tool_call_id": call["id"], "content": "snow"}]
    told = continue_tool(asked, results, config=config, options=Options(temperature=0, max_tokens=20))
    assert "snow" in told["answers"][0].lower()


def test_calls_the_tool_that_is_named(config):
    options = Options(tools=[PLACE, WEATHER], tool_choice={"name": "weather"}, **ASKING)
    result = run("What is the weather in Rome?", config=config, options=options)
    assert {call["name"] for call in result["tool_calls"][0]} == {"weather"}


def test_calls_no_tool_with_tool_choice_none(config):
    result = run("What?", config=config, options=Options(tools=[WEATHER], tool_choice="none", **ASKING))
    assert "tool_calls" not in result


def test_gets_arguments_of_a_shape_that_grammars_do_not_know(config):
    seen = [
        {"role": "user", "content": "Show (1, 2)."},
        {"role": "assistant", "tool_calls": [{"name": "place", "arguments": {"at": {"item_0": 1, "item_1": 2}}}]},
        {"role": "tool", "tool_call_id": "", "content": "shown"},
    ]
    options = Options(tools=[PLACE], tool_choice="required", temperature=0, max_tokens=80, history=seen)
    (call, *_) = run("Show (3, 4).", config=config, options=options)["tool_calls"][0]
    assert all(isinstance(number, int) for number in call["arguments_parsed"]["at"])


@attrs.frozen
class City:
    name: str
    is_capital: bool


def test_shapes_an_answer(config):
    options = Options(response_schema=City, temperature=0, max_tokens=60)
    assert isinstance(run("Describe Oslo.", config=config, options=options)["structured"][0], City)


def test_says_how_much_does_not_fit(config):
    with pytest.raises(ContextOverflowError) as caught:
        run("word " * 20_000, config=config)
    error = caught.value
    assert (error.n_tokens > 20_000, error.n_ctx, error.status_code, len(error.attempts)) == (True, 8192, 400, 1)
    assert "n_ctx" in error.hint


def test_an_answer_cut_off_is_no_overflow(config):
    result = run("Count to a hundred.", config=config, options=Options(max_tokens=2))
    assert result["metrics"]["finish_reasons"] == ["length"]


@pytest.mark.parametrize(("name", "kind"), [("cat.png", "image"), ("voice.wav", "audio")])
def test_hints_at_a_model_for_images_and_audio(config, tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(APIError, match=f"{kind} input is not supported") as caught:
        run("what?", source=Source.from_file(tmp_path / name), config=config)
    assert (caught.value.kind, len(caught.value.attempts)) == ("invalid_request", 1)
    assert "takes images or audio" in caught.value.hint


def test_reads_a_turn_whose_arguments_were_cut_off(config):
    cut_off = {"id": "c1", "name": "weather", "arguments": '{"city": "Ro'}
    history = [{"role": "assistant", "tool_calls": [cut_off]}, {"role": "tool", "tool_call_id": "c1", "content": "?"}]
    # Without tools: a model this small may write what is no call of one, which the server refuses.
    result = run("and?", config=config, options=Options(history=history, max_tokens=4))
    assert result["usage"]["input_tokens"] > 0


def test_says_which_schema_the_server_cannot_use(config):
    tool = PLACE | {"strict": False}
    with pytest.raises(APIError, match=r"#/properties/at/items") as caught:
        run("where?", config=config, options=Options(tools=[tool]))
    assert "simplify the schema" in caught.value.hint


def test_reasoning_effort_reaches_the_models_template(model):
    options = {"takes_reasoning_effort": True, "chat_template": "{{ reasoning_effort }}"}
    config = Config(provider="local", model=str(model), provider_options=options)

    def count_input(effort):
        # What so small a model answers may be nothing.
        options = Options(reasoning_effort=effort, max_tokens=1, on_error="keep")
        return run("hi", config=config, options=options)["usage"]["input_tokens"]

    assert count_input("low") < count_input("exorbitant")
