import contextvars
import json
import sys
import threading
from typing import Any

import attrs
import pytest

from acme_server import FileServer, build_answer
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Reply,
    Source,
    Terminated,
    ToolCall,
    Usage,
    hookimpl,
    run,
    run_many,
    stream,
    to_jsonable,
)
from pollux_sync.data.events import CallFinished
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer


@attrs.frozen
class Person:
    name: str
    age: int


MOCK = Config(provider="openai", model="m", use_mock=True)


def mock(*answers, **fields):
    return attrs.evolve(MOCK, plugins=[Script(*answers)], **fields)


def test_answers_one_prompt(server, config):
    server.reply(build_answer("four"))
    result = run("2 + 2?", config=config())
    assert (result["status"], result["answers"]) == ("ok", ["four"])
    assert result["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert (result["confidence"], result["extraction_method"]) == (0.9, "text")
    assert result["metrics"]["n_calls"] == result["metrics"]["n_attempts"] == 1
    assert result["metrics"]["finish_reasons"] == ["stop"]
    assert result["metrics"]["cache_used"] is False
    assert result["diagnostics"]["raw_responses"][0]["text"] == "four"


def test_shows_the_tiers_that_served_if_any_was_reported():
    config = mock(Reply(text="a"), Reply(text="b", service_tier="flex"), request_concurrency=1)
    result = run_many(["a", "b"], config=config)
    assert result["metrics"]["service_tiers"] == [None, "flex"]
    assert result["diagnostics"]["raw_responses"][1]["service_tier"] == "flex"
    assert "service_tiers" not in run("a", config=mock(Reply(text="a")))["metrics"]


def test_leaves_out_fields_that_no_call_reported(server, config):
    server.reply(build_answer())
    result = run("hi", config=config())
    assert not {"structured", "reasoning", "tool_calls", "errors", "_conversation_state"} & set(result)


def test_shows_every_prompt_every_source(server, config):
    server.handler = FileServer()
    sources = [Source.from_text("one"), Source.from_json({"two": 2})]
    run_many(["a", "b"], sources=sources, config=config())
    parts = [request.json()["parts"] for request in server.requests]
    texts = ['<source name="one">\none\n</source>', '<source name="json-data">\n{"two": 2}\n</source>']
    assert parts == [[{"text": text} for text in texts]] * 2


def test_asks_each_source_on_its_own_with_per_source(server, config):
    server.handler = lambda request: build_answer(f"{request.json()['parts'][0]['text']}-{request.json()['prompt']}")
    sources = [Source.from_text("x"), Source.from_text("y")]
    result = run_many(["1", "2", "3"], sources=sources, config=config(), per_source=True)
    assert result["answers"] == ["x-1", "x-2", "x-3", "y-1", "y-2", "y-3"]
    assert result["metrics"]["n_calls"] == 6


def test_keeps_prompt_order_for_any_timing(server, config):
    def slow_for_early_ones(request):
        number = int(request.json()["prompt"])
        return Answer(json={"answer": str(number)}, delay_s=0.05 if number % 4 == 0 else 0.0)

    server.handler = slow_for_early_ones
    prompts = [str(number) for number in range(24)]
    assert run_many(prompts, config=config())["answers"] == prompts


def test_keeps_within_the_concurrency(server, config):
    lock, now, most, together = threading.Lock(), [0], [0], threading.Barrier(3)

    class Watched(Answer):
        def play(self, wire):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            together.wait(20)
            wire.pause(0.01)
            with lock:
                now[0] -= 1
            super().play(wire)

    server.handler = lambda _: Watched(json={"answer": "x"})
    run_many(["p"] * 12, config=config(request_concurrency=3))
    assert most[0] == 3


@pytest.mark.parametrize("prompts", [[], ()])
def test_returns_an_empty_envelope_for_no_prompts(server, config, prompts):
    result = run_many(prompts, config=config())
    assert (result["status"], result["answers"], result["metrics"]["n_calls"]) == ("ok", [], 0)
    assert server.requests == []


def test_sends_the_source_alone_for_a_none_prompt(server, config):
    server.reply(build_answer())
    run(source=Source.from_text("only this"), config=config())
    assert server.requests[0].json() == {"model": "m", "prompt": None, "parts": [{"text": "only this"}]}


def test_sees_the_callers_context_variables(config, server):
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = set()

    class Watch:
        @hookimpl
        def pollux_event(self, event: Any) -> None:
            seen.add(tenant.get())

    server.handler = FileServer()
    tenant.set("acme")
    run_many(["a", "b", "c"], config=config(plugins=[Watch()]))
    assert seen == {"acme"}


def test_status_is_partial_when_some_answers_are_blank(server, config):
    server.handler = lambda request: build_answer("" if request.json()["prompt"] == "b" else "x")
    assert run_many(["a", "b"], config=config(), options=Options(on_error="keep"))["status"] == "partial"


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("length", "raise max_tokens"),
        ("paused", "continue_from=result"),
        ("content_filter", "change the prompt"),
        ("refusal", "refused"),
    ],
)
def test_tells_why_an_answer_is_missing_and_raises_nothing(reason, hint):
    script = Script(Reply(text=" ", finish_reason=reason), "fine")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script], request_concurrency=1)
    result = run_many(["a", "b"], config=config)
    first, second = result["errors"]
    assert (first["message"].startswith("the answer is empty"), hint in first["hint"], second) == (True, True, None)


@pytest.mark.parametrize(("reason", "hint"), [("length", "raise max_tokens"), ("paused", "continue_from=result")])
def test_tells_why_an_answer_does_not_fit_its_schema(reason, hint):
    reply = Reply(text='{"n": ', finish_reason=reason)
    result = run("a", config=mock(reply), options=Options(response_schema=dict[str, int]))
    assert hint in result["diagnostics"]["schema_errors"][0]


@pytest.mark.parametrize("reply", [Reply(), Reply(reasoning="hm", finish_reason="stop")])
def test_an_empty_answer_in_a_conversation_is_told_and_not_raised(reply):
    result = run("a", config=mock(reply), options=Options(history=[]))
    assert (result["status"], result["errors"][0]["kind"]) == ("error", "empty")
    # Nothing was raised, so there is nothing to switch off.
    assert "on_error" not in result["errors"][0]["hint"]


@pytest.mark.parametrize("name", ["images", "audio", "items"])
def test_an_answer_of_an_image_or_sound_alone_is_an_answer(name):
    result = run("a", config=mock(Reply(artifacts={name: ["x"]})))
    assert (result["status"], "errors" in result) == ("ok", False)


def test_facts_about_an_answer_are_no_answer():
    with pytest.raises(APIError, match="the answer is empty"):
        run("a", config=mock(Reply(artifacts={"service_tier": "default"})))


def test_status_is_error_when_all_answers_are_blank(server, config):
    server.reply(build_answer(" \n"))
    result = run("a", config=config(), options=Options(on_error="keep"))
    assert (result["status"], result["confidence"]) == ("error", 0.5)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(text=" \n", finish_reason="stop"),
        Reply(reasoning="hm", finish_reason="stop"),
        Reply(finish_reason="tool_calls"),
        Reply(finish_reason="error"),
    ],
)
@pytest.mark.parametrize(
    "ask", [run, lambda *given, **fields: stream(*given, **fields).result()], ids=["run", "stream"]
)
def test_raises_for_an_empty_answer_and_keeps_the_reply(ask, reply):
    reply = attrs.evolve(reply, usage=Usage(output_tokens=7))
    with pytest.raises(APIError, match="the answer is empty") as caught:
        ask("a", config=mock(reply))
    error, partial = caught.value, caught.value.partial_result
    assert (error.kind, error.retryable, error.phase, error.call_idx, len(error.attempts)) == (
        "empty",
        False,
        "generate",
        0,
        1,
    )
    assert (partial["status"], partial["usage"]) == ("error", {"output_tokens": 7})
    assert partial["errors"][0]["kind"] == "empty"
    assert partial["diagnostics"]["raw_responses"][0]["text"] == reply.text
    assert partial.get("reasoning", [None]) == [reply.reasoning]


def test_an_empty_answer_loses_no_other_answer():
    config = mock("one", "", "three", request_concurrency=1)
    with pytest.raises(APIError, match="empty") as caught:
        run_many(["a", "b", "c"], config=config)
    assert (caught.value.call_idx, caught.value.partial_result["answers"]) == (1, ["one", "", "three"])


def test_an_empty_answer_can_be_kept():
    result = run("a", config=mock(""), options=Options(on_error="keep"))
    assert (result["answers"], result["errors"][0]["kind"]) == ([""], "empty")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(tool_calls=(ToolCall("1", "look", "{}"),)),
        Reply(artifacts={"items": [{"type": "image_generation_call"}]}, finish_reason="stop"),
    ],
    ids=["tool call", "artifact"],
)
def test_an_answer_without_text_is_not_empty_if_it_holds_something_else(reply):
    assert "errors" not in run("a", config=mock(reply))


def test_gives_typed_answers(server, config):
    server.reply(build_answer('{"name": "Ada", "age": 36}'))
    result = run("who?", config=config(), options=Options(response_schema=Person))
    assert result["structured"] == [Person("Ada", 36)]
    assert result["diagnostics"]["schema_errors"] == [None]


def test_says_where_an_answer_misses_the_schema(server, config):
    server.reply(build_answer('{"name": "Ada", "age": "old"}'))
    result = run("who?", config=config(), options=Options(response_schema=Person))
    assert (result["status"], result["structured"]) == ("ok", [None])
    assert result["answers"] == ['{"name": "Ada", "age": "old"}']
    assert "$.age" in result["diagnostics"]["schema_errors"][0]


def test_envelope_becomes_json_by_one_call(server, config):
    server.reply(build_answer('{"name": "Ada", "age": 36}'))
    result = run("who?", config=config(), options=Options(response_schema=Person))
    again = json.loads(json.dumps(to_jsonable(result)))
    assert again["structured"] == [{"name": "Ada", "age": 36}]
    assert again["usage"] == result["usage"]


def test_passes_raw_provider_options_through(server, config):
    server.reply(build_answer())
    run("hi", config=config(), options=Options(provider_options={"acme": {"beam": 4}}))
    assert server.requests[0].json()["beam"] == 4


def test_reuses_one_connection_over_many_calls(server, config):
    server.handler = FileServer()
    for _ in range(5):
        run("hi", config=config())
    assert {request.connection for request in server.requests} == {1}


def test_one_failed_prompt_loses_no_other_answer(server, config):
    files = server.handler = FileServer()
    files.failing_prompts = {"p7": 400}
    prompts = [f"p{number}" for number in range(20)]
    with pytest.raises(APIError, match="no to p7") as caught:
        run_many(prompts, config=config())
    error, partial = caught.value, caught.value.partial_result
    assert (error.call_idx, error.status_code, error.phase, error.provider) == (7, 400, "generate", "acme")
    assert partial["status"] == "partial"
    assert partial["answers"] == ["" if p == "p7" else p.upper() for p in prompts]
    assert [index for index, entry in enumerate(partial["errors"]) if entry] == [7]


def test_keeps_errors_in_the_envelope_with_on_error_keep(server, config):
    files = server.handler = FileServer()
    files.failing_prompts = {"b": 400}
    result = run_many(["a", "b"], config=config(), options=Options(on_error="keep"))
    assert result["answers"] == ["A", ""]
    assert result["errors"][0] is None
    assert result["errors"][1] | {"message": ""} == {
        "type": "APIError",
        "message": "",
        "hint": None,
        "kind": "invalid_request",
        "status_code": 400,
        "retryable": False,
        "provider_code": None,
        "source": None,
    }
    assert result["diagnostics"]["raw_responses"][1] is None


def test_raises_the_lowest_index_of_several_failures(server, config):
    files = server.handler = FileServer()
    files.failing_prompts = {"b": 400, "d": 404}
    with pytest.raises(APIError) as caught:
        run_many(["a", "b", "c", "d"], config=config())
    assert (caught.value.call_idx, caught.value.status_code) == (1, 400)


def test_a_bad_key_stops_calls_that_have_not_started(server, config):
    server.handler = lambda _: Answer(status=401, json={"error": "bad key"})
    with pytest.raises(APIError) as caught:
        run_many(["p"] * 40, config=config(request_concurrency=4))
    assert len(server.requests) <= 4
    assert caught.value.status_code == 401
    assert "ACME_API_KEY" in caught.value.hint
    entries = caught.value.partial_result["errors"]
    assert len(entries) == 40
    assert all(entry["kind"] == "auth" for entry in entries)
    assert "not sent" in entries[-1]["message"]


def test_a_403_after_an_answer_is_about_that_prompt(server, config):
    def handler(request):
        prompt = request.json()["prompt"]
        return Answer(status=403, json={"error": "flagged"}) if prompt == "p2" else build_answer(prompt)

    server.handler = handler
    prompts = [f"p{number}" for number in range(6)]
    options = Options(on_error="keep")
    result = run_many(prompts, config=config(request_concurrency=1), options=options)
    assert result["answers"] == ["p0", "p1", "", "p3", "p4", "p5"]


def test_a_403_at_first_stops_the_rest(server, config):
    server.handler = lambda _: Answer(status=403, json={"error": "no access"})
    with pytest.raises(APIError):
        run_many(["p"] * 20, config=config(request_concurrency=2))
    assert len(server.requests) <= 2


def test_calls_that_were_not_sent_have_no_attempts(server, config):
    server.handler = lambda _: Answer(status=401, json={"error": "no"})
    with pytest.raises(APIError) as caught:
        run_many(["p"] * 9, config=config(request_concurrency=2))
    attempts = [len(ledger) for ledger in caught.value.partial_result["diagnostics"]["attempts"]]
    assert sum(attempts) == len(server.requests)
    assert attempts[-1] == 0


def test_arguments_nested_beyond_reason_lose_no_answer():
    deep = Reply(tool_calls=(ToolCall("c", "f", "[" * 20_000),))
    result = run_many(["a", "b"], config=attrs.evolve(MOCK, plugins=[Script(deep, "fine")], request_concurrency=1))
    assert result["tool_calls"][0][0]["arguments_parsed"] is None
    assert result["answers"][1] == "fine"


def test_half_a_character_in_an_answer_is_replaced():
    result = run("x", config=attrs.evolve(MOCK, plugins=[Script("a\ud800b")]))
    assert result["answers"] == ["a\ufffdb"]


def test_labels_the_answers_of_per_source():
    sources = [Source.from_text("x", identifier="one"), Source.from_text("y", identifier="two")]
    result = run_many(["p", "q"], sources=sources, config=MOCK, per_source=True)
    assert result["diagnostics"]["calls"] == [
        {"prompt": 0, "source": "one"},
        {"prompt": 1, "source": "one"},
        {"prompt": 0, "source": "two"},
        {"prompt": 1, "source": "two"},
    ]


def test_never_shows_the_key_that_a_server_echoes(server, config):
    server.reply(Answer(status=401, json={"error": "Incorrect API key provided: sk-secret"}))
    with pytest.raises(APIError) as caught:
        run("hi", config=config())
    assert "sk-secret" not in f"{caught.value} {caught.value!r} {caught.value.partial_result}"


def test_refuses_several_prompts_in_run():
    with pytest.raises(ConfigurationError, match="prompt") as caught:
        run(["a", "b"], config=MOCK)  # type: ignore[arg-type]
    assert "run_many" in caught.value.hint


def test_mock_answers_under_any_name():
    result = run("hello", config=Config(provider="nobody-has-this", model="m", use_mock=True))
    assert result["answers"] == ["echo: hello"]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_sys_exit_keeps_its_code_and_the_answers_that_are_there(concurrency):
    answered = threading.Event()

    def leave(body):
        answered.wait(30)
        sys.exit(7)

    class Noting:
        @hookimpl
        def pollux_event(self, event):
            if isinstance(event, CallFinished):
                answered.set()

    script = Script("the first answer").on("leave", leave)
    config = attrs.evolve(MOCK, plugins=[script, Noting()], request_concurrency=concurrency)
    with pytest.raises(Terminated) as caught:
        run_many(["first", "leave"], config=config)
    assert caught.value.code == 7
    assert caught.value.partial_result["answers"] == ["the first answer", ""]
    assert len(caught.value.outcomes) == 2
