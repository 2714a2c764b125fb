import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from bulk_service import echo
from pollux_sync.testing.server import Hang

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9")

#: A run in a process of its own. It prints a line for each result.
RUN = """
import sys
from pollux_batch import Limits, stream_batch
from pollux_sync import Config

url, path, count, processes = sys.argv[1:]
config = Config(provider="local", model="m", base_url=url)
items = ((f"row {n}", f"p{n}") for n in range(int(count)))
settings = {"workers": 20, "limits": Limits(adaptive=False), "processes": int(processes)}
for item in stream_batch(items, config=config, journal=path, **settings):
    assert item.success, item.error
    print(item.item_id, item.output, flush=True)
"""
#: A server in a process of its own, which logs the prompts that arrive before it answers them.
SERVE = """
import sys, threading
from bulk_service import Service, echo, read_prompt

lock = threading.Lock()

def log(request):
    with lock:
        print(read_prompt(request), flush=True)
    return echo(request)

with Service() as server:
    server.handler = log
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def start_run(url, path, count, *, processes=1):
    command = [sys.executable, "-c", RUN, f"{url}/v1", str(path), str(count), str(processes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish_run(url, path, count):
    with start_run(url, path, count) as process:
        lines = process.stdout.read().splitlines()
        assert process.wait() == 0
    return lines


@pytest.fixture
def killed(server, path):
    """The labels of what was in flight when a run of 240 items was killed."""

    def hang_after_100(request):
        return echo(request) if len(server.requests) <= 100 else Hang()

    server.handler = hang_after_100
    with start_run(server.url, path, 240):
        server.wait_for_requests(120)
    server.handler = echo
    return [f"row {prompt[1:]}" for prompt in server.prompts[100:]]


def test_pays_again_only_for_what_was_in_flight_at_a_kill(killed, server, path):
    lines = finish_run(server.url, path, 240)
    assert sorted(lines) == sorted(f"row {n} re: p{n}" for n in range(240))
    assert len(server.requests) <= 240 + 20


def test_names_what_was_in_flight_at_a_kill(killed, ask, read_lost):
    ask([])
    assert sorted(read_lost()) == sorted(killed)


def test_names_what_was_lost_once(killed, ask, read_lost):
    ask([])
    ask([])
    assert read_lost() == []


@contextlib.contextmanager
def start_server():
    """Start a server in its own process; yield its address and the counts of the prompts that it got."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        url, counts = process.stdout.readline().strip(), Counter()

        def count():
            counts.update(line.strip() for line in process.stdout)

        reader = threading.Thread(target=count)
        reader.start()
        yield url, counts
        process.stdin.close()
        reader.join()


@pytest.mark.soak
@pytest.mark.parametrize("processes", [1, 2])
def test_soak_answers_every_item_once_through_kills(soak, path, processes):
    n_kills = 0
    with start_server() as (url, counts):
        for _ in range(soak.rounds):
            with start_run(url, path, 2_000, processes=processes) as process:
                # Replayed results come first: the later of them, the further it gets.
                for _ in range(soak.draw.randrange(1, 2_500)):
                    if not process.stdout.readline():
                        break
                n_kills += process.poll() is None
        lines = finish_run(url, path, 2_000)
        assert sorted(lines) == sorted(f"row {n} re: p{n}" for n in range(2_000))
    assert len(counts) == 2_000
    assert counts.total() <= 2_000 + 20 * n_kills
    assert n_kills > soak.rounds // 3
