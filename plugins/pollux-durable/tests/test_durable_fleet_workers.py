"""A job of pollux-batch on three worker processes of one database: one is killed, one frozen and woken again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

import pollux_durable
from bulk_service import Service, echo
from pollux_batch import Limits, run_batch
from pollux_durable.cli import main
from pollux_durable.configuring import find_host
from pollux_sync import Config

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("unset")]

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "4"))
COUNT = min(20_000, max(2_000, 200 * ROUNDS))
CHUNK = COUNT // 20
IN_FLIGHT, LATENCY_S, LEASE_S = 30, 0.05, 6.0
WORKER = f"""
import sys, time
import pollux_durable.fleet
from pollux_durable import configure
from pollux_durable.configuring import find_host

configure(sys.argv[1], lease_s={LEASE_S})
find_host()
while True:
    time.sleep(1)
"""


class SlowService(Service):
    """Answers after a while, and counts how many requests it has at a time."""

    def __init__(self):
        super().__init__()
        self.handler = self._answer
        self.n_open = self.peak = 0
        self._lock = threading.Lock()

    def _answer(self, request):
        with self._lock:
            self.n_open += 1
            self.peak = max(self.peak, self.n_open)
        time.sleep(LATENCY_S)
        with self._lock:
            self.n_open -= 1
        return echo(request)


@pytest.fixture
def start_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("POLLUX_FLEET_FOLDER", str(tmp_path / "fleet"))
    processes = []

    def start(url):
        processes.append(subprocess.Popen([sys.executable, "-c", WORKER, url]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def find_busy(host, workers):
    """Return the process of a worker that carries out a chunk."""
    busy = {run.executor_id for run in host.list_runs(statuses=["running"])}
    pids = [worker.pid for worker in host.workers.list_all() if worker.executor_id in busy]
    return next((process for process in workers if process.pid in pids), None)


def test_all_items_are_answered_once_through_a_kill_and_a_freeze(make_url, start_worker, tmp_path, monkeypatch, poll):
    from pollux_durable.fleet import DurableFleet

    monkeypatch.setattr("pollux_batch.shipping.FleetSubmitter.max_items", CHUNK)
    monkeypatch.setattr("pollux_batch.shipping.FleetSubmitter.look_s", (0.2, 1.0))
    url = make_url("postgresql")
    assert main(["migrate", "--url", url]) == 0
    pollux_durable.configure(url, execute=False)
    prompts = [f"p{number}" for number in range(COUNT)]
    with SlowService() as service:
        workers = [start_worker(url) for _ in range(3)]

        def disturb():
            host = find_host()
            poll(lambda: len(host.workers.list_all()) == 3, 60)
            poll(lambda: len(service.requests) > COUNT // 5, 300)
            poll(lambda: find_busy(host, workers) is not None, 60)
            killed = find_busy(host, workers)
            killed.kill()
            killed.wait()
            left = [worker for worker in workers if worker is not killed]
            poll(lambda: len(service.requests) > COUNT // 2, 300)
            poll(lambda: find_busy(host, left) is not None, 60)
            frozen = find_busy(host, left)
            frozen.send_signal(signal.SIGSTOP)
            poll(lambda: len(service.requests) > COUNT * 4 // 5, 300)
            seen["peak"] = service.peak
            frozen.send_signal(signal.SIGCONT)
            seen["woken"] = frozen

        seen = {}
        disturber = threading.Thread(target=disturb)
        find_host()
        disturber.start()
        config = Config(provider="local", model="m", base_url=f"{service.url}/v1")
        limits = Limits(max_concurrency=IN_FLIGHT, adaptive=False)
        result = run_batch(prompts, config=config, journal=tmp_path / "job.db", fleet=DurableFleet(), limits=limits)
        disturber.join(30)
        paid = Counter(service.prompts)
    assert result.outputs() == [f"re: {prompt}" for prompt in prompts]
    assert set(paid) == set(prompts)
    # What was in flight at the kill, and what the frozen worker had of its chunk, whose journal it keeps.
    assert paid.total() - COUNT <= CHUNK + 2 * IN_FLIGHT
    assert seen["peak"] <= IN_FLIGHT
    assert seen["woken"].poll() is None
