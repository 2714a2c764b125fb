"""Workers as real processes: how they begin, end and start again."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pollux_durable import Workflow
from pollux_durable.cli import main
from pollux_durable.data.settings import DurableSettings
from pollux_durable.invoking import build_root
from pollux_durable.opening import open_viewer

FLOWS = """
import time
from pathlib import Path

from pollux_durable import Queue, workflow

HERE = Path(__file__).parent


def note(name):
    with (HERE / "notes.txt").open("a") as file:
        file.write(name + "\\n")


@workflow
def slow(ctx, seconds: float):
    ctx.step.run("one", lambda: note("one") or time.sleep(seconds))
    ctx.step.run("two", note, "two")
    return "WORD"


@workflow(queue=Queue("gpu"))
def counted(ctx):
    return ctx.step.run("count", note, "counted")
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A database with all tables."""
    path = tmp_path_factory.mktemp("template") / "durable.db"
    assert main(["migrate", "--url", f"sqlite:///{path}"]) == 0
    return path


@pytest.fixture
def folder(tmp_path, template):
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "durable.db").write_bytes(template.read_bytes())
    return tmp_path


@pytest.fixture
def start(folder):
    """Start a worker or `dev`; return its process once it carries runs out."""
    processes = []

    def start(command="worker", *words):
        code = "import sys; from pollux_durable.cli import main; sys.exit(main(sys.argv[1:]))"
        log = folder / f"log-{len(processes)}.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", code, command, str(folder / "flows.py"), "--url", find_url(folder), *words],
                stderr=file,
            )
        processes.append(process)
        poll(lambda: "Ctrl-C" in log.read_text())
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def find_url(folder):
    return f"sqlite:///{folder}/durable.db"


def poll(look, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


def submit(folder, workflow_id, payload=None, queue=None):
    def stand_in(ctx, payload=None):
        """Stand for a workflow of the worker."""

    with open_viewer(DurableSettings(url=find_url(folder), execute=False)) as host:
        workflow = Workflow(stand_in, id=workflow_id)
        settings = {"execution_id": workflow_id} | ({} if queue is None else {"queue": queue})
        host.start([build_root(workflow, payload, settings)])


def read_run(folder, execution_id):
    with open_viewer(DurableSettings(url=find_url(folder), execute=False)) as host:
        return host.read_run(execution_id)


def read_notes(folder):
    return (folder / "notes.txt").read_text().split()


def test_a_worker_that_is_told_to_end_waits_for_the_step_in_flight_and_hands_its_run_over(folder, start):
    worker = start()
    submit(folder, "slow", 1.5)
    poll(lambda: read_notes(folder) == ["one"])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert read_run(folder, "slow").status == "queued"
    with open_viewer(DurableSettings(url=find_url(folder), execute=False)) as host:
        assert [step.key for step in host.engine.list_steps("slow")] == ["one"]
        assert host.workers.list_all() == []
    start()
    poll(lambda: read_run(folder, "slow").status == "completed")
    assert read_notes(folder) == ["one", "two"]


def test_a_second_signal_ends_a_worker_at_once(folder, start):
    worker = start()
    submit(folder, "slow", 60)
    poll(lambda: read_notes(folder) == ["one"])
    worker.send_signal(signal.SIGINT)
    poll(lambda: "steps in flight" in (folder / "log-0.txt").read_text())
    worker.send_signal(signal.SIGINT)
    assert worker.wait(5) == 128 + signal.SIGINT


def test_a_worker_takes_runs_of_its_queues_only(folder, start):
    start("worker", "--queues", "gpu", "--name", "gpu-worker")
    submit(folder, "slow", 0)
    submit(folder, "counted", queue="gpu")
    poll(lambda: read_run(folder, "counted").status == "completed")
    assert read_run(folder, "slow").status == "queued"
    assert read_run(folder, "counted").executor_id.startswith("gpu-worker-")


def test_dev_starts_again_when_a_source_changes(folder, start):
    submit(folder, "slow", 0)
    dev = start("dev")
    poll(lambda: read_run(folder, "slow").status == "completed")
    (folder / "flows.py").write_text(FLOWS.replace("WORD", "another word"))
    poll(lambda: (folder / "log-0.txt").read_text().count("Ctrl-C") == 2)
    assert "flows.py changed: starting again" in (folder / "log-0.txt").read_text()
    main(["retry", "slow", "--from", "two", "--url", find_url(folder)])
    poll(lambda: read_run(folder, "slow").status == "completed")
    assert read_run(folder, "slow").result == "another word"
    dev.send_signal(signal.SIGINT)
    assert dev.wait(20) == 0


def test_a_module_that_cannot_be_used_ends_the_worker_with_one_line_and_a_hint(folder):
    # What is relative in the path leads elsewhere from the folder.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    words = [sys.executable, "-m", "pollux_durable.worker", "flows", "--queues", "gpu,nope", "--url", find_url(folder)]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert ended.returncode == 2
    assert ended.stderr == ("error: no workflow of the module has the queue 'nope'\n  hint: its queues: gpu, pollux\n")
