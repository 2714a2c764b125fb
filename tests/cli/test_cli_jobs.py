import json
import os
from pathlib import Path

import pytest

from pollux_sync import DeferredNotReadyError, hookimpl, process
from pollux_sync.cli import jobs
from pollux_sync.testing import JobScript
from pollux_sync.testing.server import Answer

DEFER = ("defer", "--mock", "--job", "job.json")


@pytest.fixture(autouse=True)
def _jobs_of_this_test():
    process.clients.close()


@pytest.fixture
def script_jobs(monkeypatch):
    """Return a function that scripts the mock's jobs, by a plugin in every configuration of the command line."""

    def script_jobs(*looks, **fates):
        plugins = (JobScript(*looks, **fates),)
        monkeypatch.setattr("pollux_sync.hooks.config.read_enabled_plugins", lambda: plugins)

    return script_jobs


def test_a_job_from_submission_to_answers(cli, folder):
    submitted = cli(*DEFER, "Who?", "When?")
    assert (submitted.code, submitted.out) == (0, "mock-job-1\n")
    assert submitted.err == "submitted 2 requests; next: pollux-sync wait job.json\n"
    waited = cli("wait", "--mock", "job.json")
    assert (waited.code, waited.err) == (0, "job.json: completed, 2 of 2 done\n")
    assert cli("status", "--mock", "job.json").out == (
        "file      status     done  failed  pending  age\njob.json  completed  2     0       0        0 min\n"
    )
    collected = cli("collect", "--mock", "job.json")
    assert collected.code == 0
    assert collected.out == "--- 1/2: Who? ---\necho: Who?\n--- 2/2: When? ---\necho: When?\n"


def test_the_same_command_submits_nothing_twice_and_says_so(cli):
    first, second = cli(*DEFER, "Who?"), cli(*DEFER, "Who?")
    assert first.out == second.out
    assert second.err == "already submitted 1 request; next: pollux-sync wait job.json\n"
    other = cli(*DEFER, "Where?")
    assert (other.code, "other requests" in other.err) == (2, True)


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupted_submission_says_how_to_go_on(cli, monkeypatch, stop, code):
    class Stopping:
        @hookimpl(tryfirst=True)
        def pollux_submit_deferred(self):
            raise stop

    monkeypatch.setattr("pollux_sync.hooks.config.read_enabled_plugins", lambda: (Stopping(),))
    done = cli(*DEFER, "Who?")
    assert done.code == code
    assert "run the same command again: it continues where it stopped, and submits nothing twice" in done.err


def test_an_empty_job_file_is_refused_with_what_is_wrong(cli, folder):
    (folder / "job.json").touch()
    done = cli(*DEFER, "Who?")
    assert (done.code, "is not a job file: it is empty" in done.err) == (2, True)
    assert "for a new job, name a path at which there is no file yet" in done.err


def test_prompts_come_from_a_file(cli, folder):
    (folder / "prompts.txt").write_text("Who?\n\nWhen?\n", encoding="utf-8")
    cli(*DEFER, "What?", "--prompts", "prompts.txt")
    assert json.loads(cli("collect", "--mock", "job.json", "--json").out)["answers"] == [
        "echo: What?",
        "echo: Who?",
        "echo: When?",
    ]
    assert cli("run", "--mock", "--prompts", "prompts.txt").out.count("echo") == 2


@pytest.mark.parametrize("content", [None, "\n \n"])
def test_a_file_without_prompts_is_refused(cli, folder, content):
    if content is not None:
        (folder / "prompts.txt").write_text(content, encoding="utf-8")
    done = cli("run", "--mock", "--prompts", "prompts.txt")
    assert (done.code, "hint" in done.err) == (2, True)


def test_job_that_has_not_ended_has_its_own_exit_code(cli, script_jobs):
    script_jobs("queued", "running", "running", "completed")
    cli(*DEFER, "Who?")
    assert cli("status", "--mock", "job.json").code == 3
    collected = cli("collect", "--mock", "job.json")
    assert (collected.code, "the job is running" in collected.err) == (3, True)
    assert "hint: pollux-sync wait job.json waits for its end" in collected.err
    timed_out = cli("wait", "--mock", "job.json", "--timeout", "0", "--poll", "0", "-q")
    assert (timed_out.code, timed_out.err) == (
        3,
        "error: 'job.json' had not ended after 0 s\n  hint: run the same command again: the job goes on\n",
    )
    assert cli("wait", "--mock", "job.json", "--poll", "0", "-q").code == 0


def test_a_timeout_holds_for_all_files_together(cli, script_jobs):
    script_jobs("completed", "running")  # the job that is looked at first, then the other
    cli("defer", "--mock", "--job", "one.json", "Who?")
    cli("defer", "--mock", "--job", "two.json", "When?")
    readings = iter([1000.0, 1000.0, 1000.5])  # at the start, and before each file
    with pytest.raises(DeferredNotReadyError, match=r"'two.json' had not ended after 0\.5 s"):
        jobs.wait(
            ["--mock", "one.json", "two.json", "--timeout", "0.5", "--poll", "0.1", "-q"], clock=lambda: next(readings)
        )


def test_failed_requests_are_reported(cli, script_jobs):
    script_jobs("partial", failed={1: "too rude"}, missing=[2])
    cli(*DEFER, "a", "b", "c")
    assert cli("status", "--mock", "job.json").code == 1
    collected = cli("collect", "--mock", "job.json")
    assert (collected.code, collected.out) == (1, "--- 1/3: a ---\necho: a\n")
    assert "prompt 2 of 3: too rude" in collected.err


def test_cancels(cli):
    cli(*DEFER, "Who?")
    assert cli("cancel", "--mock", "job.json").code == 0
    assert json.loads(cli("status", "--mock", "job.json", "--json").out)[0]["status"] == "cancelled"


def test_typed_answers_are_lines_of_json(cli):
    cli(*DEFER, "Who?", "--schema", "name str, age int?")
    assert cli("collect", "--mock", "job.json").out == '{"name": "text"}\n'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status", "none.json"), "there is no job file"),
        (("defer", "--mock", "Who?"), "--job"),
        (("defer", "--mock", "--job", "j.json", "a", "-s", "notes.txt", "--per-source"), "cannot be deferred"),
        (("collect",), "FILE"),
    ],
)
def test_bad_usage_is_refused(cli, folder, words, message):
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    done = cli(*words)
    assert (done.code, message in done.err) == (2, True)
    assert not os.path.exists("j.json")  # noqa: PTH110


@pytest.fixture
def real_job(cli, folder):
    """Return a function that writes the job file of a job at OpenAI, with these facts of its handle."""

    def write(**facts):
        cli(*DEFER, "-p", "openai", "-m", "m", "Who?")
        content = json.loads((folder / "job.json").read_text())
        del content["handle"]["account"]
        content["handle"] |= facts
        (folder / "job.json").write_text(json.dumps(content))

    return write


LOOKS = ["status", "wait", "collect", "cancel"]


@pytest.fixture
def damaged_job(cli, real_job, server, monkeypatch):
    """Return the arguments that collect a job of two requests, one of whose answers is missing."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(base_url=f"{server.url}/v1", request_count=2)
    content = json.loads(Path("job.json").read_text())
    content["handle"]["jobs"][0]["request_count"] = 2
    Path("job.json").write_text(json.dumps(content))
    text = {"type": "output_text", "text": "By Ada.", "annotations": []}
    answer = {"status": "completed", "output": [{"type": "message", "role": "assistant", "content": [text]}]}
    row = {"custom_id": "pollux-000000", "response": {"status_code": 200, "body": answer}, "error": None}
    counts = {"total": 2, "completed": 2, "failed": 0}
    job = {"id": "batch_1", "status": "completed", "output_file_id": "file-1", "request_counts": counts}
    server.handler = lambda request: (
        Answer(body=json.dumps(row).encode() + b"\n") if request.path.endswith("/content") else Answer(json=job)
    )
    return ("collect", "job.json", "--base-url", f"{server.url}/v1")


def test_answers_of_damaged_results_are_printed_before_the_error(cli, damaged_job):
    done = cli(*damaged_job)
    assert (done.code, done.out) == (1, "--- 1/2 ---\nBy Ada.\n")
    assert "are damaged: 1 of 2 answers are missing" in done.err
    assert "hint: collect again, since nothing was deleted; the answers that could be read are printed" in done.err


def test_answers_of_damaged_results_are_printed_as_json(cli, damaged_job):
    assert json.loads(cli(*damaged_job, "--json").out)["answers"] == ["By Ada.", ""]


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_needs_its_provider_and_key(cli, real_job, command):
    real_job()
    done = cli(command, "job.json")
    assert (done.code, "OPENAI_API_KEY" in done.err) == (2, True)


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_of_the_mock_needs_the_flag(cli, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    cli(*DEFER, "-p", "openai", "-m", "m", "Who?")
    done = cli(command, "job.json")
    assert (done.code, done.err) == (2, "error: the handle was made by the mock\n  hint: add --mock\n")


@pytest.mark.parametrize("command", LOOKS)
def test_a_real_job_refuses_the_flag(cli, real_job, command):
    real_job(account="0123456789abcdef")
    done = cli(command, "--mock", "job.json")
    assert (done.code, "leave --mock out" in done.err) == (2, True)


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_at_another_address_is_sent_no_key(cli, real_job, server, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(base_url=f"{server.url}/v1")
    done = cli(command, "job.json")
    assert (done.code, f"add --base-url {server.url}/v1" in done.err) == (2, True)
    assert server.requests == []


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_at_another_address_is_reached_by_its_option(cli, real_job, server, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(base_url=f"{server.url}/v1")
    server.reply(Answer(status=404, json={"error": {"message": "no such job"}}))
    done = cli(command, "job.json", "--base-url", f"{server.url}/v1")
    assert (done.code, "no such job" in done.err) == (1, True)


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_is_reached_through_a_proxy(cli, real_job, server, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(base_url="http://openai.example/v1")
    server.reply(Answer(status=404, json={"error": {"message": "no such job"}}))
    done = cli(command, "job.json", "--base-url", "http://openai.example/v1", "--proxy", server.url)
    assert (done.code, "no such job" in done.err) == (1, True)


@pytest.mark.parametrize("command", LOOKS)
def test_a_proxy_does_not_decide_where_a_key_is_sent(cli, real_job, server, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(base_url="http://openai.example/v1")
    done = cli(command, "job.json", "--proxy", server.url)
    assert (done.code, "add --base-url http://openai.example/v1" in done.err) == (2, True)
    assert server.requests == []


@pytest.mark.parametrize("command", LOOKS)
def test_a_job_of_another_account_is_refused_with_a_way_on(cli, real_job, monkeypatch, command):
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key")
    real_job(account="0123456789abcdef")
    done = cli(command, "job.json")
    assert (done.code, "another account" in done.err) == (2, True)
    assert "delete the account of the handle in the job file" in done.err


def test_an_interrupted_submission_is_continued_by_the_same_command(cli, folder):
    cli(*DEFER, "Who?")
    content = json.loads((folder / "job.json").read_text())
    del content["handle"]
    (folder / "job.json").write_text(json.dumps(content))
    done = cli("status", "--mock", "job.json")
    assert (done.code, "run the same pollux-sync defer command again" in done.err) == (2, True)
