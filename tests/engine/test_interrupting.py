import os
import signal
import threading
import time

import attrs
import pytest

from acme_server import FileServer
from pollux_sync import Interrupted, RetryPolicy, Source, run_many
from pollux_sync.engine.threads import map_threads
from pollux_sync.testing.server import Answer, Hang
from scripts import start_scripts

SCRIPT = """
import sys
from pollux_sync import Config, RetryPolicy, Source, run_many
sources = [Source.from_file(path) for path in sys.argv[2:]]
config = Config(provider="acme", model="m", api_key="k", base_url=sys.argv[1], retry=RetryPolicy(max_attempts=5))
print("go", flush=True)
try:
    run_many([f"p{n}" for n in range(50)], sources=sources, config=config)
except KeyboardInterrupt as interrupt:
    result = getattr(interrupt, "partial_result", None)
    answers = result["answers"] if result else []
    print(len(answers), sum(map(bool, answers)), flush=True)
    raise
"""

#: How long a stop may take: a bound, not an expectation. The service of a test asks to wait longer than this.
SOON_S = 10.0


@pytest.fixture
def script(acme, tmp_path, server):
    """Starts the script above in a process of its own."""
    with start_scripts(SCRIPT, tmp_path) as start_script:
        yield lambda: start_script(server.url)


def test_ctrl_c_over_slow_prompts_ends_soon_and_deletes_the_uploads(server, script):
    files = FileServer()
    server.handler = lambda request: Hang() if request.path == "/ask" else files(request)
    process = script()
    server.wait_for_requests(2 + 6)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SOON_S)
    assert process.returncode == -signal.SIGINT
    assert output == "50 0\n"
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]
    assert len([request for request in server.requests if request.path == "/ask"]) <= 6


def test_ctrl_c_keeps_the_answers_that_are_there(server, script):
    files = FileServer()

    def handler(request):
        is_first = request.path == "/ask" and request.json()["prompt"] == "p0"
        return files(request) if is_first or request.path != "/ask" else Hang()

    server.handler = handler
    process = script()
    server.wait_for_requests(2 + 7)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SOON_S)
    assert output == "50 1\n"


def test_ctrl_c_during_a_retry_wait_ends_it(server, script):
    files = FileServer()
    busy = Answer(status=429, json={"error": "slow"}, headers={"Retry-After": "14"})
    server.handler = lambda request: busy if request.path == "/ask" else files(request)
    process = script()
    server.wait_for_requests(2 + 6)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SOON_S)
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]


def test_ctrl_c_during_an_upload_leaves_no_file_behind(server, script):
    files, signalled = FileServer(), threading.Event()

    def handler(request):
        answer = files(request)
        if request.path != "/files":
            return answer
        signalled.wait(SOON_S)
        return answer

    server.handler = handler
    process = script()
    server.wait_for_requests(2)
    process.send_signal(signal.SIGINT)
    signalled.set()
    output, _ = process.communicate(timeout=SOON_S)
    assert output == "0 0\n"
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]
    assert all(request.path != "/ask" for request in server.requests)


def test_ctrl_c_while_files_are_processed_deletes_them(server, script):
    files = FileServer()

    def handler(request):
        if request.method == "GET":
            return Answer(json={"id": request.path.rpartition("/")[2], "ready": False})
        answer = files(request)
        return Answer(json=answer.json | {"ready": False}) if request.path == "/files" else answer

    server.handler = handler
    process = script()
    server.wait_for_requests(4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SOON_S)
    assert process.returncode == -signal.SIGINT
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]
    assert all(request.path != "/ask" for request in server.requests)


def test_a_defect_in_a_worker_is_raised_where_the_call_was_made():
    def work(number):
        if number == 3:
            raise ZeroDivisionError("defect")
        return number

    with pytest.raises(ZeroDivisionError, match="defect"):
        map_threads(work, range(10), 4, threading.Event(), [None] * 10)


def test_stopped_workers_take_no_more_items():
    stop, done = threading.Event(), [None] * 100

    def work(number):
        stop.set()
        return number

    map_threads(work, range(100), 4, stop, done)
    assert 1 <= len([number for number in done if number is not None]) <= 4


def test_leaves_no_thread_behind(server, config):
    from pollux_sync import run_many

    server.handler = FileServer()
    before = {thread for thread in threading.enumerate() if thread.name == "pollux-sync"}
    run_many([f"p{n}" for n in range(20)], config=config())
    deadline = time.monotonic() + 5
    while {t for t in threading.enumerate() if t.name == "pollux-sync"} - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not {t for t in threading.enumerate() if t.name == "pollux-sync"} - before


# In this process, whose main thread calls.


def press_ctrl_c(server, n_requests):
    """Send SIGINT to this process when so many requests have arrived; return the event that it was sent."""
    is_sent = threading.Event()

    def press():
        server.wait_for_requests(n_requests, timeout_s=20.0)
        os.kill(os.getpid(), signal.SIGINT)
        is_sent.set()

    threading.Thread(target=press, daemon=True).start()
    return is_sent


def test_what_waits_for_a_retry_is_not_sent_again(server, config):
    busy = Answer(status=503, json={"error": "busy"}, headers={"Retry-After": "5"})
    server.reply(busy, busy, Answer(json={"answer": "late"}), Answer(json={"answer": "late"}))
    press_ctrl_c(server, 2)
    with pytest.raises(Interrupted):
        run_many(["p0", "p1"], config=config(retry=RetryPolicy(max_attempts=3)))
    time.sleep(0.2)  # in which the waiting threads would have sent their requests
    assert len(server.requests) == 2


@pytest.mark.parametrize("n_files", [1, 3])
def test_a_stop_while_files_are_deleted_keeps_the_answers_and_deletes_the_rest(server, config, tmp_path, n_files):
    files = FileServer()

    def handler(request):
        answer = files(request)
        if request.method != "DELETE":
            return answer
        is_sent.wait(SOON_S)
        return attrs.evolve(answer, delay_s=0.1)

    paths = [tmp_path / f"{number}.png" for number in range(n_files)]
    for path in paths:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + path.name.encode())
    is_sent = press_ctrl_c(server, n_files + 2)
    server.handler = handler
    with pytest.raises(Interrupted) as caught:
        run_many(["p0"], sources=map(Source.from_file, paths), config=config(request_concurrency=1))
    assert caught.value.partial_result["answers"] == ["P0"]
    assert sorted(files.deleted) == [f"id-{path.name}" for path in paths]


def test_a_second_stop_while_files_are_deleted_keeps_the_answers(server, config, tmp_path):
    files = FileServer()
    server.handler = lambda request: Hang() if request.method == "DELETE" or is_odd(request) else files(request)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    press_ctrl_c(server, 3)
    press_ctrl_c(server, 4)
    with pytest.raises(Interrupted) as caught:
        # One after the other, so that the first has its answer before the stop.
        run_many(["p0", "p1"], sources=[Source.from_file(tmp_path / "a.png")], config=config(request_concurrency=1))
    assert caught.value.partial_result["answers"] == ["P0", ""]


@pytest.mark.parametrize("is_started", [False, True])
def test_a_stop_while_the_threads_that_delete_are_started_leaves_no_file(
    server, config, tmp_path, monkeypatch, is_started
):
    files = FileServer()
    server.handler = files
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    start = threading.Thread.start
    n_stops = 0

    def start_while_stopped(thread):
        nonlocal n_stops
        if thread.name != "pollux-sync" or len(server.requests) < 2 or n_stops:
            return start(thread)
        n_stops += 1
        if is_started:
            start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_while_stopped)
    with pytest.raises(Interrupted) as caught:
        run_many(["p0"], sources=[Source.from_file(tmp_path / "a.png")], config=config())
    assert caught.value.partial_result["answers"] == ["P0"]
    assert files.deleted == ["id-a.png"]


DEFER = """
import sys
from pollux_sync import Config, Source, defer_many
config = Config(provider="openai", model="m", api_key="k", base_url=sys.argv[1] + "/v1", uploads="always")
print("go", flush=True)
defer_many(["p"], sources=map(Source.from_file, sys.argv[2:]), config=config)
"""


def test_ctrl_c_does_not_wait_for_a_service_that_says_nothing_any_more(server, tmp_path):
    server.handler = lambda request: Hang()
    with start_scripts(DEFER, tmp_path) as start_script:
        process = start_script(server.url)
        server.wait_for_requests(2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)  # of the ten minutes that each look for what was stored may take
    assert process.returncode == -signal.SIGINT


def is_odd(request):
    return request.path == "/ask" and request.json()["prompt"] == "p1"
