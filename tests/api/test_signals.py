"""Signals sent to scripts in processes of their own, which call a scripted server."""

import os
import re
import signal
import threading
import time

import pytest

from acme_server import FileServer
from pollux_sync import ConfigurationError, Terminated, exit_on_sigterm
from pollux_sync.testing.server import Answer, Events, Hang
from scripts import start_scripts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems have no signals to send")

#: How long a stop may take: a bound, not an expectation.
SOON_S = 5.0

SCRIPT = """
import signal, sys
from pollux_sync import *
from pollux_sync.data.jobs import DeferredJob, JobState
from pollux_sync.plugin import TextDelta

class Streaming:
    "Lets the test provider stream its answer word by word."
    @hookimpl
    def pollux_encode_stream(self, request):
        return request
    @hookimpl
    def pollux_decode_stream(self, stream, call):
        for _, word in stream:
            yield TextDelta(word)
            print("go", flush=True)  # the next word is awaited from here on

class Deferring:
    "Lets the test provider have a job that never ends."
    @hookimpl
    def pollux_inspect_deferred(self, job):
        return JobState(status="running", provider_status="running")

work, stop, url, *paths = sys.argv[1:]
sources = [Source.from_file(path) for path in paths]
config = Config(provider="acme", model="m", api_key="k", base_url=url, retry=RetryPolicy(max_attempts=5),
    plugins=[Streaming(), Deferring()])

def call():
    run("p0", source=sources[0], config=config)

def many():
    run_many([f"p{n}" for n in range(50)], sources=sources, config=config)

def read():
    stream("p0", source=sources[0], config=config).result()

def session():
    with Session(config) as held:
        held.run_many([f"p{n}" for n in range(50)], sources=sources)

def wait():
    job = DeferredJob(job_id="j", first=0, request_count=1)
    handle = DeferredHandle(provider="acme", model="m", request_count=1, submitted_at=0.0, mark="x", jobs=(job,),
        account=config.account)
    wait_deferred(handle, config=config, poll=60, on_change=lambda snapshot: print("go", flush=True))

def command():
    import os
    from pollux_sync.cli.dispatching import main
    os.environ["ACME_API_KEY"] = "k"
    places = [part for path in paths for part in ("-s", path)]
    way = ["-p", "acme", "-m", "m", "--base-url", url, *places]
    if status := main(["run", *way, *(f"p{n}" for n in range(12))]):
        sys.exit(status)

if stop == "SIGTERM":
    assert exit_on_sigterm()
elif stop == "SIGUSR1":
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
print("go", flush=True)
try:
    globals()[work]()
except (KeyboardInterrupt, SystemExit) as stop:
    result = getattr(stop, "partial_result", None)
    print(type(stop).__name__, [answer for answer in result["answers"] if answer] if result else None, flush=True)
    raise
print("over", flush=True)
"""


@pytest.fixture
def files(server):
    """The server's files. It answers the prompt p0 alone, others hang."""
    files = FileServer()
    server.handler = lambda request: Hang() if request.path == "/ask" else files(request)
    return files


@pytest.fixture
def start(acme, tmp_path, server):
    """Return a function that starts the script with a work to do and a signal to expect."""
    with start_scripts(SCRIPT, tmp_path) as start_script:
        yield lambda work, stop: start_script(work, stop.name, server.url)


def end(process, stop):
    process.send_signal(stop)
    output, _ = process.communicate(timeout=SOON_S)
    return process.returncode, output


STOPS = pytest.mark.parametrize(
    ("stop", "status", "name"),
    [
        (signal.SIGINT, -signal.SIGINT, "Interrupted"),
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGUSR1, 7, "Terminated"),  # a handler that calls sys.exit(7)
    ],
    ids=["SIGINT", "SIGTERM", "sys.exit"],
)


@STOPS
@pytest.mark.parametrize(("work", "n_requests"), [("call", 2), ("many", 8), ("session", 8)])
def test_a_stop_ends_calls_in_flight_and_deletes_their_files(
    server, files, start, work, n_requests, stop, status, name
):
    process = start(work, stop)
    server.wait_for_requests(n_requests)
    assert end(process, stop) == (status, f"{name} []\n")
    assert files.stored
    assert sorted(files.deleted) == [f"id-{file}" for file in sorted(files.stored)]


@STOPS
@pytest.mark.parametrize("work", ["call", "many", "read"])
def test_a_stop_during_an_upload_leaves_no_file(server, files, start, work, stop, status, name):
    others, signalled = server.handler, threading.Event()

    def handler(request):
        answer = others(request)
        # The file is stored, and the signal comes before the answer that names it.
        if request.path == "/files":
            signalled.wait(SOON_S)
        return answer

    server.handler = handler
    process = start(work, stop)
    server.wait_for_requests(1)
    process.send_signal(stop)
    signalled.set()
    process.communicate(timeout=SOON_S)
    assert process.returncode == status
    assert files.stored
    assert sorted(files.deleted) == [f"id-{file}" for file in sorted(files.stored)]


@STOPS
def test_a_stop_keeps_the_answers_that_are_there(server, files, start, stop, status, name):
    others = server.handler

    def handler(request):
        return files(request) if request.path == "/ask" and request.json()["prompt"] == "p0" else others(request)

    server.handler = handler
    process = start("many", stop)
    server.wait_for_requests(2 + 7)
    assert end(process, stop) == (status, f"{name} ['P0']\n")


@STOPS
def test_a_stop_during_a_retry_wait_ends_it(server, files, start, stop, status, name):
    others = server.handler
    busy = Answer(status=429, json={"error": "slow"}, headers={"Retry-After": "14"})
    server.handler = lambda request: busy if request.path == "/ask" else others(request)
    process = start("many", stop)
    server.wait_for_requests(2 + 6)
    assert end(process, stop) == (status, f"{name} []\n")
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]


@STOPS
def test_a_stop_keeps_the_text_of_a_stream(server, files, start, stop, status, name):
    others = server.handler
    words = Events([b'data: "one "\n\n'], ending="hang")
    server.handler = lambda request: words if request.path == "/ask" else others(request)
    process = start("read", stop)
    assert process.stdout.readline() == "go\n"
    assert end(process, stop) == (status, f"{name} ['one ']\n")
    assert files.deleted == ["id-a.png"]


@STOPS
def test_a_stop_ends_the_waiting_for_a_job(start, stop, status, name):
    process = start("wait", stop)
    assert process.stdout.readline() == "go\n"
    returncode, output = end(process, stop)
    # Nothing was being sent, so the exception has no answers.
    assert (returncode, output.split()[-1]) == (status, "None")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_during_the_clean_up_ends_the_process_at_once(server, files, start, second):
    others = server.handler
    server.handler = lambda request: Hang() if request.method == "DELETE" else others(request)
    process = start("call", signal.SIGTERM)
    server.wait_for_requests(2)
    process.send_signal(signal.SIGTERM)
    server.wait_for_requests(3)
    returncode, _ = end(process, second)
    assert returncode == -second


def test_ctrl_c_then_sigterm_ends_the_clean_up(server, files, start):
    others = server.handler
    server.handler = lambda request: Hang() if request.method == "DELETE" else others(request)
    process = start("call", signal.SIGTERM)
    server.wait_for_requests(2)
    process.send_signal(signal.SIGINT)
    server.wait_for_requests(3)
    returncode, _ = end(process, signal.SIGTERM)
    assert returncode == 143


class SlowService:
    """A service whose answers take their time, and those to odd prompts never come. It knows when each was sent."""

    def __init__(self, draw):
        self.draw = draw
        self.files = FileServer()
        self.answered = {}

    def __call__(self, request):
        time.sleep(self.draw.uniform(0.0, 0.3))
        if request.path != "/ask":
            return self.files(request)
        prompt = request.json()["prompt"]
        if int(prompt[1:]) % 2:
            return Hang()
        self.answered[prompt.upper()] = time.monotonic()
        return self.files(request)

    def is_empty_soon(self):
        """Return whether all files are deleted, at the latest when it has answered what has been sent."""
        deadline = time.monotonic() + SOON_S
        while len(self.files.deleted) < len(self.files.stored) and time.monotonic() < deadline:
            time.sleep(0.01)
        return sorted(self.files.deleted) == sorted(f"id-{file}" for file in self.files.stored)


@pytest.mark.soak
@STOPS
def test_stops_at_random(server, start, soak, stop, status, name):
    longest_s, n_stopped = 0.0, 0
    for _ in range(soak.rounds):
        work = soak.draw.choice(["call", "many", "session", "read", "wait", "command"])
        server.handler = service = SlowService(soak.draw)
        process = start(work, stop)
        time.sleep(soak.draw.uniform(0.0, 2.0))
        stopped_at = time.monotonic()
        process.send_signal(stop)
        output, _ = process.communicate(timeout=SOON_S)
        longest_s = max(longest_s, time.monotonic() - stopped_at)
        # The command has handlers of its own, which end it with the usual statuses of a shell.
        expected = {"SIGINT": 130, "SIGTERM": 143}.get(stop.name, status) if work == "command" else status
        is_over = output.endswith("over\n")
        # While the interpreter ends, a signal has its default effect again.
        assert process.returncode in ({0, -stop} if is_over else {expected}), (work, output)
        n_stopped += not is_over
        assert service.is_empty_soon(), (work, service.files.stored, service.files.deleted)
        if work in {"many", "session", "command"}:
            # What was sent a moment before the stop has arrived.
            arrived = {answer for answer, at in service.answered.items() if at < stopped_at - 1.0}
            assert arrived <= set(re.findall(r"\bP\d+", output)), (work, output)
    print(stop.name, f"{n_stopped} of {soak.rounds} stopped, the longest took {longest_s:.2f} s")  # noqa: T201 - `make soak` with -s shows it


# installing


@pytest.fixture
def handlers():
    """The handlers from before are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
class TestExitOnSigterm:
    def test_raises_an_exit_with_the_status_of_sigterm(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert exit_on_sigterm()
        with pytest.raises(Terminated) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.code == 143

    def test_can_be_called_again(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert exit_on_sigterm()
        assert exit_on_sigterm()

    @pytest.mark.parametrize("handler", [print, signal.SIG_IGN])
    def test_leaves_a_handler_alone(self, handler):
        signal.signal(signal.SIGTERM, handler)
        assert not exit_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is handler

    def test_replaces_a_handler_when_told_to(self):
        signal.signal(signal.SIGTERM, print)
        assert exit_on_sigterm(replace=True)
        assert signal.getsignal(signal.SIGTERM) is not print

    def test_leaves_a_handler_of_ctrl_c_alone(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, print)
        exit_on_sigterm()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is print

    def test_is_refused_in_another_thread(self):
        refusals = []

        def install():
            try:
                exit_on_sigterm()
            except ConfigurationError as error:
                refusals.append(error)

        thread = threading.Thread(target=install)
        thread.start()
        thread.join()
        assert refusals[0].hint
