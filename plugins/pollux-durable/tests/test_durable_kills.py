"""Workers that are killed or frozen: others carry their runs on, over the steps that are recorded."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import durable_worker
import pollux_durable
from pollux_durable import events, get_handle
from pollux_durable.configuring import find_host
from pollux_durable.registry import registry

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9"),
    pytest.mark.usefixtures("unset"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, make_url):
    return make_url(request.param)


@pytest.fixture
def set_up_here(url, tmp_path):
    """Let this process carry the workflow on."""

    def set_up_here(mode="plain"):
        pollux_durable.configure(url, lease_s=durable_worker.LEASE_S, wait_threshold_s=0.2)
        durable_worker.declare_six(tmp_path, mode)
        return find_host()

    yield set_up_here
    pollux_durable.reset()
    registry._workflows.pop("six", None)


@contextlib.contextmanager
def start_worker(url, folder, mode):
    command = [sys.executable, durable_worker.__file__, url, str(folder), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_log(folder):
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def check_steps(host):
    steps = [step.key for step in host.engine.list_steps(durable_worker.RUN)]
    assert steps == [*(f"step {number}" for number in range(1, 7)), "publish"]
    assert [event.data for event in host.events.read("six")] == [{"total": 21}]


def test_a_run_goes_on_after_a_kill_when_a_worker_is_started(url, tmp_path, set_up_here):
    with start_worker(url, tmp_path, "dies") as worker:
        assert worker.wait(60) == -signal.SIGKILL
    host = set_up_here()
    assert get_handle(durable_worker.RUN).result(60) == 21
    assert read_log(tmp_path) == ["1", "2", "3", "4", "4", "5", "6"]
    check_steps(host)


def test_a_run_is_taken_over_from_a_killed_worker(url, tmp_path, set_up_here):
    host = set_up_here()
    with start_worker(url, tmp_path, "dies") as worker:
        assert worker.wait(60) == -signal.SIGKILL
    assert get_handle(durable_worker.RUN).result(60) == 21
    assert read_log(tmp_path) == ["1", "2", "3", "4", "4", "5", "6"]
    check_steps(host)
    assert get_handle(durable_worker.RUN).get().executor_id == host.engine.executor_id


def freeze(worker, url):
    """Stop a process, not in the middle of a transaction of SQLite: all others would have to wait for it."""
    while True:
        worker.send_signal(signal.SIGSTOP)
        if not url.startswith("sqlite"):
            return
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        else:
            connection.execute("ROLLBACK")
            return
        finally:
            connection.close()


def test_a_frozen_worker_is_fenced_when_it_wakes(url, tmp_path, set_up_here, poll):
    host = set_up_here("hangs")
    with start_worker(url, tmp_path, "hangs") as worker:
        poll(lambda: read_log(tmp_path) == ["1", "2"], 60)
        freeze(worker, url)
        (tmp_path / "go").touch()
        assert get_handle(durable_worker.RUN).result(60) == 21
        worker.send_signal(signal.SIGCONT)
        assert worker.stdout.read().strip() == "21"
        assert worker.wait(60) == 0
    assert read_log(tmp_path) == ["1", "2", "2", "3", "4", "5", "6"]
    check_steps(host)
    assert get_handle(durable_worker.RUN).get().executor_id == host.engine.executor_id


def test_a_topic_is_followed_through_another_process(url, tmp_path, set_up_here):
    set_up_here()
    stream = events.stream_topic("six", timeout=60)
    with start_worker(url, tmp_path, "publishes") as worker:
        assert [next(stream).data for _ in range(3)] == [0, 1, 2]
        assert worker.wait(60) == 0
    stream.close()
