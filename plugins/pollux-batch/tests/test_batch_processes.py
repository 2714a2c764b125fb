"""Several processes carry out the calls of a job; everything else is as with one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import Limits, Retries, distributing
from pollux_batch.batching import open_job
from pollux_sync import Config, ConfigurationError, Options, ProviderBugError, Source, hookimpl
from pollux_sync.testing.server import Answer
from sending_plugin import Deadly, Homesick, Interrupting, PidHeader, Quitting, Strange

ALL_AT_ONCE = Limits(adaptive=False)
AT_ONCE = Retries(initial_wait_s=0)


@pytest.fixture
def ask_twice(ask):
    """Run a batch over two senders."""

    def ask_twice(items, **settings):
        return ask(items, **({"processes": 2, "limits": ALL_AT_ONCE} | settings))

    return ask_twice


def read_sender(request):
    return int(request.headers["X-Pid"])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(pid):
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sends_from_every_process(ask_twice, config, server):
    prompts = [f"p{n}" for n in range(200)]
    result = ask_twice(prompts, config=config(plugins=[PidHeader()]))
    assert result.outputs() == [f"re: {prompt}" for prompt in prompts]
    counts = Counter(read_sender(request) for request in server.requests)
    assert len(counts) == 2
    assert os.getpid() not in counts
    assert not any(map(is_alive, counts))


def test_takes_the_answers_of_one_process_over(ask, ask_twice, server):
    ask([f"p{n}" for n in range(0, 40, 2)])
    result = ask_twice([f"p{n}" for n in range(40)])
    assert (result.succeeded, result.summary()["replayed"], len(server.requests)) == (40, 20, 40)


def test_keeps_at_most_workers_in_flight(ask_twice, server):
    lock, flying, most = threading.Lock(), set(), []

    def count(request):
        with lock:
            flying.add(id(request))
            most.append(len(flying))
        time.sleep(0.002)
        with lock:
            flying.discard(id(request))
        return echo(request)

    server.handler = count
    assert ask_twice([f"p{n}" for n in range(120)], workers=6).succeeded == 120
    assert max(most) <= 6


def test_starts_no_process_where_nothing_is_sent(ask, ask_twice, monkeypatch):
    ask(["a", "b"])
    monkeypatch.setattr(distributing, "_start_process", lambda: pytest.fail("a process was started"))
    assert ask_twice(["a", "b"]).succeeded == 2


def test_tries_a_failed_call_again(ask_twice, server):
    seen = Counter()

    def fail_first(request):
        prompt = read_prompt(request)
        seen[prompt] += 1
        return Answer(status=500, json={}) if seen[prompt] == 1 else echo(request)

    server.handler = fail_first
    result = ask_twice([f"p{n}" for n in range(8)], retries=AT_ONCE, workers=2)
    assert result.succeeded == 8
    assert set(seen.values()) == {2}
    assert [item.attempts for item in result.results] == [2] * 8


def test_pauses_all_processes_for_one_refusal(ask_twice, server):
    refused_at, late = [], []

    def refuse_once(request):
        if not refused_at:
            refused_at.append(time.monotonic())
            return Answer(status=429, headers={"Retry-After": "1"}, json={})
        late.append(time.monotonic() - refused_at[0])
        return echo(request)

    server.handler = refuse_once
    assert ask_twice([f"p{n}" for n in range(30)], workers=1, retries=AT_ONCE).succeeded == 30
    assert min(late) >= 1


def test_asks_again_for_an_answer_that_does_not_fit(ask_twice, server):
    server.reply(answer("no number"), answer("7"))
    result = ask_twice(["a"], options=Options(response_schema=int, schema_repairs=1))
    assert (result.outputs(), len(server.requests)) == ([7], 2)


def test_sends_files(ask_twice, server, tmp_path):
    image = tmp_path / "dot.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    server.handler = lambda request: answer(str(b"data:image/png;base64" in request.body))
    assert ask_twice(["a", "b"], sources=[Source.from_file(image)]).outputs() == ["True", "True"]


def test_reads_an_answer_that_came_as_events(ask_twice, server):
    chunk = {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    server.reply(Answer(body=body, headers={"Content-Type": "text/event-stream"}))
    assert ask_twice(["a"]).outputs() == ["hello"]


def test_names_the_address_that_cannot_be_reached(ask, config):
    (one,), (two,) = (
        ask(["a"], config=config(base_url="http://127.0.0.1:9/v1"), journal=None, retries=AT_ONCE, processes=n).results
        for n in (1, 2)
    )
    assert two.error == one.error
    assert (two.error_category, two.attempts) == (one.error_category, one.attempts)


def test_tells_observers_of_calls_before_they_are_sent(ask_twice, config, server):
    class Observer:
        begun = 0

        @hookimpl
        def pollux_event(self, event):
            self.begun += type(event).__name__ == "CallStarted"

    observer = Observer()
    server.handler = lambda request: echo(request) if observer.begun else Answer(status=400, json={})
    result = ask_twice([f"p{n}" for n in range(20)], config=config(plugins=[observer, PidHeader()]))
    assert (result.succeeded, observer.begun) == (20, 20)
    assert len({read_sender(request) for request in server.requests}) == 2


# What goes wrong in a sender


def test_replaces_a_sender_that_has_died(ask_twice, config, server):
    killed, seen, has_replaced = [], set(), threading.Event()

    def kill_one(request):
        seen.add(read_sender(request))
        if len(seen) > 2:
            has_replaced.set()
        if read_prompt(request) == "p5" and not killed:
            killed.append(read_sender(request))
            os.kill(killed[0], signal.SIGKILL)
        elif killed:
            # Otherwise the other sender may answer all before anybody notices.
            has_replaced.wait(10)
        return echo(request)

    server.handler = kill_one
    result = ask_twice([f"p{n}" for n in range(60)], config=config(plugins=[PidHeader()]), retries=AT_ONCE)
    assert result.succeeded == 60
    assert len({read_sender(request) for request in server.requests} - set(killed)) == 2


def test_takes_a_dead_sender_for_no_outage_of_the_provider(config, server):
    killed, outages = [], []
    sending = config(plugins=[PidHeader()])
    prompts = [f"p{n}" for n in range(100)]
    asked = {"options": None, "sources": (), "journal": None, "retries": AT_ONCE, "limits": ALL_AT_ONCE}
    job = open_job(prompts, config=sending, workers=16, processes=2, **asked)

    def kill_one(request):
        if read_prompt(request) == "p40" and not killed:
            killed.append(read_sender(request))
            # With some eight calls in flight there; five failures in a row of a provider would be an outage.
            time.sleep(0.05)
            os.kill(killed[0], signal.SIGKILL)
        time.sleep(0.05)
        outages.append(job.scopes[0].is_down(time.monotonic()))
        return echo(request)

    server.handler = kill_one
    assert sum(result.success for result in job.iter_results()) == 100
    assert not any(outages)


def test_ends_a_sender_that_hangs(ask_twice, config, server, monkeypatch):
    monkeypatch.setattr(distributing, "_GRACE_S", 1.0)
    stopped = []

    def stop_one(request):
        if not stopped:
            stopped.append(read_sender(request))
            os.kill(stopped[0], signal.SIGSTOP)
        return echo(request)

    server.handler = stop_one
    result = ask_twice(["a", "b", "c"], config=config(plugins=[PidHeader()], timeout_s=1.0), retries=AT_ONCE)
    assert result.succeeded == 3
    wait_for_end(stopped[0])


def test_ends_where_a_sender_cannot_use_the_configuration(ask_twice, config, server):
    with pytest.raises(ConfigurationError, match="cannot use the configuration: ImportError: not here"):
        ask_twice(["a"], config=config(plugins=[Homesick()]))
    assert server.requests == []


def test_ends_where_no_sender_lives_to_answer(ask_twice, config):
    result = ask_twice([f"p{n}" for n in range(30)], config=config(plugins=[Deadly()]), retries=Retries(max_attempts=9))
    assert "have ended before they had answered a call" in result.failures[0].error


def test_reports_what_no_classifier_knows(ask_twice, config):
    (failure,) = ask_twice(["a"], config=config(plugins=[Strange()])).failures
    assert isinstance(failure.exception, ProviderBugError)
    assert "StrangeError" in failure.error


@pytest.mark.parametrize("processes", [1, 2])
def test_ends_in_order_where_a_plugin_exits(ask, config, server, processes):
    prompts = ["p0", "p1", "quit", *(f"p{n}" for n in range(2, 40))]
    with pytest.raises(SystemExit) as caught:
        ask(prompts, config=config(plugins=[Quitting()]), processes=processes, limits=ALL_AT_ONCE)
    assert caught.value.code == 7
    assert len(server.requests) < 41
    # What was in flight is kept.
    assert ask(prompts).succeeded == len(server.requests) == 41


@pytest.mark.parametrize("processes", [1, 2])
def test_exits_with_the_words_of_a_plugin(ask, config, processes):
    with pytest.raises(SystemExit, match="no and licence"):
        ask(["complain"], config=config(plugins=[Quitting()]), processes=processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_is_interrupted_by_a_plugin(ask, config, processes):
    with pytest.raises(KeyboardInterrupt):
        ask(["a"], config=config(plugins=[Interrupting()]), processes=processes)


def test_refuses_to_begin_where_no_sender_starts(ask_twice, server, monkeypatch, capfd):
    monkeypatch.setattr(distributing, "_PROGRAM", "raise SystemExit('no room')")
    with pytest.raises(ConfigurationError, match="does not start"):
        ask_twice(["a"])
    assert "no room" in capfd.readouterr().err
    assert server.requests == []


def test_refuses_a_plugin_that_cannot_be_handed_over(ask_twice, config):
    class Local:
        @hookimpl
        def pollux_send(self, request, client, timeout_s):
            raise NotImplementedError

    with pytest.raises(ConfigurationError, match="handed to another process"):
        ask_twice(["a"], config=config(plugins=[Local()]))


def test_refuses_a_client_of_the_callers(ask_twice):
    import openai

    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1") as client:
        handed_over = Config(provider="openai", model="m", client=client)
        with pytest.raises(ConfigurationError, match="processes cannot share"):
            ask_twice(["a"], config=handed_over)


def test_refuses_to_start_a_frozen_application(ask_twice, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConfigurationError, match="frozen"):
        ask_twice(["a"])


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_refuses_a_bad_number_of_processes(ask, processes):
    with pytest.raises(ConfigurationError, match="processes"):
        ask(["a"], processes=processes)


def test_refuses_processes_for_deferred_jobs(ask):
    with pytest.raises(ConfigurationError, match="one process"):
        ask(["a"], processes=2, route="batch")


# Stops

RUN = """
import signal, sys
from pollux_batch import Limits, run_batch
from pollux_sync import Config
from sending_plugin import PidHeader

def notice(*facts):
    print("noticed", flush=True)
    signal.default_int_handler(*facts)

signal.signal(signal.SIGINT, notice)
config = Config(provider="local", model="m", base_url=sys.argv[1], plugins=[PidHeader()])
result = run_batch([f"p{n}" for n in range(100)], config=config, journal=sys.argv[2], workers=20, processes=2,
                   limits=Limits(adaptive=False))
print(result.termination.kind, result.succeeded, flush=True)
"""


@pytest.fixture
def let_go():
    """Set for the calls of `run` to be answered."""
    return threading.Event()


@pytest.fixture
def run(server, path, let_go):
    """A run in a process of its own, with 20 calls in flight."""

    def hold(request):
        let_go.wait(20)
        return echo(request)

    server.handler = hold
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path])}
    command = [sys.executable, "-c", RUN, f"{server.url}/v1", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            server.wait_for_requests(20, timeout_s=15.0)  # three interpreters start first
            yield process
        finally:
            let_go.set()
            process.kill()


def press_ctrl_c(process):
    """Send SIGINT, and give the job a moment to deal with it once it is noticed."""
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noticed\n"
    time.sleep(0.3)


def test_keeps_what_is_in_flight_at_ctrl_c(run, let_go, server, ask_twice):
    press_ctrl_c(run)
    let_go.set()
    output, _ = run.communicate(timeout=20)
    assert output.split() == ["interrupted", "20"]
    server.handler = echo
    assert ask_twice([f"p{n}" for n in range(100)]).succeeded == 100
    assert len(server.requests) == 100


def test_leaves_at_once_at_a_second_ctrl_c(run, server):
    press_ctrl_c(run)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    for pid in {read_sender(request) for request in server.requests}:
        wait_for_end(pid)


def test_leaves_no_sender_behind_when_it_is_killed(run, server, ask_twice):
    pids = {read_sender(request) for request in server.requests}
    assert len(pids) == 2
    run.kill()
    for pid in pids:
        wait_for_end(pid)
