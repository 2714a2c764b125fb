"""Queues: how many runs go on at a time, and which are first."""

import threading
import time

import pytest

from pollux_durable import Queue
from pollux_sync.errors import ConfigurationError


class Watch:
    """Notes how many are inside at a time, in all and by key, and in which order they came."""

    def __init__(self):
        self.inside, self.most, self.order, self.times = [], {}, [], []
        self.lock = threading.Lock()

    def stay(self, key, seconds=0.05):
        with self.lock:
            self.inside.append(key)
            self.order.append(key)
            self.times.append(time.monotonic())
            self.most["all"] = max(self.most.get("all", 0), len(self.inside))
            self.most[key] = max(self.most.get(key, 0), self.inside.count(key))
        time.sleep(seconds)
        with self.lock:
            self.inside.remove(key)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def declare_staying(declare, watch):
    def declare_staying(**limits):
        # Few queues: each that is known is looked at until the engine ends.
        name = ",".join(f"{name}={limit}" for name, limit in limits.items())

        @declare(queue=Queue(name, **limits))
        def staying(ctx, payload: dict):
            ctx.step.run("stay", watch.stay, payload["key"], payload.get("s", 0.05))

        return staying

    return declare_staying


def end_all(handles):
    for handle in handles:
        handle.result(60)


def test_no_more_runs_go_on_than_the_queue_admits(durable, declare_staying, watch):
    staying = declare_staying(concurrency_limit=2)
    end_all([staying.invoke({"key": "k"}) for _ in range(5)])
    assert watch.most["all"] == 2


def test_no_more_runs_of_a_key_go_on_than_the_queue_admits(durable, declare_staying, watch):
    staying = declare_staying(per_key=1)
    end_all([staying.invoke({"key": key}, concurrency_key=key) for key in "aabb"])
    assert (watch.most["a"], watch.most["b"]) == (1, 1)


def test_a_run_of_a_key_can_wait_and_go_on(durable, declare, wait_status):
    @declare(queue=Queue("per_key=1", per_key=1))
    def asking(ctx):
        return ctx.step.suspend("ask")

    handle = asking.invoke(concurrency_key="a")
    wait_status(handle, "waiting")
    handle.answer("ask", "yes")
    assert handle.result(30) == "yes"


def test_no_more_runs_begin_in_a_period_than_the_queue_admits(durable, declare_staying, watch):
    staying = declare_staying(rate_limit=(2, 1.0))
    # On Python 3.11 the clock of SQLite counts whole seconds: two periods may touch.
    count = 5 if "sqlite" in durable else 3
    end_all([staying.invoke({"key": "k", "s": 0}) for _ in range(count)])
    # The period counts from where they are taken; a thread may begin a moment later.
    assert watch.times[-1] - watch.times[0] >= 0.5


def test_a_run_of_higher_priority_begins_first(durable, declare_staying, watch, poll):
    staying = declare_staying(concurrency_limit=1)
    first = staying.invoke({"key": "first", "s": 0.3})
    poll(lambda: watch.order)
    later = [staying.invoke({"key": name}, priority=priority) for name, priority in [("low", 9), ("high", 1)]]
    end_all([first, *later])
    assert watch.order == ["first", "high", "low"]


def test_a_run_may_be_put_into_another_queue(memory, declare_staying, declare, watch):
    staying = declare_staying(concurrency_limit=1)

    @declare
    def free(ctx, payload: dict):
        ctx.step.run("stay", watch.stay, payload["key"])

    end_all([free.invoke({"key": "k"}, queue=staying.queue.name) for _ in range(3)])
    assert watch.most["all"] == 1


def test_a_queue_is_declared_by_name_mapping_or_value(declare):
    queues = ["mail", {"name": "mail", "concurrency_limit": 3}, Queue("mail", 3)]
    declared = [declare(lambda ctx: None, id=f"w{n}", queue=queue) for n, queue in enumerate(queues)]
    assert [workflow.queue for workflow in declared] == [Queue("mail"), Queue("mail", 3), Queue("mail", 3)]


@pytest.mark.parametrize(
    "limits",
    [
        {"name": ""},
        {"name": "q", "concurrency_limit": 0},
        {"name": "q", "concurrency_limit": True},
        {"name": "q", "per_key": 1.5},
        {"name": "q", "rate_limit": (0, 1)},
        {"name": "q", "rate_limit": (1, 0)},
        {"name": "q", "rate_limit": 5},
        {"name": "q", "size": 5},
    ],
    ids=str,
)
def test_a_queue_that_nothing_could_pass_is_refused(declare, limits):
    with pytest.raises(ConfigurationError):
        declare(lambda ctx: None, id="x", queue=limits)
