import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

import pollux_durable
from pollux_durable import Queue, queues, workflow
from pollux_durable.configuring import find_host
from pollux_sync.errors import ConfigurationError


@pytest.fixture
def memory(own_registry):
    pollux_durable.configure("memory:")


@pytest.fixture
def sqlite_url(own_registry, tmp_path):
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    pollux_durable.configure(url)
    return url


@pytest.fixture(params=["memory", "sqlite"])
def any_engine(request, own_registry, tmp_path):
    pollux_durable.configure("memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'durable.db'}")


def wait_until(is_true, patience_s=10):
    until = time.monotonic() + patience_s
    while not is_true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def find_queue(name):
    (found,) = [info for info in queues.list() if info.name == name]
    return found


class Meter:
    """Counts who is inside at once, for each key and over all."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = []
        self.highest = 0
        self.highest_of_key = 0

    def stay(self, key):
        with self._lock:
            self._inside.append(key)
            self.highest = max(self.highest, len(self._inside))
            self.highest_of_key = max(self.highest_of_key, self._inside.count(key))
        threading.Event().wait(0.05)
        with self._lock:
            self._inside.remove(key)


# Pauses


def test_run_of_a_paused_queue_begins_when_it_is_resumed(any_engine):
    seen = []

    @workflow(queue="mail")
    def send(ctx, payload: dict):
        seen.append(payload["number"])

    @workflow(queue="other")
    def call(ctx): ...

    find_host()
    queues.pause("mail")
    handles = [send.invoke({"number": number}) for number in range(3)]
    call.run(timeout=10)
    assert [handle.status for handle in handles] == ["queued"] * 3
    assert not seen
    queues.resume("mail")
    for handle in handles:
        handle.result(10)
    assert sorted(seen) == [0, 1, 2]


def test_paused_queue_goes_on_when_the_time_has_come(memory):
    @workflow(queue="mail")
    def send(ctx):
        return "sent"

    find_host()
    queues.pause("mail", until=datetime.now(UTC) + timedelta(seconds=0.5))
    assert send.run(timeout=30) == "sent"
    assert not find_queue("mail").is_paused


def test_pause_can_be_made_longer(memory):
    @workflow(queue="mail")
    def send(ctx): ...

    find_host()
    until = datetime.now(UTC) + timedelta(hours=1)
    queues.pause("mail", until=until)
    assert find_queue("mail").paused_until == until.timestamp()
    queues.pause("mail")
    info = find_queue("mail")
    assert (info.is_paused, info.paused_until) == (True, None)


def test_engine_is_told_when_the_time_has_come(memory):
    @workflow(queue="mail")
    def send(ctx): ...

    pauses = find_host().pauses
    queues.pause("mail", until=datetime.now(UTC) + timedelta(hours=1))
    assert pauses._known == {"mail"}
    pauses.keep(time.time() + 3601)
    assert pauses._known == set()


def test_run_that_goes_on_does_so_while_its_queue_is_paused(memory):
    begun, may_end = threading.Event(), threading.Event()

    @workflow(queue="mail")
    def send(ctx):
        begun.set()
        ctx.step.run("wait", lambda: may_end.wait(10))
        return ctx.step.run("send", lambda: "sent")

    handle = send.invoke()
    assert begun.wait(10)
    queues.pause("mail")
    may_end.set()
    assert handle.result(10) == "sent"


def test_run_that_waits_without_a_thread_goes_on_after_the_pause(memory):
    @workflow(queue="mail")
    def ask(ctx):
        return ctx.step.suspend("question")

    handle = ask.invoke()
    wait_until(lambda: handle.status == "waiting")
    queues.pause("mail")
    handle.answer("question", "yes")
    wait_until(lambda: handle.status == "queued")
    queues.resume("mail")
    assert handle.result(10) == "yes"


def test_run_that_was_taken_from_its_queue_at_the_moment_of_the_pause_goes_back(memory):
    seen = []

    @workflow(queue="mail")
    def send(ctx):
        seen.append("sent")

    host = find_host()
    queues.pause("mail")
    host.engine.resume_queue("mail")  # as another process does that declares the queue at this moment
    handle = send.invoke()
    wait_until(lambda: host.waits.find([handle.id]))
    wait_until(lambda: handle.status == "queued")
    assert not seen
    queues.resume("mail")
    handle.result(10)
    assert seen == ["sent"]


def test_pause_outlives_a_restart(own_registry, tmp_path):
    @workflow(queue="mail")
    def send(ctx):
        return "sent"

    url = f"sqlite:///{tmp_path / 'durable.db'}"
    pollux_durable.configure(url)
    find_host()
    queues.pause("mail")
    pollux_durable.reset(forget=False)
    pollux_durable.configure(url)
    handle = send.invoke()
    wait_until(lambda: find_host().pauses._known == {"mail"})
    assert find_queue("mail").is_paused
    queues.resume("mail")
    assert handle.result(10) == "sent"


PAUSING = """
import sys
import pollux_durable
from pollux_durable import queues, workflow

pollux_durable.configure(sys.argv[1])

@workflow(queue="mail")
def send(ctx):
    return "sent"

queues.pause("mail")
print("paused", flush=True)
handle = pollux_durable.get_handle(sys.stdin.readline().strip())
print(handle.status, flush=True)
sys.stdin.readline()
queues.resume("mail")
print(handle.result(20), flush=True)
pollux_durable.reset()
"""


def test_pause_holds_in_another_process(sqlite_url):
    @workflow(queue="mail")
    def send(ctx):
        return "sent"

    other = subprocess.Popen(
        [sys.executable, "-c", PAUSING, sqlite_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "paused\n"
    handle = send.invoke()
    other.stdin.write(f"{handle.id}\n")
    other.stdin.flush()
    assert other.stdout.readline() in ("queued\n", "running\n")
    wait_until(lambda: find_host().pauses._known == {"mail"})
    wait_until(lambda: handle.status == "queued")
    printed, _ = other.communicate("go on\n", timeout=30)
    assert printed == "sent\n"
    assert handle.result(10) == "sent"


# What there is


def test_lists_queues_with_their_limits(any_engine):
    @workflow(queue=Queue("mail", 5, rate_limit=(100, 60.0), per_key=2))
    def send(ctx): ...

    @workflow(queue="other")
    def call(ctx): ...

    @workflow(queue=Queue("the limit of a key is higher", 1, per_key=3))
    def ask(ctx): ...

    find_host()
    queues.pause("other")
    mail, other, _ = queues.list()
    assert (mail.name, mail.concurrency_limit, mail.rate_limit, mail.per_key) == ("mail", 5, (100, 60.0), 2)
    assert (other.name, other.concurrency_limit, other.is_paused, mail.is_paused) == ("other", None, True, False)


@pytest.mark.parametrize("change", [queues.pause, queues.resume])
def test_refuses_a_queue_that_does_not_exist(memory, change):
    @workflow(queue="mail")
    def send(ctx): ...

    with pytest.raises(ConfigurationError, match="no queue 'post'") as caught:
        change("post")
    assert "mail" in caught.value.hint


@pytest.mark.parametrize("until", [datetime(2020, 1, 1, tzinfo=UTC), 60, "tomorrow"])
def test_refuses_a_time_that_is_over_or_none(memory, until):
    mail = Queue("mail")

    @workflow(queue=mail)
    def send(ctx): ...

    with pytest.raises(ConfigurationError, match="until") as caught:
        queues.pause(mail, until=until)
    assert caught.value.hint
    assert not find_queue("mail").is_paused


# Limits


def test_of_two_declarations_of_a_queue_the_lower_limits_hold():
    first = Queue("mail", 5, rate_limit=(10, 1.0))
    second = Queue("mail", 3, rate_limit=(60, 60.0), per_key=2)
    assert first.tighten(second) == second.tighten(first) == Queue("mail", 3, rate_limit=(60, 60.0), per_key=2)
    assert first.tighten(Queue("mail")) == first


def test_workflow_that_only_names_a_queue_leaves_its_limits_as_they_are(memory):
    meter = Meter()

    @workflow(queue=Queue("mail", 1))
    def send(ctx):
        meter.stay("send")

    @workflow(queue="mail")
    def call(ctx):
        meter.stay("call")

    handles = [one.invoke() for one in (send, call, send, call)]
    for handle in handles:
        handle.result(10)
    assert meter.highest == 1
    assert find_queue("mail").concurrency_limit == 1


def test_run_in_a_queue_that_no_workflow_declares_is_carried_out(any_engine):
    @workflow
    def anywhere(ctx):
        return "done"

    assert anywhere.invoke(queue="somewhere").result(10) == "done"


def test_runs_that_wait_hold_no_place_and_take_one_when_they_go_on(any_engine):
    meter = Meter()

    @workflow(queue=Queue("mail", 2, per_key=1))
    def send(ctx, payload: dict):
        ctx.step.run("before", meter.stay, payload["key"])
        ctx.step.suspend("wait")
        ctx.step.run("after", meter.stay, payload["key"])

    handles = [send.invoke({"key": key}, concurrency_key=key) for key in ("a", "a", "b", "b", "c")]
    for handle in handles:
        wait_until(lambda handle=handle: handle.status == "waiting")
    assert (meter.highest_of_key, meter.highest <= 2) == (1, True)
    for handle in handles:
        handle.answer("wait")
    for handle in handles:
        handle.result(10)
    assert (meter.highest_of_key, meter.highest <= 2) == (1, True)


def test_run_that_has_begun_counts_for_the_rate_while_it_waits(any_engine):
    @workflow(queue=Queue("mail", rate_limit=(2, 3600.0)))
    def send(ctx):
        return ctx.step.suspend("wait")

    @workflow(queue="other")
    def call(ctx): ...

    handles = [send.invoke() for _ in range(5)]
    wait_until(lambda: sum(handle.status == "waiting" for handle in handles) >= 2)
    for _ in range(3):  # each takes as long as a look at the queues
        call.run(timeout=10)
    assert sorted(handle.status for handle in handles) == ["queued"] * 3 + ["waiting"] * 2
    waiting = next(handle for handle in handles if handle.status == "waiting")
    waiting.answer("wait", "goes on, and counts once")
    assert waiting.result(10) == "goes on, and counts once"
