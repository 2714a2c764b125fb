"""The core's HTTP client and the caller's SDK client: the same requests, replies and errors."""

import attrs
import pytest
from openai import OpenAI

from pollux_sync import (
    APIError,
    Config,
    Options,
    continue_tool,
    explain,
    run,
    to_jsonable,
)
from pollux_sync.testing.server import (
    Answer,
)
from responses_api import KEY, answer, function_call, message, refusal, thought

TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@attrs.frozen
class City:
    name: str
    twins: dict[str, int]


def test_asks_and_answers(server, config):
    server.reply(answer(thought("easy"), message("four")))
    result = run("2 + 2?", config=config(), options=Options(reasoning_effort="low", max_tokens=9))
    (request,) = server.requests
    assert result["answers"] == ["four"]
    assert result["reasoning"] == ["easy"]
    assert result["usage"]["reasoning_tokens"] == 3
    assert (request.method, request.path) == ("POST", "/v1/responses")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json() == {
        "model": "gpt-5-mini",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "2 + 2?"}]}],
        "max_output_tokens": 9,
        "reasoning": {"effort": "low", "summary": "auto"},
    }


def test_gives_typed_answers(server, config):
    server.reply(answer(message('{"name": "Bonn", "twins": [{"key": "Oxford", "value": 1947}]}')))
    result = run("Bonn?", config=config(), options=Options(response_schema=City))
    assert result["structured"] == [City("Bonn", {"Oxford": 1947})]


def test_goes_on_after_a_tool_call(server, config):
    server.reply(answer(function_call("weather", '{"city":"Rome"}')), answer(message("sunny"), id="resp_2"))
    options = Options(tools=[TOOL])
    asked = run("weather?", config=config(), options=options)
    told = [{"role": "tool", "tool_call_id": asked["tool_calls"][0][0]["id"], "content": "sun"}]
    result = continue_tool(to_jsonable(asked), told, config=config(), options=options)
    second = server.requests[1].json()
    assert result["answers"] == ["sunny"]
    assert second["previous_response_id"] == "resp_1"
    assert second["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "sun"}]


def test_names_a_refusal(server, config):
    server.reply(answer(refusal("no")))
    assert run("hi", config=config())["metrics"]["finish_reasons"] == ["refusal"]


def test_passes_raw_fields(server, config):
    server.reply(answer(message("x")))
    run("hi", config=config(), options=Options(provider_options={"openai": {"truncation": "auto", "store": False}}))
    body = server.requests[0].json()
    assert (body["truncation"], body["store"]) == ("auto", False)


def test_shows_the_tier_that_served_beside_the_one_that_was_asked_for(server, config):
    server.reply(answer(message("x"), service_tier="default"))
    result = run("hi", config=config(), options=Options(service_tier="flex"))
    assert server.requests[0].json()["service_tier"] == "flex"
    assert result["metrics"]["service_tiers"] == ["default"]


def test_asks_again_where_the_flex_tier_is_full(server, config):
    full = {"error": {"message": "Resource unavailable", "type": "server_error", "code": "resource_unavailable"}}
    server.reply(Answer(status=429, json=full), answer(message("x"), service_tier="flex"))
    result = run("hi", config=config(), options=Options(service_tier="flex"))
    assert [attempt["kind"] for attempt in result["diagnostics"]["attempts"][0]] == ["capacity", None]


def test_has_the_tokens_of_a_request_counted(server, config):
    server.reply(Answer(json={"object": "response.input_tokens", "input_tokens": 42}))
    raw = {"truncation": "auto", "store": False}
    options = Options(system_instruction="Be brief.", temperature=0.5, max_tokens=9, provider_options={"openai": raw})
    (explained,) = explain("hi", config=config(), options=options, count_tokens=True).requests
    (request,) = server.requests
    assert explained.counted_input_tokens == 42
    assert (request.method, request.path) == ("POST", "/v1/responses/input_tokens")
    assert request.json() == {
        "model": "gpt-5-mini",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "instructions": "Be brief.",
        "truncation": "auto",
    }


def error(message="it broke", **fields):
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None} | fields}


def test_reports_an_answer_without_output(server, config):
    server.reply(Answer(json={"object": "list"}))
    with pytest.raises(APIError, match="no output") as caught:
        run("hi", config=config())
    assert (caught.value.kind, caught.value.status_code, len(server.requests)) == ("malformed", 200, 1)


def test_keeps_the_request_id_of_a_failure(server, config):
    server.reply(Answer(status=400, json=error("no"), headers={"x-request-id": "req_9"}))
    with pytest.raises(APIError) as caught:
        run("hi", config=config())
    assert caught.value.request_id == "req_9"


def test_hides_a_client_in_reprs(config):
    shown = repr(config())
    assert KEY not in shown
    assert ("client=OpenAI" in shown) == (config.way == "sdk")


def test_both_ways_give_equal_replies(server):
    base_url = f"{server.url}/v1"
    with OpenAI(api_key=KEY, base_url=base_url) as client:
        ways = ({"client": client}, {"api_key": KEY, "base_url": base_url})
        results = []
        for way in ways:
            server.reply(answer(thought("hm"), message("four"), function_call("weather", '{"city":"Rome"}')))
            config = Config(provider="openai", model="m", **way)
            results.append(run("2 + 2?", config=config, options=Options(tools=[TOOL])))
    for result in results:
        del result["metrics"]["duration_s"], result["diagnostics"]["attempts"]
    bodies = [request.json() for request in server.requests]
    assert bodies[0] == bodies[1]
    assert results[0] == results[1]


def test_returns_any_object_in_json_mode(server, config):
    server.reply(answer(message('{"name": "Ada", "born": 1815}')))
    result = run("Who? Answer as JSON.", config=config(), options=Options(response_schema=dict))
    assert server.requests[0].json()["text"] == {"format": {"type": "json_object"}}
    assert result["structured"] == [{"name": "Ada", "born": 1815}]
