"""Answers that are kept, and calls that are not."""

import sqlite3

import attrs
import pytest

from pollux_cache import Cache
from pollux_sync import (
    Config,
    ConfigurationError,
    Options,
    Reply,
    Source,
    TextDelta,
    ToolCall,
    Usage,
    WebSearch,
    collect_deferred,
    defer_many,
    run,
    run_many,
    stream,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import Script, failing

ANSWER = Reply(text="Ahab", usage=Usage(input_tokens=9, output_tokens=1, total_tokens=10), finish_reason="stop")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture
def ask(path):
    """A function that asks with a script and a cache over the file of the test, each with a client of its own."""
    caches = []

    def ask(*answers, prompt="Who?", options=None, settings=(), **fields):
        caches.append(Cache(path, **dict(settings)))
        config = Config(
            **(
                {"provider": "openai", "model": "m", "use_mock": True, "plugins": [Script(*answers), caches[-1]]}
                | fields
            )
        )
        return run(prompt, config=config, options=options)

    yield ask
    for cache in caches:
        cache.close()


def read_note(result):
    return result["diagnostics"].get("notes", [{}])[0].get("cache")


def test_same_call_is_answered_from_the_file(ask):
    ask(ANSWER)
    assert ask(failing(500))["answers"] == ["Ahab"]


def test_hit_is_shown_and_costs_nothing(ask):
    assert read_note(ask(ANSWER)) == {"hit": False}
    result = ask(failing(500))
    note = read_note(result)
    assert note["hit"]
    assert note["saved"] == {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    assert note["stored_at"] > 1.7e9
    assert result["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert result["metrics"]["cost_usd"] == 0.0
    assert result["metrics"]["n_attempts"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Why?"},
        {"model": "n"},
        {"options": Options(max_tokens=9)},
        {"options": Options(system_instruction="Be brief.")},
    ],
)
def test_other_call_is_asked(ask, change):
    ask(ANSWER)
    assert ask("Ishmael", **change)["answers"] == ["Ishmael"]


def test_tool_calls_are_kept(ask):
    called = Reply(tool_calls=(ToolCall("1", "look", "{}"),), finish_reason="tool_calls")
    ask(called)
    assert ask(failing(500))["tool_calls"][0][0]["name"] == "look"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="I", finish_reason="refusal"),
        Reply(text="half", finish_reason=None),
        Reply(text=" ", finish_reason="stop"),
    ],
)
def test_answer_that_is_empty_or_not_finished_is_not_kept(ask, reply):
    ask(reply, options=Options(on_error="keep"))
    assert ask(ANSWER)["answers"] == ["Ahab"]


def test_error_is_not_kept(ask):
    result = ask(failing(400), options=Options(on_error="keep"))
    assert result["status"] == "error"
    assert ask(ANSWER)["answers"] == ["Ahab"]


@pytest.mark.parametrize(
    ("when", "temperature", "is_kept"),
    [
        ("zero", 0, True),
        ("zero", None, False),
        ("unset", None, True),
        ("unset", 0, True),
        ("unset", 0.7, False),
        ("always", 0.7, True),
    ],
)
def test_temperature_decides_what_is_kept(ask, when, temperature, is_kept):
    options = Options(temperature=temperature)
    ask("first", options=options, settings={"when": when})
    assert ask("second", options=options, settings={"when": when})["answers"] == ["first" if is_kept else "second"]


def test_call_with_a_tool_of_the_provider_is_not_kept(ask):
    options = Options(tools=[WebSearch()])
    ask("first", options=options)
    assert ask("second", options=options)["answers"] == ["second"]


def test_answer_that_is_too_old_is_asked_for_again(ask, path):
    ask("first")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET stored_at = stored_at - 61")
    database.close()
    assert ask("second", settings={"ttl_s": 60})["answers"] == ["second"]
    assert ask("third", settings={"ttl_s": 60})["answers"] == ["second"]


def test_oldest_answers_go_when_the_file_is_full(ask, path):
    for number in range(20):
        ask(f"{number}" * 100, prompt=f"{number}", settings={"max_bytes": 3_000})
    with sqlite3.connect(path) as database:
        ((size, count),) = database.execute("SELECT sum(length(content)), count(*) FROM answers")
    database.close()
    assert size <= 3_000
    assert count > 3
    assert ask("new", prompt="19")["answers"] == ["19" * 100]
    assert ask("new", prompt="0")["answers"] == ["new"]


def test_answer_that_is_larger_than_the_limit_makes_no_others_go(ask):
    settings = {"max_bytes": 2_000}
    ask("small", prompt="small", settings=settings)
    ask("large" * 1_000, prompt="large", settings=settings)
    assert ask(failing(500), prompt="small", settings=settings)["answers"] == ["small"]
    assert ask("again", prompt="large", settings=settings)["answers"] == ["again"]


def test_answer_that_can_no_longer_be_decoded_is_asked_for_again(ask, path):
    ask("first")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET content = ?", (b"{",))
    database.close()
    assert ask("second")["answers"] == ["second"]


def test_stream_is_kept_and_answered_as_events(path, server):
    server.answer = lambda _: "Call me Ishmael."
    cache = Cache(path)
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[cache])
    first = stream("Who?", config=config).result()
    events = list(stream("Who?", config=config))
    result = events[-1].result
    assert len(server.requests) == 1
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Call me Ishmael."]
    assert result["answers"] == first["answers"] == ["Call me Ishmael."]
    assert read_note(result)["hit"]
    # A call without a stream has the same key.
    assert run("Who?", config=config)["answers"] == ["Call me Ishmael."]
    assert len(server.requests) == 1
    cache.close()


def test_stored_file_counts_by_its_content(ask, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\na")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\na")
    script, cache = Script("first", "second"), Cache(tmp_path / "files.sqlite")
    config = Config(provider="gemini", model="m", use_mock=True, uploads="always", plugins=[script, cache])
    answers = [
        run("Who?", source=Source.from_file(tmp_path / name), config=config)["answers"] for name in ("a.png", "b.png")
    ]
    assert answers == [["first"], ["first"]]
    cache.close()


def test_answers_of_a_job_are_left_alone(path):
    cache = Cache(path)
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script("one", "two"), cache])
    answers = [collect_deferred(defer_many(["Who?"], config=config), config=config)["answers"] for _ in range(2)]
    assert answers == [["one"], ["two"]]
    cache.close()


def test_threads_share_the_file(path):
    cache, prompts = Cache(path), [f"{number}" for number in range(40)]
    config = Config(provider="openai", model="m", use_mock=True, request_concurrency=8, plugins=[cache])
    first = run_many(prompts, config=config)
    second = run_many(prompts, config=config)
    assert second["answers"] == first["answers"]
    assert all(notes["cache"]["hit"] for notes in second["diagnostics"]["notes"])
    cache.close()


def test_file_that_fails_costs_no_answer(path, caplog):
    cache = Cache(path)
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script("one", "two"), cache])
    run("Why?", config=config)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE answers")
    database.close()
    assert run("Who?", config=config)["answers"] == ["two"]
    assert "cannot be kept" in caplog.text
    cache.close()


def test_file_that_is_no_database_is_named_before_anything_is_sent(path):
    path.write_bytes(b"no database" * 1000)
    script = Script("one")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script, Cache(path)])
    with pytest.raises(ConfigurationError, match=r"answers\.sqlite cannot be opened"):
        run("Who?", config=config)
    assert script.requests == []


def test_repaired_answer_is_kept_for_the_question(ask):
    options = Options(response_schema={"type": "object", "required": ["a"]}, schema_repairs=1)
    ask({"b": 1}, {"a": 1}, options=options)
    assert ask(failing(500), options=options)["structured"] == [{"a": 1}]


SCHEMA = {"type": "object", "required": ["a"]}


def test_answer_that_does_not_fit_its_schema_is_not_kept(ask):
    ask({"b": 1}, options=Options(response_schema=SCHEMA, on_error="keep"))
    options = Options(response_schema=SCHEMA, schema_repairs=1)
    result = ask({"b": 1}, {"a": 1}, options=options)
    assert (result["structured"], result["metrics"]["n_attempts"]) == ([{"a": 1}], 2)


def test_answer_that_does_not_fit_the_class_that_is_asked_for_now_is_asked_for_again(ask):
    def build_class(check):
        year = attrs.field(type=int, validator=check)
        return Options(response_schema=attrs.make_class("Answer", {"year": year}), on_error="keep")

    def refuse(_instance, _field, value):
        if value < 1800:
            raise ValueError("too early")

    ask({"year": 51}, options=build_class(None))
    result = ask({"year": 1851}, options=build_class(refuse))
    assert result["structured"][0].year == 1851


def test_streamed_answer_with_half_a_character_is_kept(path):
    cache = Cache(path)
    script = Script(Reply(text="half \ud83d", finish_reason="stop"))
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script, cache])
    first = run("Who?", config=config)
    assert run("Who?", config=config)["answers"] == first["answers"] == ["half \ufffd"]
    cache.close()


def test_clear_deletes_all_answers(ask, path):
    ask("first")
    cache = Cache(path)
    cache.clear()
    cache.close()
    assert ask("second")["answers"] == ["second"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ttl_s": 0}, "ttl_s must be above 0"),
        ({"max_bytes": 0}, "max_bytes must be at least 1"),
        ({"when": "often"}, "when 'often' is not known"),
    ],
)
def test_bad_setting_is_refused(path, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Cache(path, **settings)


def test_environment_has_the_settings(path, monkeypatch):
    monkeypatch.setenv("POLLUX_CACHE_PATH", str(path))
    monkeypatch.setenv("POLLUX_CACHE_WHEN", "zero")
    cache = Cache()
    config = Config(provider="openai", model="m", use_mock=True, plugins=[cache])
    run("Who?", config=config, options=Options(temperature=0))
    assert read_note(run("Who?", config=config, options=Options(temperature=0)))["hit"]
    assert read_note(run("Who?", config=config)) is None
    assert path.exists()
    cache.close()


def test_is_enabled_by_its_name():
    assert isinstance(load(MIDDLEWARE, "cache").plugin, Cache)
