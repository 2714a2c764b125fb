import json

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Continuation,
    Environment,
    Input,
    Message,
    Options,
    Output,
    ProviderInfo,
    Reply,
    Source,
    SourceError,
    ToolCall,
    ToolResult,
    Usage,
    collect_deferred,
    continue_tool,
    create_cache,
    defer,
    interact,
    messages_from_openai,
    outputs,
    result_of,
    run,
    run_many,
    run_tools,
    to_jsonable,
)
from pollux_sync.engine.interacting import build_interaction
from pollux_sync.testing import Script

CONFIG = Config(provider="openai", model="m", use_mock=True)


def weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    return {"sky": "blue", "city": city}


AROUND = Environment(instructions="Be brief.", tools=[weather])


def build_script(*answers, **fields):
    script = Script(*answers)
    return script, Config(provider="openai", model="m", use_mock=True, plugins=[script], **fields)


def calling(*cities):
    calls = tuple(ToolCall(f"c{n}", "weather", json.dumps({"city": city})) for n, city in enumerate(cities))
    return Reply(tool_calls=calls, finish_reason="tool_calls", usage=Usage(input_tokens=2))


def build_tool_results(output):
    return [ToolResult.from_value(call, weather(**call.arguments_dict())) for call in output.tool_calls]


def list_parts(script):
    return [request["parts"] for request in script.requests]


def test_an_agent_loops_until_it_has_an_answer():
    script, config = build_script(calling("Rome", "Oslo"), calling("Bonn"), "Blue everywhere.")
    output = interact(AROUND, "Weather?", config=config)
    while output.tool_calls:
        told = Input(continuation=output.continuation, tool_results=build_tool_results(output))
        output = interact(AROUND, told, config=config)
    assert (output.text, script.is_used_up) == ("Blue everywhere.", True)
    assert {request["system"] for request in script.requests} == {"Be brief."}
    said = [turn["content"] for turn in script.requests[-1]["history"] if turn["role"] == "tool"]
    assert said == [f'{{"sky": "blue", "city": "{city}"}}' for city in ("Rome", "Oslo", "Bonn")]


def test_the_same_conversation_by_hand_sends_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    source = Source.from_file(tmp_path / "a.png")
    answers = (calling("Rome"), "Blue.", "Yes.")

    script, config = build_script(*answers)
    around = attrs.evolve(AROUND, sources=[source])
    first = interact(around, "Weather?", config=config, options=Options(temperature=0))
    told = Input(continuation=first.continuation, tool_results=build_tool_results(first))
    second = interact(around, told, config=config, options=Options(temperature=0))
    interact(around, Input("Sure?", continuation=second.continuation), config=config, options=Options(temperature=0))

    by_hand, config = build_script(*answers)
    options = Options(**AROUND.settings, temperature=0)
    asked = run("Weather?", source=source, config=config, options=options)
    results = [{"role": "tool", "tool_call_id": "c0", "content": '{"sky": "blue", "city": "Rome"}'}]
    went_on = continue_tool(asked, results, config=config, options=options)
    run("Sure?", config=config, options=attrs.evolve(options, continue_from=went_on))

    assert len(script.requests) == 3
    assert script.requests == by_hand.requests


def test_continues_a_conversation_from_json():
    script, config = build_script("Hello Ada.", "Ada.")
    stored = interact(input="I am Ada.", config=config).continuation.to_json()
    interact(input=Input("Who am I?", continuation=Continuation.from_json(stored)), config=config)
    assert [turn["content"] for turn in script.requests[1]["history"]] == ["I am Ada.", "Hello Ada."]


def test_a_conversation_of_another_provider_is_refused_before_anything_is_sent():
    script = Script()
    continuation = interact(input="hi", config=CONFIG).continuation
    other = Config(provider="gemini", model="m", use_mock=True, plugins=[script])
    with pytest.raises(ConfigurationError, match="is with provider 'openai', not 'gemini'"):
        interact(input=Input("on", continuation=continuation), config=other)
    assert script.requests == []


def test_a_conversation_of_a_newer_release_is_refused_before_anything_is_sent():
    script, config = build_script()
    newer = Continuation.from_dict({"provider": "openai", "version": 99, "history": []})
    with pytest.raises(ConfigurationError, match="stored by a newer pollux-sync"):
        interact(input=Input("on", continuation=newer), config=config)
    assert script.requests == []


def test_sends_sources_once_per_conversation():
    script, config = build_script(calling("Rome"), "Blue.", "Yes.")
    around = attrs.evolve(AROUND, sources=[Source.from_text("a letter")])
    first = interact(around, "Weather?", config=config)
    told = Input(continuation=first.continuation, tool_results=build_tool_results(first))
    second = interact(around, told, config=config)
    stored = Continuation.from_json(second.continuation.to_json())
    interact(around, Input("Sure?", continuation=stored), config=config)
    assert list_parts(script) == [[{"text": "a letter"}], [], []]


def test_sends_a_source_that_was_added_later():
    script, config = build_script("one", "two", "three")
    letter, note = Source.from_text("a letter"), Source.from_text("a note")
    first = interact(Environment(sources=[letter]), "What?", config=config)
    both = Environment(sources=[letter, note])
    second = interact(both, Input("And this?", continuation=first.continuation), config=config)
    interact(both, Input("Well?", continuation=second.continuation), config=config)
    assert list_parts(script) == [[{"text": "a letter"}], [{"text": "a note"}], []]


def test_another_clip_of_a_video_is_another_source():
    script, config = build_script("one", "two")
    video = Source.from_youtube("https://youtu.be/x")
    first = interact(Environment(sources=[video]), "What?", config=config)
    clip = Environment(sources=[video.with_gemini_video_settings(start_offset="9s")])
    interact(clip, Input("And here?", continuation=first.continuation), config=config)
    assert list(map(len, list_parts(script))) == [1, 1]


@pytest.mark.parametrize("shown", [3, [3]])
def test_tolerates_an_invalid_list_of_shown_sources(shown):
    script, config = build_script("one")
    claimed = Continuation.from_dict({"provider": "openai", "history": [], "shown": shown})
    interact(Environment(sources=[Source.from_text("a")]), Input("on", continuation=claimed), config=config)
    assert list_parts(script) == [[{"text": "a"}]]


def test_a_conversation_that_another_program_stored_is_refused_before_anything_is_sent():
    script, config = build_script()
    foreign = Continuation.from_dict({"provider": "openai", "messages": [{"role": "user", "content": "a"}]})
    with pytest.raises(ConfigurationError, match="holds no history"):
        interact(input=Input("on", continuation=foreign), config=config)
    assert script.requests == []


def test_refuses_a_missing_source_before_sending(tmp_path):
    script, config = build_script()
    (tmp_path / "a.txt").write_text("text")
    around = Environment(sources=[Source.from_file(tmp_path / "a.txt")])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(SourceError, match="cannot read"):
        interact(around, "What?", config=config)
    assert script.requests == []


def test_continues_a_conversation_of_run():
    script, config = build_script(calling("Rome"), "Blue.")
    asked = Output(run("Weather?", config=config, options=Options(**AROUND.settings)))
    told = Input(continuation=asked.continuation, tool_results=build_tool_results(asked))
    assert interact(AROUND, told, config=config).text == "Blue."
    assert [turn["role"] for turn in script.requests[1]["history"]] == ["user", "assistant", "tool"]


def test_continues_a_conversation_with_continue_tool():
    _, config = build_script(calling("Rome"), "Blue.")
    asked = interact(AROUND, "Weather?", config=config)
    told = [result.to_turn() for result in build_tool_results(asked)]
    assert continue_tool(asked.envelope, told, config=config)["answers"] == ["Blue."]


def test_a_transcript_is_the_history():
    script, config = build_script("Red.")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    transcript = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [picture, {"type": "text", "text": "Which colour?"}]},
    ]
    output = interact(input=Input(history=messages_from_openai(transcript)), config=config)
    system, shown = script.requests[0]["history"]
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert (shown["parts"], shown["content"]) == ([{"asset": "mock://uploaded/image.png"}], "Which colour?")
    interact(input=Input("Sure?", continuation=output.continuation), config=config)
    assert [turn["content"] for turn in script.requests[1]["history"]] == ["Be brief.", "Which colour?", "Red."]


def test_results_may_answer_the_calls_of_a_transcript():
    script, config = build_script("Blue.")
    asked = [Message("user", "Weather?"), Message("assistant", tool_calls=[ToolCall("c", "weather", "{}")])]
    told = Input("And tomorrow?", history=asked, tool_results=[ToolResult("c", "no such city", is_error=True)])
    interact(AROUND, told, config=config)
    (request,) = script.requests
    assert [turn["role"] for turn in request["history"]] == ["user", "assistant", "tool"]
    assert (request["history"][-1]["is_error"], request["prompt"]) == (True, "And tomorrow?")


@pytest.mark.parametrize("ids", [["c0"], ["c0", "c2"], ["c0", "c1", "c1"]])
def test_each_call_wants_one_result(ids):
    script, config = build_script(calling("Rome", "Oslo"))
    asked = interact(AROUND, "Weather?", config=config)
    told = Input(continuation=asked.continuation, tool_results=[ToolResult(call_id, "x") for call_id in ids])
    with pytest.raises(ConfigurationError, match="the model called c0, c1"):
        interact(AROUND, told, config=config)
    assert len(script.requests) == 1


def test_a_call_is_not_passed_over():
    script, config = build_script(calling("Rome"))
    asked = interact(AROUND, "Weather?", config=config)
    with pytest.raises(ConfigurationError, match="the model called c0, which have no result yet") as caught:
        interact(AROUND, Input("Never mind.", continuation=asked.continuation), config=config)
    assert "is_error=True" in caught.value.hint
    assert len(script.requests) == 1


def test_stored_calls_that_are_none_are_refused():
    stored = {"provider": "openai", "history": [{"role": "assistant", "tool_calls": ["x"]}]}
    with pytest.raises(ConfigurationError, match="tool_calls"):
        interact(input=Input("on", continuation=Continuation.from_dict(stored)), config=CONFIG)


def test_sends_the_cache_of_the_environment():
    script, config = build_script("one")
    handle = create_cache([Source.from_text("a long story")], config=config)
    output = interact(Environment(cache=handle), "Who?", config=config)
    assert (script.requests[0]["cache"], output.metrics["cache_used"]) == (handle.name, True)


def test_options_say_the_rest():
    script, config = build_script('{"a": 1}')
    options = Options(response_schema={"type": "object"}, max_tokens=9)
    output = interact(None, "a?", config=config, options=options)
    assert (output.structured, script.requests[0]["max_tokens"]) == ({"a": 1}, 9)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"system_instruction": "x"}, "Environment(instructions=...)"),
        ({"tools": [{"name": "x"}]}, "Environment(tools=[...])"),
        ({"history": []}, "Input(history=[...])"),
        ({"continue_from": {}}, "Input(continuation=...)"),
    ],
)
def test_refuses_options_that_have_their_own_argument(fields, place):
    with pytest.raises(ConfigurationError, match="has a place of its own") as caught:
        interact(input="hi", config=CONFIG, options=Options(**fields))
    assert caught.value.hint == f"pass {place}"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"environment": "hi"}, "environment must be an Environment, got str"),
        ({}, "input must be an Input or a string, got NoneType"),
        ({"input": ["hi"]}, "input must be an Input or a string, got list"),
        ({"input": " "}, "content must not be empty"),
        ({"input": "hi", "options": {}}, "options must be Options, got dict"),
        ({"input": "hi", "config": {}}, "config must be a Config, got dict"),
    ],
)
def test_refuses_arguments_of_the_wrong_type(arguments, problem):
    with pytest.raises(ConfigurationError, match=problem):
        interact(**{"config": CONFIG} | arguments)


def test_asks_a_provider_without_conversations(config):
    output = interact(input="hi", config=config(plugins=[Script("hello")]))
    assert (output.text, output.continuation) == ("hello", None)


def test_the_arguments_of_the_call_can_be_had_apart():
    around = attrs.evolve(AROUND, sources=[Source.from_text("a")])
    asked = build_interaction(around, "Weather?", Options(temperature=0), ProviderInfo(name="any", options={"history"}))
    assert (asked.prompt, asked.sources) == ("Weather?", around.sources)
    assert asked.options == Options(**AROUND.settings, temperature=0, history=[])
    assert build_interaction(around, "Weather?", None, ProviderInfo(name="any")).options.history is None


def test_a_failure_carries_the_partial_result():
    _, config = build_script(APIError("no", kind="invalid_request"))
    with pytest.raises(APIError) as caught:
        interact(input="hi", config=config)
    assert Output(caught.value.partial_result).completion_status == "error"


def test_an_output_has_the_facts_of_the_envelope():
    reply = attrs.evolve(calling("Rome"), text="Let me look.", reasoning="hm", raw_finish_reason="tool_use")
    _, config = build_script(reply)
    output = interact(AROUND, "Weather?", config=config)
    assert (output.text, output.reasoning, output.structured, output.error) == ("Let me look.", "hm", None, None)
    assert output.tool_calls == reply.tool_calls
    assert (output.status, output.finish_reason, output.completion_status) == ("ok", "tool_calls", "clean")
    assert output.usage == Usage(input_tokens=2)
    assert output.metrics["n_calls"] == 1
    assert output.diagnostics["raw_responses"][0]["raw_finish_reason"] == "tool_use"
    assert output.continuation.to_dict() == output.envelope["_conversation_state"]
    assert repr(output) == "Output(ok, 'Let me look.')"


@attrs.frozen
class Place:
    city: str


def test_an_output_as_json_is_an_output_again():
    _, config = build_script({"city": "Rome"})
    output = interact(input="Where?", config=config, options=Options(response_schema=Place))
    stored = json.loads(json.dumps(output.to_jsonable()))
    assert stored == to_jsonable(output.envelope)
    assert (output.structured, Output(stored).structured) == (Place("Rome"), {"city": "Rome"})
    assert Output(stored).continuation == output.continuation


def test_an_answer_that_misses_its_schema_has_no_structure():
    _, config = build_script("no")
    output = interact(input="Where?", config=config, options=Options(response_schema=Place))
    assert (output.structured, output.text, output.status) == (None, "no", "ok")


def test_a_kept_failure_has_its_error():
    _, config = build_script(APIError("no", kind="invalid_request"))
    output = interact(input="hi", config=config, options=Options(on_error="keep"))
    assert (output.text, output.status, output.completion_status) == ("", "error", "error")
    assert (output.error["kind"], output.finish_reason, output.continuation) == ("invalid_request", None, None)
    assert (output.usage, output.tool_calls) == (Usage(), ())


@pytest.mark.parametrize(
    ("reason", "completion"),
    [
        ("stop", "clean"),
        ("tool_calls", "clean"),
        (None, "clean"),
        ("length", "truncated"),
        ("paused", "truncated"),
        ("content_filter", "cutoff"),
        ("refusal", "cutoff"),
        ("error", "error"),
    ],
)
def test_an_output_says_if_it_is_complete(reason, completion):
    _, config = build_script(Reply(text="Well", finish_reason=reason))
    assert interact(input="hi", config=config).completion_status == completion


def test_nothing_without_a_reason_is_an_error():
    _, config = build_script(Reply(text=" "))
    assert interact(input="hi", config=config, options=Options(on_error="keep")).completion_status == "error"


def test_several_answers_are_an_output_each():
    _, config = build_script(Reply(text="a", usage=Usage(input_tokens=1)), calling("Rome"), request_concurrency=1)
    result = run_many(["a", "b"], config=config, options=Options(**AROUND.settings))
    first, second = outputs(result)
    assert (first.text, first.usage, first.tool_calls) == ("a", Usage(input_tokens=1), ())
    assert second.tool_calls == calling("Rome").tool_calls
    assert second.envelope == result_of(result, 1)
    assert second.continuation.to_dict()["history"][0]["content"] == "b"


def test_an_output_names_the_tier_that_served_it_alone():
    _, config = build_script(Reply(text="a"), Reply(text="b", service_tier="flex"), request_concurrency=1)
    first, second = outputs(run_many(["a", "b"], config=config))
    assert (first.service_tier, second.service_tier) == (None, "flex")
    assert ["service_tiers" in output.metrics for output in (first, second)] == [False, True]


def test_no_answers_are_no_outputs():
    assert outputs(run_many([], config=CONFIG)) == []


def test_the_result_of_a_tool_loop_keeps_its_sums():
    _, config = build_script(calling("Rome"), Reply(text="Blue.", usage=Usage(input_tokens=3)))
    result = run_tools("Weather?", tools=[weather], config=config)
    (output,) = outputs(result)
    assert (output.text, output.usage) == ("Blue.", Usage(input_tokens=5))
    assert len(output.diagnostics["steps"]) == 2


def test_a_deferred_answer_is_an_output():
    output = Output(collect_deferred(defer("hi", config=CONFIG), config=CONFIG))
    assert (output.text, output.completion_status, output.continuation) == ("echo: hi", "clean", None)


@pytest.mark.parametrize("envelope", [None, {}, {"answers": []}, {"answers": ["a", "b"]}, {"answers": "a"}])
def test_refuses_envelopes_that_are_not_of_one_answer(envelope):
    with pytest.raises(ConfigurationError, match="an Output needs an envelope with one answer"):
        Output(envelope)
