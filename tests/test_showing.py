"""How far a run has come: for a function, in a terminal, in a log and in a notebook."""

import io
import logging
import sys
import types

import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Progress,
    Session,
    defer_many,
    run_many,
    showing,
    wait_deferred,
)
from pollux_sync.testing import Script, failing

PROMPTS = ["one", "two", "three"]


def build_config(*answers, **fields):
    return Config(
        provider="openai", model="m", use_mock=True, plugins=[Script(*answers)] if answers else None, **fields
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_function_is_told_each_step():
    seen = []
    run_many(PROMPTS, config=build_config(), progress=seen.append)
    assert [(step.done, step.total, step.failed) for step in seen] == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert seen[0].left_s is None
    assert seen[-1].left_s == 0


def test_failures_are_counted():
    seen = []
    with pytest.raises(APIError, match="400"):
        run_many(PROMPTS, config=build_config("a", failing(400), "c", request_concurrency=1), progress=seen.append)
    assert (seen[-1].done, seen[-1].failed) == (3, 1)


def test_session_tells_too():
    seen = []
    with Session(config=build_config()) as session:
        session.run_many(PROMPTS, progress=seen.append)
    assert seen[-1].done == 3


def test_wait_for_a_job_tells_what_has_ended():
    seen, snapshots = [], []
    handle = defer_many(PROMPTS, config=build_config())
    wait_deferred(handle, config=build_config(), poll=0.01, progress=seen.append, on_change=snapshots.append)
    assert (seen[-1].done, seen[-1].total) == (3, 3)
    assert snapshots[-1].is_terminal


def test_a_function_that_fails_costs_no_answer(caplog):
    def fail(_):
        raise ValueError("sk-secret")

    with caplog.at_level(logging.WARNING, "pollux_sync"):
        result = run_many(PROMPTS, config=build_config(), progress=fail)
    assert result["status"] == "ok"
    assert [record.getMessage() for record in caplog.records] == ["progress is no longer reported: ValueError"]


@pytest.mark.parametrize("call", [run_many, lambda prompts, **rest: wait_deferred("no-such.json", **rest)])
def test_progress_of_another_type_is_refused_first(call):
    with pytest.raises(ConfigurationError, match="progress must be") as caught:
        call(PROMPTS, config=build_config(), progress="yes")
    assert "progress=True" in caught.value.hint


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(total=20), "0/20 done, 0 s"),
        (Progress(total=20, done=5, failed=1, duration_s=12.4), "5/20 done, 1 failed, 12 s, about 37 s left"),
        (Progress(total=20, done=20, duration_s=12.4), "20/20 done, 12 s"),
    ],
)
def test_line_for_people(progress, text):
    assert str(progress) == text


@pytest.fixture
def without_libraries(monkeypatch):
    monkeypatch.setattr(showing, "find_spec", lambda _: None)


@pytest.mark.usefixtures("without_libraries")
def test_lines_go_to_stderr_and_the_last_one_stands(capsys):
    run_many(PROMPTS, config=build_config(), progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "3/3 done, 0 s\n"


@pytest.mark.usefixtures("without_libraries")
def test_line_in_a_terminal_is_rewritten(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(showing, "_REWRITE_PERIOD_S", 0)
    run_many(PROMPTS, config=build_config(request_concurrency=1), progress=True)
    assert terminal.getvalue().split("\r")[1:3] == ["0/3 done, 0 s", "1/3 done, 0 s"]
    assert terminal.getvalue().endswith("\r3/3 done, 0 s\n")


def test_bar_of_rich_in_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run_many(PROMPTS, config=build_config(), progress=True)
    assert "3/3 done" in terminal.getvalue()


def test_bar_of_tqdm_in_a_notebook(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with pytest.raises(APIError, match="400"):
        run_many(PROMPTS, config=build_config("a", failing(400), "c", request_concurrency=1), progress=True)
    *_, last = capsys.readouterr().err.split("\r")
    assert "3/3" in last
    assert "failed=1" in last


@pytest.mark.usefixtures("without_libraries")
def test_a_terminal_that_is_gone_costs_no_answer(monkeypatch):
    class Gone(Terminal):
        def write(self, _):
            raise OSError("gone")

    monkeypatch.setattr(sys, "stderr", Gone())
    assert run_many(PROMPTS, config=build_config(), progress=True)["status"] == "ok"


@pytest.mark.parametrize("is_closed", [True, False])
def test_program_without_a_stderr_gets_its_answers(monkeypatch, is_closed):
    stream = io.StringIO() if is_closed else None
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert run_many(PROMPTS, config=build_config(*PROMPTS), progress=True)["answers"] == PROMPTS
