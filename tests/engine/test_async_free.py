"""Calls are plain calls: they work wherever Python runs, and no event loop is made for any of them."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chat_api
import gemini_api
import messages_api
import openrouter_api
import responses_api
from every_call import AT_MOCK, AT_SERVICE, build_handler, run_every_call
from pollux_sync.testing.server import Answer

SUPPORT = Path(__file__).parents[1] / "support"
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(params=["mock", "service"])
def place(request, server):
    """Where the calls go: nothing for the mock, else an address; and what comes back."""
    server.handler = build_handler()
    return (None, AT_MOCK) if request.param == "mock" else (server.url, AT_SERVICE)


def test_works_in_the_thread_of_a_running_event_loop(place):
    where, answers = place

    async def main():
        return run_every_call(where)

    assert asyncio.run(main()) == answers


def test_the_event_loop_runs_while_a_call_is_in_another_thread(place):
    where, answers = place

    async def main():
        return await asyncio.gather(*(asyncio.to_thread(run_every_call, where) for _ in range(4)))

    assert asyncio.run(main()) == [answers] * 4


CELLS = ["from every_call import run_every_call", "given = run_every_call(where)", "again = run_every_call(where)"]


def test_works_cell_by_cell_in_a_kernel_whose_loop_never_stops(place):
    where, answers = place
    names = {"where": where}

    async def kernel():
        for number, cell in enumerate(CELLS):
            exec(compile(cell, f"<cell {number}>", "exec"), names)
            await asyncio.sleep(0)

    asyncio.run(kernel())
    assert (names["given"], names["again"]) == (answers, answers)


def test_works_in_a_thread(place):
    where, answers = place
    given = []
    thread = threading.Thread(target=lambda: given.append(run_every_call(where)))
    thread.start()
    thread.join()
    assert given == [answers]


def test_works_in_a_pool_of_threads(place):
    where, answers = place
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run_every_call, [where] * 8)) == [answers] * 8


def ran(code, *arguments):
    """Return the data that a new process prints at its end."""
    environment = os.environ | {"PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, *code, *filter(None, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


FORK = """
import json, os, sys
from every_call import run_every_call
where = sys.argv[1] if len(sys.argv) > 1 else None
before = run_every_call(where)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, json.dumps(run_every_call(where)).encode())
    os._exit(0)
after = run_every_call(where)
os.waitpid(child, 0)
print(json.dumps([before, after, json.loads(os.read(reader, 65536))]))
"""


@FORKS
def test_works_on_both_sides_of_a_fork(place):
    where, answers = place
    assert ran(["-c", FORK], where) == [answers] * 3


@FORKS
def test_a_forked_child_opens_connections_of_its_own(server):
    server.handler = build_handler()
    ran(["-c", FORK.replace("after = run_every_call(where)", "after = None")], server.url)
    used = [request.connection for request in server.requests]
    first = used[: len(used) // 2]
    assert set(first) & set(used[len(used) // 2 :]) == set()


FLIGHT = """
import json, os, signal, sys, threading
from pollux_sync import Config, Source, create_cache, hookimpl

parent, started, finish = os.getpid(), threading.Event(), threading.Event()


class Slow:
    @hookimpl(wrapper=True)
    def pollux_create_cache(self):
        if os.getpid() == parent:
            started.set()
            finish.wait()
        return (yield)


config = Config(provider="gemini", model="m", api_key="k", base_url=sys.argv[1], plugins=[Slow()])
made = []
thread = threading.Thread(target=lambda: made.append(create_cache([Source.from_text("x")], config=config)))
thread.start()
started.wait()
reader, writer = os.pipe()
if os.fork() == 0:
    signal.alarm(10)
    os.write(writer, create_cache([Source.from_text("x")], config=config).provider.encode())
    os._exit(0)
os.close(writer)
in_child = os.read(reader, 100).decode()
finish.set()
thread.join()
print(json.dumps([in_child, *(handle.provider for handle in made)]))
"""


@FORKS
def test_a_forked_child_waits_for_no_cache_that_the_parent_was_making(server):
    kept = {"name": "cachedContents/1", "model": "models/m", "expireTime": "2090-01-01T00:00:00Z"}
    server.handler = lambda _: Answer(json=kept)
    assert ran(["-c", FLIGHT], server.url) == ["gemini", "gemini"]


POOL = """
import json, multiprocessing, sys
from every_call import run_every_call

if __name__ == "__main__":
    where = sys.argv[2] if len(sys.argv) > 2 else None
    before = run_every_call(where)
    pool = multiprocessing.get_context(sys.argv[1]).Pool(2)
    print(json.dumps([before, *pool.map(run_every_call, [where] * 2)]))
    # Not `with`, which terminates the workers: some would die while they write what coverage measured.
    pool.close()
    pool.join()
"""


@pytest.mark.parametrize("method", [pytest.param("fork", marks=FORKS), "spawn"])
def test_works_in_the_processes_of_a_pool(place, tmp_path, method):
    where, answers = place
    script = tmp_path / "script.py"
    script.write_text(POOL)
    assert ran([str(script)], method, where) == [answers] * 3


MODULES = "import json, sys; print(json.dumps([*sys.modules]))"


def test_no_call_brings_in_an_event_loop(place):
    where, _ = place
    calls = f"from every_call import run_every_call; run_every_call({where!r}); {MODULES}"
    assert "asyncio" not in ran(["-c", calls])


ASK = f"""
import sys
from pollux_sync import Config, run
config = Config(provider=sys.argv[1], model="m", api_key="k", base_url=sys.argv[2])
assert run("hi", config=config)["answers"] == ["hello"]
{MODULES}
"""
ANSWERS = {
    "anthropic": messages_api.answer(messages_api.text("hello")),
    "gemini": gemini_api.answer(gemini_api.text("hello")),
    "local": chat_api.answer("hello"),
    "openai": responses_api.answer(responses_api.message("hello")),
    "openrouter": openrouter_api.answer("hello"),
}


@pytest.mark.parametrize("provider", ANSWERS)
def test_no_provider_brings_in_an_event_loop_or_an_sdk(server, provider):
    server.reply(ANSWERS[provider])
    modules = ran(["-c", ASK], provider, server.url)
    assert {"asyncio", "anthropic", "openai", "google.genai", "httpx", "httpx2"} & {*modules} == set()
