"""The command `pollux-sync log`."""

import json

import pytest

from pollux_log import Log
from pollux_sync import Config, Options, Reply, Usage, run_many
from pollux_sync.cli import main
from pollux_sync.testing import Script, failing

ANSWER = Reply(text="Ahab did.\nTwice.", usage=Usage(total_tokens=10), finish_reason="stop")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.sqlite"
    log = Log(path)
    config = Config(
        provider="openai",
        model="m",
        use_mock=True,
        request_concurrency=1,
        plugins=[Script(ANSWER, failing(400, "too rude"), "nobody"), log],
    )
    run_many(["Who?", "Why 100%?", "Who \u00c4rger " + "again " * 30], config=config, options=Options(on_error="keep"))
    log.close()
    return path


@pytest.fixture
def call(path, capsys):
    """A function that runs the command and returns its exit code and what it printed."""

    def call(*arguments, path=path):
        code = main(["log", *arguments, "--path", str(path)])
        return code, capsys.readouterr()

    return call


def test_lists_the_latest_calls_first(call):
    code, printed = call("list")
    lines = printed.out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert lines[0].endswith("…")
    assert "failed" in lines[1]
    assert "10 tokens" in lines[2]


def test_lists_only_failed_calls(call):
    assert [line.split()[0] for line in call("list", "--errors")[1].out.splitlines()] == ["2"]


def test_lists_as_many_as_it_is_asked_for(call):
    assert len(call("list", "-n", "2")[1].out.splitlines()) == 2


def test_lists_as_json(call):
    records = json.loads(call("list", "--json")[1].out)
    assert [record["prompt"] for record in records][1:] == ["Why 100%?", "Who?"]
    assert records[-1]["usage"] == {"total_tokens": 10}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("AHAB", ["1"]),
        ("100%", ["2"]),
        ("too rude", ["2"]),
        ("who", ["3", "1"]),
        ("whale", ["no"]),
        ("\u00e4RGER", ["3"]),
        ("\udcff 100", ["no"]),
    ],
)
def test_finds_texts_in_prompts_answers_and_errors(call, text, ids):
    assert [line.split()[0] for line in call("search", text)[1].out.splitlines()] == ids


def test_shows_one_call(call):
    printed = call("show", "1")[1].out
    assert "finish_reason  stop" in printed
    assert "answer:\n  Ahab did.\n  Twice.\n" in printed


def test_shows_the_error_of_a_call(call):
    assert "error:\n  APIError: status 400: too rude\n" in call("show", "2")[1].out


def test_shows_the_answer_as_it_came(call):
    assert json.loads(call("show", "1", "--raw")[1].out)["scripted_reply"]["text"] == "Ahab did.\nTwice."


def test_shows_one_call_as_json(call):
    assert json.loads(call("show", "1", "--json")[1].out)["answer"] == "Ahab did.\nTwice."


@pytest.mark.parametrize("number", ["9", "9" * 30])
def test_call_that_the_log_does_not_have_is_refused(call, number):
    code, printed = call("show", number)
    assert code == 2
    assert f"the log has no call {number}" in printed.err


def test_number_of_calls_may_be_of_any_size(call):
    assert len(call("list", "-n", "9" * 30)[1].out.splitlines()) == 3


def test_log_that_does_not_exist_is_refused_and_not_created(call, tmp_path):
    code, printed = call("list", path=tmp_path / "none.sqlite")
    assert code == 2
    assert "there is no log at" in printed.err
    assert not (tmp_path / "none.sqlite").exists()


def test_without_a_subcommand_the_help_is_shown(capsys):
    assert main(["log"]) == 2
    assert "search" in capsys.readouterr().err
