"""The commands that look at runs and change them. A worker in another process carries the runs out."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from pollux_durable import Workflow, configure, reset
from pollux_durable.cli import main
from pollux_durable.cli.arguments import _COMMANDS
from pollux_durable.cli.codes import MEANINGS
from pollux_durable.data.settings import DurableSettings
from pollux_durable.invoking import build_root
from pollux_durable.opening import open_viewer
from pollux_sync.errors import ConfigurationError

FLOWS = """
import threading
import time
from pathlib import Path

from pollux_durable import workflow

HERE = Path(__file__).parent


def note(name, value=None):
    with (HERE / "notes.txt").open("a") as file:
        file.write(name + "\\n")
    return value


@workflow
def double(ctx, number: int):
    return ctx.step.run("double", note, f"{ctx.execution_id}", number * 2)


@workflow
def order(ctx, number: int):
    first = ctx.step.run("first", note, f"{ctx.execution_id}.first", number + 1)
    doubled = ctx.step.invoke_and_wait("child", "double", first)
    ctx.step.publish_workflow_event("tell", {"doubled": doubled}, "progress")
    ctx.step.publish_workflow_event("hello", {"content": "Hel"}, "text_delta")
    ctx.step.publish_workflow_event("lo", {"content": "lo"}, "text_delta")
    approved = ctx.step.suspend("review", {"doubled": doubled})
    return ctx.step.run("last", note, f"{ctx.execution_id}.last", [doubled, approved])


@workflow
def fragile(ctx, flag: str):
    ctx.step.run("load", note, f"{ctx.execution_id}.load")
    return ctx.step.run("use", lambda: (HERE / flag).read_text(), max_retries=0)


@workflow
def pausing(ctx, seconds: int):
    try:
        ctx.step.wait_for("pause", seconds=seconds)
    except BaseException:
        note(f"{ctx.execution_id}.left")
        raise


@workflow
def calling(ctx):
    over = threading.Event()
    ctx.run.add_aborter(over.set)
    ctx.step.run("call", lambda: note(f"{ctx.execution_id}.begun") or over.wait(20))


@workflow
def spread(ctx):
    return ctx.step.map("each", lambda number: number + 1, [1, 2])
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def place(request, tmp_path_factory, make_url):
    """A folder with a module of workflows, a database, and a worker that carries them out."""
    folder = tmp_path_factory.mktemp("durable-cli")
    (folder / "flows.py").write_text(FLOWS)
    (folder / "notes.txt").touch()
    url = make_url(request.param)
    words = [sys.executable, "-m", "pollux_durable.worker", str(folder / "flows.py"), "--url", url, "--name", "w1"]
    with (folder / "worker.txt").open("w") as log:
        process = subprocess.Popen(words, stderr=log)
    poll(lambda: "Ctrl-C" in (folder / "worker.txt").read_text())
    yield SimpleNamespace(folder=folder, url=url)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def poll(look, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


@contextmanager
def view(url):
    with open_viewer(DurableSettings(url=url, execute=False)) as host:
        yield host


def submit(url, execution_id, workflow_id, payload=None):
    """Submit a run as a process does that has not declared its workflow."""

    def stand_in(ctx, payload=None):
        """Stand for a workflow of the worker."""

    with view(url) as host:
        host.start([build_root(Workflow(stand_in, id=workflow_id), payload, {"execution_id": execution_id})])


def wait_for(url, execution_id, status):
    with view(url) as host:
        poll(lambda: host.read_run(execution_id).status == status)


def count_notes(place, name):
    return (place.folder / "notes.txt").read_text().splitlines().count(name)


@pytest.fixture
def call(place, capsys):
    """Give a command; return what it prints to stdout."""

    def call(*words, code=0):
        capsys.readouterr()
        assert main([words[0], "--url", place.url, *words[1:]]) == code
        return capsys.readouterr().out

    return call


@pytest.fixture
def suspended(place, request):
    """The id of a run that waits for an answer."""
    execution_id = request.node.name
    submit(place.url, execution_id, "order", 3)
    wait_for(place.url, execution_id, "waiting")
    return execution_id


def test_ls_lists_runs_by_status_and_workflow(call, suspended):
    lines = call("ls", "--workflow", "order", "--status", "waiting").splitlines()
    assert lines[0].split() == ["ID", "WORKFLOW", "STATUS", "CREATED", "TOOK", "WAITS", "IN"]
    (line,) = [line for line in lines if line.startswith(suspended)]
    assert line.split()[1:3] == ["order", "waiting"]
    assert line.endswith("review")
    assert suspended not in call("ls", "--status", "failed", "--limit", "100")
    assert len(json.loads(call("ls", "--json", "--limit", "1"))) == 1
    assert call("ls", "--workflow", "none") == ""


def test_show_tells_what_a_run_has_done_and_what_it_waits_for(call, suspended):
    shown = call("show", suspended)
    assert "status     waiting\n" in shown
    assert "waits in   step 'review' for an answer\n" in shown
    assert 'asks       {"doubled": 8}\n' in shown
    assert f"pollux-sync durable answer {suspended} review --json DATA" in shown
    assert [line.split()[0] for line in shown.partition("steps:\n")[2].partition("\n\n")[0].splitlines()] == [
        "first",
        "child",
        "tell",
        "hello",
        "lo",
    ]
    assert f"  {suspended}.child  double  completed" in shown
    assert "worker     w1-" in shown


def test_show_prints_json(call, suspended):
    shown = json.loads(call("show", suspended, "--json"))
    assert (shown["status"], shown["payload"], shown["waits_for"]) == ("waiting", 3, "review")
    assert [step["result"] for step in shown["steps"][:2]] == [4, 8]
    assert shown["children"] == [{"execution_id": f"{suspended}.child", "status": "completed"}]


def test_logs_have_steps_and_events_in_the_order_of_time(call, suspended):
    lines = call("logs", suspended).splitlines()
    told = [line.partition("  ")[2] for line in lines if "  " in line]
    assert told[0].startswith("step   first  4  (")
    assert told[1].startswith("step   child: double  8  (")
    assert 'event  progress  {"doubled": 8}' in told
    entries = [json.loads(line) for line in call("logs", suspended, "--json").splitlines()]
    assert [entry["name"] for entry in entries if entry["kind"] == "event"] == [
        "progress",
        "text_delta",
        "text_delta",
        "suspend_review",
    ]


def test_logs_of_a_child_have_no_events_of_others(call, suspended):
    assert [line.partition("  ")[2][:13] for line in call("logs", f"{suspended}.child").splitlines()] == [
        "step   double"
    ]


def test_logs_follow_a_run_to_its_end(call, place, suspended):
    call("answer", suspended, "--json", "true")
    assert "  last  [8, true]" in call("logs", suspended, "-f")


@pytest.mark.parametrize("words", [["review"], []])
def test_answer_lets_a_run_go_on(call, place, suspended, words):
    call("answer", suspended, *words, "--json", '{"approved": true}')
    wait_for(place.url, suspended, "completed")
    assert json.loads(call("show", suspended, "--json"))["result"] == [8, {"approved": True}]
    with pytest.raises(ConfigurationError, match="is completed"):
        call("answer", suspended)


def test_answer_refuses_what_is_no_json(call, suspended, capsys):
    with pytest.raises(SystemExit):
        call("answer", suspended, "--json", "yes")
    assert "put a text into quotes" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "resume", "retry", "answer"])
def test_a_run_that_is_not_there_is_refused(call, command):
    with pytest.raises(ConfigurationError, match="no run 'nope'"):
        call(command, "nope")


def test_cancel_ends_a_run_that_waits_and_resume_has_it_go_on(call, place, suspended):
    assert json.loads(call("cancel", suspended, "--json"))["status"] == "cancelled"
    with pytest.raises(ConfigurationError, match="is cancelled"):
        call("cancel", suspended)
    call("resume", suspended)
    wait_for(place.url, suspended, "waiting")
    assert count_notes(place, f"{suspended}.first") == 1


def test_cancel_ends_a_wait_in_a_thread_of_another_process(call, place):
    submit(place.url, "pausing", "pausing", 9)
    wait_for(place.url, "pausing", "running")
    call("cancel", "pausing")
    poll(lambda: count_notes(place, "pausing.left"))


def test_cancel_aborts_a_call_in_another_process(call, place):
    submit(place.url, "calling", "calling")
    poll(lambda: count_notes(place, "calling.begun"))
    call("cancel", "calling")
    call("cancel", "calling", "--abort")
    with view(place.url) as host:
        # DBOS records no end of a step that was cancelled, but the thread of the run is free.
        poll(lambda: not host.engine.has_pending(host.workers.list_all()[0].executor_id))


def test_retry_goes_on_at_the_step_that_failed(call, place):
    submit(place.url, "fragile", "fragile", "flag")
    wait_for(place.url, "fragile", "failed")
    assert "use   " in (shown := call("show", "fragile"))
    assert "failed: FileNotFoundError" in shown
    (place.folder / "flag").write_text("it is there")
    call("retry", "fragile")
    wait_for(place.url, "fragile", "completed")
    assert json.loads(call("show", "fragile", "--json"))["result"] == "it is there"
    assert count_notes(place, "fragile.load") == 1


def test_retry_from_a_step_starts_the_runs_of_dropped_steps_anew(call, place, suspended):
    call("answer", suspended, "--json", "1")
    wait_for(place.url, suspended, "completed")
    with pytest.raises(ConfigurationError, match="is completed") as caught:
        call("retry", suspended)
    assert "first, child, tell, hello, lo, review, last" in caught.value.hint
    call("retry", suspended, "--from", "child")
    # The answer of before is dropped too: the run asks again.
    wait_for(place.url, suspended, "waiting")
    assert count_notes(place, f"{suspended}.child") == 2
    assert count_notes(place, f"{suspended}.first") == 1
    call("answer", suspended, "--json", "2")
    wait_for(place.url, suspended, "completed")
    assert json.loads(call("show", suspended, "--json"))["result"] == [8, 2]
    progress = [line for line in call("logs", suspended).splitlines() if "event  progress" in line]
    assert len(progress) == 2


def test_retry_from_a_later_step_keeps_the_runs_of_earlier_ones(call, place, suspended):
    call("cancel", suspended)
    call("retry", suspended, "--from", "tell")
    wait_for(place.url, suspended, "waiting")
    assert count_notes(place, f"{suspended}.child") == 1


def test_retry_refuses_a_run_that_goes_on_and_a_step_that_is_not_there(call, place, suspended):
    with pytest.raises(ConfigurationError, match="is waiting"):
        call("retry", suspended)
    call("cancel", suspended)
    with pytest.raises(ConfigurationError, match="no step 'nope'") as caught:
        call("retry", suspended, "--from", "nope")
    assert "its steps are: first, child" in caught.value.hint


def test_fork_starts_a_run_with_the_records_before_a_step(call, place, suspended):
    fork_id = call("fork", suspended, "--from", "tell").strip()
    wait_for(place.url, fork_id, "waiting")
    call("answer", fork_id, "--json", '"forked"')
    wait_for(place.url, fork_id, "completed")
    assert json.loads(call("show", fork_id, "--json"))["result"] == [8, "forked"]
    assert json.loads(call("show", suspended, "--json"))["status"] == "waiting"
    assert count_notes(place, f"{suspended}.child") == 1
    with pytest.raises(ConfigurationError, match="already"):
        call("fork", suspended, "--from", "tell", "--id", fork_id)


def read_calls(place, execution_id):
    with view(place.url) as host, host.engine.database.transact() as transaction:
        sql = "SELECT step_key, reply FROM pollux_calls WHERE execution_id = :id ORDER BY step_key"
        return transaction.execute(sql, {"id": execution_id})


def test_fork_and_retry_keep_the_model_answers_of_earlier_steps_only(call, place, suspended):
    with view(place.url) as host, host.engine.database.transact() as transaction:
        for key in ("first", "tell"):
            transaction.execute(
                "INSERT INTO pollux_calls (execution_id, step_key, request_key, request, reply, at)"
                " VALUES (:id, :key, 'k', '{}', :key, 0)",
                {"id": suspended, "key": key},
            )
    fork_id = call("fork", suspended, "--from", "tell").strip()
    assert read_calls(place, fork_id) == [("first", "first")]
    call("cancel", suspended)
    call("retry", suspended, "--from", "tell")
    assert read_calls(place, suspended) == [("first", "first")]


def test_fork_begins_with_the_first_call_of_a_map(call, place):
    submit(place.url, "spread", "spread")
    wait_for(place.url, "spread", "completed")
    call("fork", "spread", "--from", "each", "--id", "spread-2", "--json")
    wait_for(place.url, "spread-2", "completed")
    assert json.loads(call("show", "spread-2", "--json"))["result"] == [2, 3]


def test_gc_deletes_ended_runs_with_all_that_belongs_to_them(call, place, suspended):
    submit(place.url, "gone", "spread")
    wait_for(place.url, "gone", "completed")
    assert json.loads(call("gc", "--older", "7d", "--json"))["runs"] == 0
    would = json.loads(call("gc", "--older", "0s", "--dry-run", "--json"))
    assert would["runs"] >= 1
    deleted = call("gc", "--older", "0s")
    assert deleted.startswith(f"deleted {would['runs']} runs with their steps, ")
    assert deleted.endswith(", 0 workers that are gone\n")
    names = [info["execution_id"] for info in json.loads(call("ls", "--json", "--limit", "100"))]
    assert "gone" not in names
    # The child has ended, but the run that started it goes on.
    assert {suspended, f"{suspended}.child"} <= {*names}
    call("answer", suspended, "--json", "1")
    wait_for(place.url, suspended, "completed")
    call("gc", "--older", "0s")
    with view(place.url) as host:
        assert host.events.read(f"workflow/order/{suspended}") == []


@pytest.mark.parametrize("age", ["7", "d", "week", "-1d"])
def test_gc_refuses_an_age_that_is_none(call, age):
    with pytest.raises(SystemExit):
        call("gc", "--older", age)


def test_doctor_finds_no_problem_where_a_worker_is_alive(call, suspended):
    shown = call("doctor")
    assert "live workers  w1-" in shown
    assert shown.endswith("no problems found\n")


def test_a_script_leaves_its_runs_to_workers(place):
    def double(ctx, number: int):
        raise AssertionError("it is carried out here")

    reset()
    configure(place.url, execute=False)
    try:
        workflow = Workflow(double)
        assert workflow.run(21, timeout=20) == 42
    finally:
        reset()


def test_the_page_of_the_command_has_all_commands_and_exit_codes():
    page = (Path(__file__).parents[3] / "docs" / "durable" / "command-line.md").read_text()
    assert [name for name in _COMMANDS if f"`{name}" not in page] == []
    assert [
        line
        for line in (f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
        if line not in page.replace("`", "")
    ] == []


def test_a_command_without_a_name_shows_the_help(capsys):
    assert main([]) == 2
    assert "exit codes:" in capsys.readouterr().err


def test_worker_refuses_a_module_that_is_not_there(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    for name, message in (
        ("no.such.module", "ModuleNotFoundError"),
        ("missing.py", "no file"),
        (str(tmp_path / "broken.py"), "SyntaxError"),
        ("pollux_durable.data.states", "declares no workflow"),
    ):
        Path(tmp_path, "broken.py").write_text("def")
        with pytest.raises(ConfigurationError, match=message):
            main(["worker", name])
    assert signal.getsignal(signal.SIGTERM) is before
