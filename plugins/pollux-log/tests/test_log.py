"""What is written about calls, and what is not."""

import os
import sqlite3
from decimal import Decimal

import attrs
import pytest

from pollux_log import Log, LogFile, decode_record
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Reply,
    RetryPolicy,
    Source,
    ToolCall,
    Usage,
    collect_deferred,
    defer,
    defer_many,
    hookimpl,
    run,
    run_many,
    stream,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import BrokenOff, JobScript, Script, failing

ANSWER = Reply(text="Ahab", usage=Usage(input_tokens=9, output_tokens=1, total_tokens=10), finish_reason="stop")
SECRET = "sk-white-whale-1851"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path):
    log = Log(path)
    yield log
    log.close()


def build_config(*plugins, **fields):
    retry = RetryPolicy(initial_delay_s=0, max_attempts=2)
    return Config(
        **({"provider": "openai", "model": "m", "use_mock": True, "retry": retry, "plugins": plugins} | fields)
    )


@pytest.fixture
def read(path):
    """A function that returns the records of the log, the oldest first."""
    files = []

    def read():
        files.append(LogFile.find(path))
        return files[-1].list_records(100)[::-1]

    yield read
    for file in files:
        file.close()


def test_call_is_written_with_its_reply(log, read):
    run("Who?", config=build_config(Script(ANSWER), log))
    (record,) = read()
    assert (record.kind, record.provider, record.model) == ("call", "openai", "m")
    assert (record.prompt, record.answer, record.finish_reason) == ("Who?", "Ahab", "stop")
    assert record.usage == {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    assert record.error is None
    assert record.duration_s >= 0
    assert record.at > 1.7e9
    assert [attempt["status_code"] for attempt in record.attempts] == [200]


def test_failed_call_is_written_with_its_error_and_attempts(log, read):
    with pytest.raises(APIError):
        run("Who?", config=build_config(Script(failing(503), failing(503)), log))
    (record,) = read()
    assert record.error == "APIError: status 503: scripted"
    assert [attempt["kind"] for attempt in record.attempts] == ["capacity", "capacity"]
    assert record.answer is None


def test_stream_is_written(log, read, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[log])
    stream("Who?", config=config).result()
    (record,) = read()
    assert (record.kind, record.prompt, record.answer) == ("stream", "Who?", "echo: Who?")
    assert decode_record(record, config).text == "echo: Who?"


def test_stream_that_breaks_off_is_written(log, read):
    with pytest.raises(APIError):
        stream("Who?", config=build_config(Script(BrokenOff("half an")), log)).result()
    assert "broke off" in read()[0].error


def test_job_is_written_with_prompts_and_then_with_answers(log, read):
    config = build_config(Script("one", "two"), log)
    handle = defer_many(["Who?", "Why?"], config=config)
    assert [(record.kind, record.prompt, record.answer) for record in read()] == [
        ("deferred", "Who?", None),
        ("deferred", "Why?", None),
    ]
    collect_deferred(handle, config=config)
    assert [(record.prompt, record.provider) for record in read()] == [("Who?", "openai"), ("Why?", "openai")]
    assert {record.answer for record in read()} == {"one", "two"}


def test_job_of_another_log_is_written_when_it_is_collected(log, path, read):
    config = build_config(Script("one"), log)
    handle = defer_many(["Who?"], config=config)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM calls")
    database.close()
    collect_deferred(handle, config=config)
    assert [(record.kind, record.prompt, record.answer) for record in read()] == [("deferred", None, "one")]


def test_failed_request_of_a_job_is_written(log, read):
    config = build_config(JobScript(failed={0: "status 400: too rude"}), log)
    collect_deferred(defer_many(["Who?", "Why?"], config=config), config=config)
    assert [record.error for record in read()] == ["APIError: status 400: too rude", None]


def test_tool_calls_and_sources_are_written(log, read, tmp_path):
    reply = Reply(tool_calls=(ToolCall("1", "look", "{}"),), finish_reason="tool_calls")
    (tmp_path / "whale.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    source = Source.from_file(tmp_path / "whale.png")
    run("Who?", source=source, config=build_config(Script(reply), log))
    (record,) = read()
    assert record.tool_calls == [{"id": "1", "name": "look", "arguments": "{}"}]
    assert record.sources == [source.identifier]


class Pricing:
    @hookimpl(wrapper=True)
    def pollux_call(self):
        reply = yield
        return attrs.evolve(reply, cost_usd=Decimal("1E-7")).add_note("pricing", {"by": "hand"})


def test_price_and_notes_of_middleware_inside_are_written(log, read):
    run("Who?", config=build_config(Script(ANSWER), Pricing(), log))
    assert (read()[0].cost_usd, read()[0].notes) == ("0.0000001", {"pricing": {"by": "hand"}})


def test_neither_keys_nor_headers_are_written(log, path, server):
    config = Config(
        provider="local",
        model="m",
        base_url=f"{server.url}/v1",
        api_key=SECRET,
        headers={"X-Team": "whalers-of-nantucket"},
        plugins=[log],
    )
    options = Options(provider_headers={"local": {"X-Trace": "pequod-trace"}}, system_instruction="instruction-text")
    run("Who?", config=config, options=options)
    log.close()
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"Who?" in content
    for text in (SECRET, "whalers-of-nantucket", "pequod-trace", "instruction-text", "content-type"):
        assert text.encode() not in content.lower()


def test_only_chosen_fields_are_written(path, read):
    log = Log(path, fields=["usage"])
    run("Who?", config=build_config(Script(ANSWER), log))
    log.close()
    (record,) = read()
    assert record.usage["total_tokens"] == 10
    assert {record.prompt, record.answer, record.raw, record.attempts, record.duration_s} == {None}


def test_fields_that_do_not_exist_are_refused(path):
    with pytest.raises(ConfigurationError, match="a log has no field 'headers'"):
        Log(path, fields=["prompt", "headers"])


def test_environment_has_the_settings(path, monkeypatch, read):
    monkeypatch.setenv("POLLUX_LOG_PATH", str(path))
    monkeypatch.setenv("POLLUX_LOG_FIELDS", "prompt, usage")
    log = Log()
    run("Who?", config=build_config(Script(ANSWER), log))
    log.close()
    assert (read()[0].prompt, read()[0].answer) == ("Who?", None)


def test_is_enabled_by_its_name():
    assert isinstance(load(MIDDLEWARE, "log").plugin, Log)


def test_threads_write_side_by_side(log, read):
    run_many([f"{number}" for number in range(30)], config=build_config(log, request_concurrency=6))
    assert sorted(int(record.prompt) for record in read()) == list(range(30))


def test_file_that_fails_costs_no_answer(log, path, caplog):
    config = build_config(Script("one", "two"), log)
    run("Who?", config=config)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE calls")
    database.close()
    assert run("Who?", config=config)["answers"] == ["two"]
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("ask", [run, lambda prompt, *, config: stream(prompt, config=config).result(), defer])
def test_file_that_is_no_log_is_named_before_anything_is_sent(path, ask):
    path.write_text("Call me Ishmael. " * 100)
    script = Script("one")
    with pytest.raises(ConfigurationError, match=r"log\.sqlite cannot be opened as a SQLite file"):
        ask("Who?", config=build_config(script, Log(path)))
    assert script.requests == []


class Note:
    """Middleware that adds a note to every answer."""

    def __init__(self, note):
        self._note = note

    @hookimpl
    def pollux_call(self, call, proceed):
        return proceed(call).add_note("test", self._note)


@pytest.mark.parametrize("note", ["half \ud83d", Decimal("0.5"), {1, 2}, float("nan")])
def test_note_of_any_kind_costs_no_answer(log, read, note):
    assert run("Who?", config=build_config(Script("one"), Note(note), log))["answers"] == ["one"]
    assert [record.answer for record in read()] == ["one"]


def test_name_of_a_file_that_is_no_text_costs_no_answer(log, read, tmp_path):
    file = tmp_path / os.fsdecode(b"whale\xff.png")
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("Who?", source=Source.from_file(file), config=build_config(Script("one"), log))["answers"] == ["one"]
    assert read()[0].sources[0].endswith("whale?.png")


def test_streamed_answer_with_half_a_character_is_written(log, read, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[HalfCharacter(), log])
    assert stream("Who?", config=config).result()["answers"] == ["echo: Who?"]
    assert decode_record(read()[0], config).text == "half \ufffd"


class HalfCharacter:
    """Middleware whose streams hold an answer with half a character."""

    @hookimpl
    def pollux_call_stream(self, call, proceed):
        for item in proceed(call):
            yield attrs.evolve(item, response=_halve(item.response)) if isinstance(item, Reply) else item


def _halve(response):
    choice = {"message": {"role": "assistant", "content": "half \ud83d"}, "finish_reason": "stop"}
    return attrs.evolve(response, body={"choices": [choice]})


def test_raw_answer_of_another_provider_is_not_decoded(log, read, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[log])
    run("Who?", config=config)
    with pytest.raises(ConfigurationError, match="record 1 is an answer of 'local', not 'openai'"):
        decode_record(read()[0], build_config())


def test_record_without_a_raw_answer_cannot_be_decoded(path, read):
    log = Log(path, fields=["prompt"])
    config = build_config(Script(ANSWER), log)
    run("Who?", config=config)
    log.close()
    with pytest.raises(ConfigurationError, match="record 1 has no raw answer"):
        decode_record(read()[0], config)
