"""The core's HTTP client and the caller's SDK client: the same requests, replies and errors."""

import attrs
import pytest
from anthropic import Anthropic

from messages_api import REDACTED, answer, text, thinking, tool_use
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Source,
    continue_tool,
    explain,
    run,
    run_many,
    to_jsonable,
)
from pollux_sync.testing.server import (
    Answer,
)

KEY = "sk-ant-very-secret"
TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@attrs.frozen
class City:
    name: str
    twins: dict[str, int]


def test_asks_and_answers(server, config):
    server.reply(answer(thinking("easy"), text("four")))
    result = run("2 + 2?", config=config(), options=Options(reasoning_effort="low", max_tokens=4000))
    (request,) = server.requests
    assert result["answers"] == ["four"]
    assert result["reasoning"] == ["easy"]
    assert result["usage"]["cache_write_tokens"] == 2
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.json() == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": [text("2 + 2?")]}],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "cache_control": {"type": "ephemeral"},
    }


def test_has_the_tokens_of_a_request_counted(server, config):
    server.reply(Answer(json={"input_tokens": 42}))
    options = Options(reasoning_effort="low", max_tokens=4000, tools=[TOOL], system_instruction="Be brief.")
    (explained,) = explain("hi", config=config(), options=options, count_tokens=True).requests
    (request,) = server.requests
    assert explained.counted_input_tokens == 42
    assert (request.method, request.path) == ("POST", "/v1/messages/count_tokens")
    assert request.json() == {name: value for name, value in explained.body.items() if name != "max_tokens"}
    assert request.headers["anthropic-beta"] == explained.headers["anthropic-beta"]


def test_sends_the_key_in_the_header_of_its_client(server, config):
    server.reply(answer(text("x")))
    run("hi", config=config())
    headers = server.requests[0].headers
    if config.way == "direct":
        assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in headers
    else:
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["anthropic-version"] != "2023-06-01"


def test_fans_out_without_caching(server, config):
    def reply(request):
        return answer(text(request.json()["messages"][0]["content"][-1]["text"].upper()))

    server.handler = reply
    prompts = [f"p{number}" for number in range(20)]
    result = run_many(prompts, sources=[Source.from_text("shared")], config=config())
    assert result["answers"] == [prompt.upper() for prompt in prompts]
    assert not any("cache_control" in request.json() for request in server.requests)


@pytest.mark.parametrize(
    ("prompts", "wanted", "is_cached"),
    [(["a"], None, True), (["a"], False, False), (["a", "b"], None, False), (["a", "b"], True, True)],
)
def test_caches_with_implicit_caching_or_for_a_single_prompt(server, config, prompts, wanted, is_cached):
    server.handler = lambda _: answer(text("x"))
    run_many(prompts, config=config(), options=Options(implicit_caching=wanted))
    assert {"cache_control" in request.json() for request in server.requests} == {is_cached}


def test_gives_typed_answers(server, config):
    server.reply(answer(text('{"name": "Bonn", "twins": [{"key": "Oxford", "value": 1947}]}')))
    result = run("Bonn?", config=config(), options=Options(response_schema=City))
    assert result["structured"] == [City("Bonn", {"Oxford": 1947})]


def test_goes_on_after_a_tool_call_with_its_thoughts(server, config):
    blocks = [thinking("I need the weather"), REDACTED, text("let me see"), tool_use("weather", {"city": "Rome"})]
    server.reply(answer(*blocks, stop_reason="tool_use"), answer(text("sunny"), id="msg_2"), answer(text("bye")))
    options = Options(tools=[TOOL], reasoning_effort="low")
    asked = run("weather?", config=config(), options=options)
    told = [{"role": "tool", "tool_call_id": asked["tool_calls"][0][0]["id"], "content": {"sky": "clear"}}]
    result = continue_tool(to_jsonable(asked), told, config=config(), options=options)
    run("thanks", config=config(), options=Options(continue_from=to_jsonable(result)))
    result_block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": '{"sky": "clear"}'}
    turns = [
        {"role": "user", "content": [text("weather?")]},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result_block]},
    ]
    more = [{"role": "assistant", "content": [text("sunny")]}, {"role": "user", "content": [text("thanks")]}]
    assert result["answers"] == ["sunny"]
    assert server.requests[1].json()["messages"] == turns
    assert server.requests[2].json()["messages"] == turns + more
    assert server.requests[1].headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"


def test_names_a_refusal(server, config):
    server.reply(answer(stop_reason="refusal"))
    assert run("hi", config=config())["metrics"]["finish_reasons"] == ["refusal"]


def test_passes_raw_fields(server, config):
    server.reply(answer(text("x")))
    run(
        "hi",
        config=config(),
        options=Options(provider_options={"anthropic": {"top_k": 5, "metadata": {"user_id": "u"}}}),
    )
    body = server.requests[0].json()
    assert (body["top_k"], body["metadata"]) == (5, {"user_id": "u"})


@pytest.mark.parametrize("settings", [{}, {"reasoning_budget_tokens": 0}])
def test_refuses_to_show_thoughts_of_a_call_that_does_not_think(server, config, settings):
    with pytest.raises(ConfigurationError, match="does not think") as caught:
        run("hi", config=config(), options=Options(reasoning_summary="auto", **settings))
    assert "set reasoning_effort" in caught.value.hint
    assert server.requests == []


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_refuses_a_tier_that_the_service_does_not_have(server, config, tier):
    with pytest.raises(ConfigurationError, match=f"no service_tier '{tier}'") as caught:
        run("hi", config=config(), options=Options(service_tier=tier))
    assert "'auto'" in caught.value.hint
    assert server.requests == []


def test_keeps_the_betas_of_the_callers_client(server):
    server.reply(answer(text("x")))
    with Anthropic(api_key=KEY, base_url=server.url, default_headers={"anthropic-beta": "mine"}) as client:
        config = Config(provider="anthropic", model="claude-sonnet-4-5", client=client)
        run("hi", config=config, options=Options(tools=[TOOL], reasoning_effort="low"))
    assert server.requests[0].headers["anthropic-beta"] == "mine,interleaved-thinking-2025-05-14"


def error(message="it broke", kind="some_error"):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def test_reports_an_answer_without_content(server, config):
    server.reply(Answer(json={"object": "list"}))
    with pytest.raises(APIError, match="no content") as caught:
        run("hi", config=config())
    assert (caught.value.kind, caught.value.status_code, len(server.requests)) == ("malformed", 200, 1)


def test_keeps_the_request_id_of_a_failure(server, config):
    server.reply(Answer(status=400, json=error("no"), headers={"request-id": "req_9"}))
    with pytest.raises(APIError) as caught:
        run("hi", config=config())
    assert caught.value.request_id == "req_9"


def test_hides_a_client_in_reprs(config):
    shown = repr(config())
    assert KEY not in shown
    assert ("client=Anthropic" in shown) == (config.way == "sdk")


def test_both_ways_give_equal_replies(server):
    base_url = server.url
    with Anthropic(api_key=KEY, base_url=base_url) as client:
        ways = ({"client": client}, {"api_key": KEY, "base_url": base_url})
        results = []
        for way in ways:
            server.reply(answer(thinking("hm"), text("four"), tool_use("weather", {"city": "Rome"})))
            config = Config(provider="anthropic", model="m", **way)
            results.append(run("2 + 2?", config=config, options=Options(tools=[TOOL])))
    for result in results:
        del result["metrics"]["duration_s"], result["diagnostics"]["attempts"]
    bodies = [request.json() for request in server.requests]
    assert bodies[0] == bodies[1]
    assert results[0] == results[1]
