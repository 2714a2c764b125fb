"""Calls that another configuration answers, and calls that it does not."""

import attrs
import pytest

from pollux_fallback import Fallback
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    PlanningError,
    Reply,
    RetryPolicy,
    Source,
    TextDelta,
    ToolCall,
    WebSearch,
    collect_deferred,
    defer_many,
    hookimpl,
    run,
    run_many,
    stream,
    stream_many,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import BrokenOff, Script, failing
from pollux_sync.testing.server import Answer

ONCE = RetryPolicy(max_attempts=1)


def build_config(*plugins, **fields):
    return Config(
        **({"provider": "openai", "model": "m", "use_mock": True, "retry": ONCE, "plugins": plugins} | fields)
    )


def ask_plainly(config, **arguments):
    return run("Who?", config=config, **arguments)


def ask_in_stream(config, **arguments):
    return stream("Who?", config=config, **arguments).result()


ASKS = pytest.mark.parametrize("ask", [ask_plainly, ask_in_stream])


@ASKS
def test_next_configuration_answers_and_the_result_says_so(ask):
    second = build_config(Script("Ishmael"), provider="anthropic", model="n")
    result = ask(build_config(Script(failing(529, "overloaded")), Fallback(second)))
    assert result["answers"] == ["Ishmael"]
    assert result["diagnostics"]["notes"] == [
        {
            "fallback": {
                "from": "openai/m",
                "to": "anthropic/n",
                "failures": [{"kind": "capacity", "message": "status 529: overloaded"}],
            }
        }
    ]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [529, 200]


@ASKS
def test_call_that_succeeds_stays_where_it_is(ask):
    script = Script()
    result = ask(build_config(Script("Ahab"), Fallback(build_config(script))))
    assert result["answers"] == ["Ahab"]
    assert "notes" not in result["diagnostics"]
    assert script.requests == []


@ASKS
def test_failure_of_another_kind_is_raised(ask):
    script = Script()
    with pytest.raises(APIError, match="status 400"):
        ask(build_config(Script(failing(400)), Fallback(build_config(script))))
    assert script.requests == []


def test_kinds_can_be_chosen():
    config = build_config(Script(failing(400)), Fallback(build_config(Script("Ishmael")), on={"invalid_request"}))
    assert run("Who?", config=config)["answers"] == ["Ishmael"]


@ASKS
def test_configurations_are_asked_in_their_order(ask):
    others = [build_config(Script(failing(503, "down")), model="n"), build_config(Script("Ishmael"), model="o")]
    result = ask(build_config(Script(failing(429, "slow")), Fallback(*others)))
    note = result["diagnostics"]["notes"][0]["fallback"]
    assert note["to"] == "openai/o"
    assert [failure["kind"] for failure in note["failures"]] == ["rate_limit", "capacity"]
    assert result["metrics"]["n_attempts"] == 3


@ASKS
def test_failure_of_all_is_the_last_one_with_all_attempts(ask):
    second = build_config(Script(failing(503, "down too")), model="n")
    with pytest.raises(APIError, match="down too") as caught:
        ask(build_config(Script(failing(529, "overloaded")), Fallback(second)))
    assert [attempt.status_code for attempt in caught.value.attempts] == [529, 503]
    assert "before the fallback: status 529: overloaded" in caught.value.__notes__


@ASKS
def test_refusal_of_the_next_configurations_middleware_tells_of_the_failure_before(ask):
    class Refusing:
        @hookimpl
        def pollux_call(self):
            raise PlanningError("no budget is left")

        @hookimpl
        def pollux_call_stream(self):
            raise PlanningError("no budget is left")

    second = build_config(Script(), Refusing(), model="n")
    with pytest.raises(PlanningError, match="no budget is left") as caught:
        ask(build_config(Script(failing(503, "down")), Fallback(second)))
    assert [attempt.status_code for attempt in caught.value.attempts] == [503]
    assert "before the fallback: status 503: down" in caught.value.__notes__


def test_retries_come_before_the_fallback():
    retry = RetryPolicy(max_attempts=3, initial_delay_s=0)
    script = Script(failing(503), failing(503), "Ahab")
    result = run("Who?", config=build_config(script, Fallback(build_config(Script())), retry=retry))
    assert result["answers"] == ["Ahab"]


def test_stream_that_has_begun_is_not_taken_over():
    second = Script("Ishmael")
    config = build_config(Script(BrokenOff("half an")), Fallback(build_config(second)))
    with pytest.raises(APIError, match="broke off") as caught:
        stream("Who?", config=config).result()
    assert caught.value.partial_text == "half an"
    assert second.requests == []


def test_all_that_a_call_asks_for_goes_along(server, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    second = Config(provider="local", model="n", base_url=f"{server.url}/v1", plugins=())
    config = build_config(Script(failing(503)), Fallback(second), provider="openai")
    options = Options(
        system_instruction="Be brief.",
        temperature=0.5,
        history=[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ahoy."}],
    )
    sources = [Source.from_text("A whale."), Source.from_file(tmp_path / "a.png")]
    run_many(["Who?"], sources=sources, config=config, options=options)
    (request,) = server.requests
    body = request.json()
    assert body["model"] == "n"
    assert body["temperature"] == 0.5
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in body["messages"][:3]] == ["Be brief.", "Hi.", "Ahoy."]
    last = body["messages"][3]["content"]
    assert "A whale." in str(last)
    assert "data:image/png;base64," in str(last)
    assert "Who?" in str(last)


def test_call_goes_along_as_middleware_has_rewritten_it(server):
    class Rewriting:
        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self):
            call = yield
            return attrs.evolve(call, prompt=call.prompt.replace("Ahab", "NAME"))

    second = Config(provider="local", model="n", base_url=f"{server.url}/v1", plugins=())
    config = build_config(Script(failing(503)), Fallback(second), Rewriting())
    assert run("Who is Ahab?", config=config)["answers"] == ["echo: Who is NAME?"]


def test_conversation_goes_on_after_a_switch(server):
    second = Config(provider="local", model="n", base_url=f"{server.url}/v1", plugins=())
    script = Script("one", failing(503), "three")
    config = build_config(script, Fallback(second))
    first = run("First?", config=config, options=Options(history=[]))
    middle = run("Second?", config=config, options=Options(continue_from=first))
    last = run("Third?", config=config, options=Options(continue_from=middle))
    assert [result["answers"][0] for result in (first, middle, last)] == ["one", "echo: Second?", "three"]
    assert [message["content"] for message in server.requests[0].json()["messages"]] == ["First?", "one", "Second?"]


@attrs.frozen
class Stars:
    by_name: dict[str, int]


def test_typed_answer_is_read_although_its_dialect_differs(server):
    # OpenAI's dialect has no maps: it asks for a list of pairs. The other provider answers with a map.
    server.reply(Answer(status=503, json={"error": {"message": "down"}}))
    server.answer = lambda _: '{"by_name": {"chair": 4}}'
    second = Config(provider="local", model="n", base_url=f"{server.url}/v1", plugins=())
    config = Config(
        provider="openai",
        model="m",
        api_key="k",
        base_url=f"{server.url}/v1",
        retry=ONCE,
        plugins=[Fallback(second)],
    )
    result = run("Who?", config=config, options=Options(response_schema=Stars))
    asked = [request.json() for request in server.requests]
    assert asked[0]["text"]["format"]["schema"] != asked[1]["response_format"]["json_schema"]["schema"]
    assert result["structured"] == [Stars({"chair": 4})]


def test_typed_answer_that_does_not_fit_is_reported():
    config = build_config(Script(failing(503)), Fallback(build_config(Script("no JSON"))))
    result = run("Who?", config=config, options=Options(response_schema=Stars))
    assert result["structured"] == [None]
    assert "not JSON" in result["diagnostics"]["schema_errors"][0]


@ASKS
def test_tool_calls_of_the_next_configuration_are_passed_on(ask):
    called = Reply(tool_calls=(ToolCall("1", "look", "{}"),), finish_reason="tool_calls")
    config = build_config(Script(failing(503)), Fallback(build_config(Script(called))))
    assert ask(config)["tool_calls"][0][0]["name"] == "look"


@ASKS
def test_option_that_the_next_provider_refuses_is_found_before_the_first_call(ask):
    script = Script("Ahab")
    second = Config(provider="local", model="n", base_url="http://127.0.0.1:9/v1", plugins=())
    config = Config(provider="anthropic", model="m", use_mock=True, plugins=[script, Fallback(second)])
    with pytest.raises(ConfigurationError, match=r"the fallback to local/n cannot take this call: .*WebSearch"):
        ask(config, options=Options(tools=[WebSearch()]))
    assert script.requests == []


def test_next_configurations_middleware_takes_part():
    class Counting:
        count = 0

        @hookimpl(wrapper=True)
        def pollux_call(self):
            self.count += 1
            return (yield)

    counting = Counting()
    run("Who?", config=build_config(Script(failing(503)), Fallback(build_config(Script("a"), counting))))
    assert counting.count == 1


def test_several_prompts_fall_back_each_for_itself():
    script = Script(otherwise="Ahab").on("second", failing(503))
    config = build_config(script, Fallback(build_config(Script("Ishmael"))))
    result = run_many(["first", "second", "third"], config=config)
    assert result["answers"] == ["Ahab", "Ishmael", "Ahab"]
    assert [bool(notes) for notes in result["diagnostics"]["notes"]] == [False, True, False]


def test_several_streams_fall_back_each_for_itself():
    script = Script(otherwise="Ahab").on("second", failing(503))
    config = build_config(script, Fallback(build_config(Script("Ishmael"))))
    events = list(stream_many(["first", "second"], config=config))
    texts = {0: "", 1: ""}
    for event in events:
        if isinstance(event, TextDelta):
            texts[event.call_idx] += event.text
    assert texts == {0: "Ahab", 1: "Ishmael"}


def test_nothing_is_asked_after_a_stop():
    script = Script("Ishmael")
    fallback = Fallback(build_config(script))

    class Stopping:
        @hookimpl
        def pollux_call(self, call, proceed, stop):
            stop.set()
            raise APIError("down", kind="capacity")

    with pytest.raises(APIError, match="down"):
        run("Who?", config=build_config(Stopping(), fallback))
    assert script.requests == []


def test_what_the_next_provider_refuses_of_any_source_is_found_before_the_first_call(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom")
    sources = [Source.from_text("Ahab"), Source.from_file(tmp_path / "film.mp4")]
    script = Script(otherwise="Ahab")
    second = Config(provider="local", model="n", base_url="http://127.0.0.1:9/v1", plugins=())
    config = build_config(script, Fallback(second))
    with pytest.raises(ConfigurationError, match=r"the fallback to local/n cannot take this call: .*film\.mp4"):
        run_many("Who?", sources=sources, config=config, per_source=True)
    assert script.requests == []


def test_job_may_hold_what_the_next_provider_refuses():
    second = Config(provider="local", model="n", base_url="http://127.0.0.1:9/v1", plugins=())
    config = Config(provider="anthropic", model="m", use_mock=True, plugins=[Script("Ahab"), Fallback(second)])
    handle = defer_many(["Who?"], config=config, options=Options(tools=[WebSearch()]))
    assert collect_deferred(handle, config=config)["answers"] == ["Ahab"]


def test_jobs_are_left_alone():
    script = Script("Ishmael")
    config = build_config(Script(failing(503)), Fallback(build_config(script)))
    result = collect_deferred(defer_many(["Who?"], config=config), config=config)
    assert result["status"] == "error"
    assert script.requests == []


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Fallback("anthropic"), "a fallback takes Configs, got str"),
        (lambda: Fallback(build_config(), on={"weather"}), "there is no kind of failure 'weather'"),
        (lambda: Fallback(build_config(Fallback(build_config()))), "has a fallback of its own"),
    ],
)
def test_bad_setting_is_refused(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()


def test_missing_setting_is_refused_before_anything_is_sent():
    script = Script("never")
    with pytest.raises(ConfigurationError, match="a fallback needs a configuration"):
        run("Who?", config=build_config(script, Fallback()))
    assert script.requests == []


def test_environment_has_the_settings(monkeypatch):
    monkeypatch.setenv("POLLUX_FALLBACK_TO", "anthropic/claude-sonnet-4-5, openrouter/openai/gpt-5-mini")
    monkeypatch.setenv("POLLUX_FALLBACK_ON", "capacity")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    fallback = Fallback()
    assert [(config.provider, config.model) for config in fallback._to] == [
        ("anthropic", "claude-sonnet-4-5"),
        ("openrouter", "openai/gpt-5-mini"),
    ]
    assert fallback._on == {"capacity"}


def test_environment_without_a_model_is_refused(monkeypatch):
    monkeypatch.setenv("POLLUX_FALLBACK_TO", "anthropic")
    with pytest.raises(ConfigurationError, match="POLLUX_FALLBACK_TO names no model in 'anthropic'"):
        Fallback()


def test_is_enabled_by_its_name(monkeypatch):
    monkeypatch.setenv("POLLUX_FALLBACK_TO", "local/m")
    monkeypatch.setenv("POLLUX_LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    assert isinstance(load(MIDDLEWARE, "fallback").plugin, Fallback)
