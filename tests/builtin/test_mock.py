import json
from typing import Literal

import attrs
import pytest

from pollux_sync import Config, Options, RateLimitError, Reply, RetryPolicy, Source, ToolCall, hookimpl, run, run_many
from pollux_sync.builtin.mock import MockStore
from pollux_sync.data.events import FileUploaded, UploadDeleted
from pollux_sync.testing import Script, failing

TOOLS = [{"name": "ping"}, {"name": "pong"}]


@attrs.frozen
class Verdict:
    label: Literal["good", "bad"]
    score: float


def config(*plugins, **fields):
    retry = RetryPolicy(initial_delay_s=0, jitter=False)
    return Config(provider="anthropic", model="m", use_mock=True, plugins=plugins, retry=retry, **fields)


def test_echoes_the_prompt():
    assert run("hello", config=config())["answers"] == ["echo: hello"]


def test_echoes_a_text_source_before_the_prompt():
    assert run("hello", source=Source.from_text("source"), config=config())["answers"] == ["echo: source"]


def test_echoes_100_characters():
    assert run("x" * 500, config=config())["answers"] == ["echo: " + "x" * 100]


def test_counts_tokens():
    result = run_many(["a", "b"], config=config())
    assert result["usage"] == {"input_tokens": 20, "output_tokens": 20, "total_tokens": 40}


def test_fills_a_schema():
    assert run("x", config=config(), options=Options(response_schema=Verdict))["structured"] == [Verdict("good", 0.0)]


@pytest.mark.parametrize(("choice", "called"), [("auto", "ping"), ("required", "ping"), ({"name": "pong"}, "pong")])
def test_calls_the_tool_asked_for(choice, called):
    result = run("x", config=config(), options=Options(tools=TOOLS, tool_choice=choice))
    assert result["tool_calls"][0][0]["name"] == called
    assert result["metrics"]["finish_reasons"] == ["tool_calls"]


def test_calls_no_tool_when_told_so():
    assert run("x", config=config(), options=Options(tools=TOOLS, tool_choice="none"))["answers"] == ["echo: x"]


@pytest.mark.parametrize(
    "options", [{"reasoning_effort": "low"}, {"reasoning_budget_tokens": 9}, {"reasoning_summary": "concise"}]
)
def test_reasons_when_asked(options):
    assert run("x", config=config(), options=Options(**options))["reasoning"] == ["mock reasoning about: x"]


def test_keeps_its_reasoning_to_itself_when_asked():
    options = Options(reasoning_effort="low", reasoning_summary="none")
    assert "reasoning" not in run("x", config=config(), options=options)


@pytest.mark.parametrize(("asked", "served"), [("flex", "flex"), ("auto", "default"), ("default", "default")])
def test_serves_by_the_tier_asked_for(asked, served):
    result = run("x", config=config(), options=Options(service_tier=asked))
    assert result["metrics"]["service_tiers"] == [served]


def test_uploads_and_deletes_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    seen = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.append(event)

    run("x", source=Source.from_file(tmp_path / "a.png"), config=config(Watch()))
    assert [e.asset.id for e in seen if isinstance(e, FileUploaded)] == ["mock://uploaded/a.png"]
    assert [e.error for e in seen if isinstance(e, UploadDeleted)] == [None]


def test_knows_its_files():
    store = MockStore()
    store.store_file("a")
    assert store.files == {"mock://uploaded/a"}
    store.delete_file("mock://uploaded/a")
    assert store.files == frozenset()


def test_keeps_the_label_of_a_cache():
    store = MockStore()
    name = store.store_cache("m", 60, label="handbook").name
    assert store.extend_cache(name, 600).label == "handbook"
    assert [cache.label for cache in store.caches] == ["handbook"]


def test_takes_addresses_of_any_kind():
    source = Source.from_youtube("https://youtu.be/x")
    assert run("x", source=source, config=config())["answers"] == ["echo: x"]


def test_script_answers_in_order_and_then_leaves_it_to_the_mock():
    script = Script("one", "two")
    assert run_many(["a", "b", "c"], config=config(script, request_concurrency=1))["answers"] == [
        "one",
        "two",
        "echo: c",
    ]
    assert script.is_used_up
    assert [request["prompt"] for request in script.requests] == ["a", "b", "c"]


def test_script_answers_by_words():
    script = Script("other").on("France", "Paris").on("Spain", "Madrid")
    assert not script.is_used_up
    prompts = ["capital of Spain?", "what?", "capital of France?"]
    assert run_many(prompts, config=config(script))["answers"] == ["Madrid", "other", "Paris"]


def test_script_gives_structured_answers():
    script = Script({"label": "bad", "score": 0.5})
    result = run("x", config=config(script), options=Options(response_schema=Verdict))
    assert result["structured"] == [Verdict("bad", 0.5)]


def test_script_gives_whole_replies():
    reply = Reply(tool_calls=(ToolCall("c", "ping", "not json"),), finish_reason="tool_calls")
    result = run("x", config=config(Script(reply)))
    assert result["tool_calls"][0][0]["arguments_parsed"] is None


def test_script_computes_answers():
    script = Script(otherwise=lambda body: json.dumps({"asked": body["prompt"]}))
    assert run_many(["a", "b"], config=config(script))["answers"] == ['{"asked": "a"}', '{"asked": "b"}']


def test_script_fails_like_a_provider():
    script = Script(failing(429, "slow down", retry_after_s=0), "fine")
    result = run("x", config=config(script))
    assert result["answers"] == ["fine"]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [429, 200]


@pytest.mark.parametrize("fault", [ConnectionResetError(), TimeoutError()])
def test_script_fails_like_a_network(fault):
    assert run("x", config=config(Script(fault, "fine")))["answers"] == ["fine"]


def test_script_fails_for_good():
    with pytest.raises(RateLimitError, match="slow down"):
        run("x", config=config(Script(failing(429, "slow down"), failing(429, "slow down"))))


@pytest.mark.parametrize("words", ['say "hi"', "two\nlines", "naïve"])
def test_script_finds_words_as_they_are_written(words):
    script = Script().on(words, "found")
    assert run(f"please {words} now", config=config(script))["answers"] == ["found"]


def test_script_raises_a_fresh_error_each_time():
    fault = failing(400, "no")
    script = Script(otherwise=fault)
    result = run_many(["a"] * 5, config=config(script), options=Options(on_error="keep"))
    assert [error["status_code"] for error in result["errors"]] == [400] * 5
    assert fault.__traceback__ is None
