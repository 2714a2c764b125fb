"""Runs that are cancelled or out of time, and what goes on all the same."""

import threading
import time

import pytest

from pollux_durable import BatchWorkflowInput, Queue, RunCancelledError, WorkflowTimeoutError, get_handle
from pollux_durable.activeruns import current_run
from pollux_sync.errors import ConfigurationError


@pytest.fixture
def gate():
    """An event that a step waits for. It is set at the end, so that no thread stays behind."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def begun():
    return threading.Event()


@pytest.fixture
def gated(declare, gate, begun, counted):
    """A workflow whose first step waits for the gate."""

    def wait():
        begun.set()
        gate.wait(30)
        return counted("first", 1)

    @declare
    def gated(ctx):
        return ctx.step.run("first", wait) + ctx.step.run("second", counted, "second", 2)

    return gated


def test_a_cancelled_run_ends_at_its_next_step(durable, gated, gate, begun, counted):
    handle = gated.invoke()
    begun.wait(30)
    handle.cancel()
    assert handle.status == "pending_cancel"
    gate.set()
    with pytest.raises(RunCancelledError, match="was cancelled"):
        handle.result(30)
    assert "second" not in counted.names


def test_a_cancelled_run_goes_on_when_it_is_resumed(durable, gated, gate, begun, counted, wait_status):
    handle = gated.invoke()
    begun.wait(30)
    handle.cancel()
    gate.set()
    wait_status(handle, "cancelled")
    handle.resume()
    assert handle.result(30) == 3


def test_a_waiting_run_can_be_cancelled_and_resumed(durable, declare, wait_status, counted):
    @declare
    def flow(ctx):
        ctx.step.run("before", counted, "before")
        return ctx.step.suspend("ask")

    handle = flow.invoke()
    wait_status(handle, "waiting")
    handle.cancel()
    wait_status(handle, "cancelled")
    with pytest.raises(RunCancelledError):
        handle.result(30)
    handle.resume()
    wait_status(handle, "waiting")
    handle.answer("ask", "yes")
    assert handle.result(30) == "yes"
    assert counted.names == ["before"]


def test_a_resumed_run_does_not_sleep_anew(durable, declare, wait_status):
    @declare
    def flow(ctx):
        ends.append(ctx.step.now("now"))
        ctx.step.wait_for("pause", seconds=1.5)
        return "done"

    ends = []
    handle = flow.invoke()
    wait_status(handle, "waiting")
    handle.cancel()
    wait_status(handle, "cancelled")
    time.sleep(1.5)
    handle.resume()
    assert handle.result(30) == "done"
    assert len(ends) == 2  # once at first and once when it was resumed: it did not wait in between


def test_only_a_cancelled_run_is_resumed(memory, declare):
    @declare
    def flow(ctx):
        return 1

    handle = flow.invoke()
    handle.result(30)
    with pytest.raises(ConfigurationError, match="is completed"):
        handle.resume()


def test_to_cancel_an_ended_run_changes_nothing(memory, declare):
    @declare
    def flow(ctx):
        return 1

    handle = flow.invoke()
    handle.result(30)
    handle.cancel()
    assert handle.result(30) == 1


def test_a_queued_run_can_be_cancelled(durable, declare, gated, gate, begun, wait_status):
    queue = Queue("concurrency_limit=1", concurrency_limit=1)

    @declare(queue=queue)
    def flow(ctx):
        begun.set()
        gate.wait(30)

    first = flow.invoke()
    begun.wait(30)
    second = flow.invoke()
    assert second.status == "queued"
    second.cancel()
    wait_status(second, "cancelled")
    gate.set()
    assert first.result(30) is None


def test_children_are_cancelled_with_their_parent(durable, declare, wait_status):
    @declare
    def child(ctx):
        ctx.step.suspend("ask")

    @declare
    def parent(ctx):
        ctx.step.batch_invoke_and_wait("all", [BatchWorkflowInput(child.id)] * 2)

    handle = parent.invoke()
    wait_status(handle, "waiting")
    children = [get_handle(f"{handle.id}.all[{n}]") for n in range(2)]
    for one in children:
        wait_status(one, "waiting")
    handle.cancel()
    for one in [handle, *children]:
        wait_status(one, "cancelled")


def test_a_cancelled_run_that_raises_is_not_begun_again(durable, declare, gate, begun, counted, wait_status):
    @declare
    def flow(ctx):
        counted("body")
        begun.set()
        gate.wait(30)
        raise ValueError("as its work was cut off")

    handle = flow.invoke()
    begun.wait(30)
    handle.cancel()
    gate.set()
    wait_status(handle, "cancelled")
    time.sleep(0.3)
    assert handle.status == "cancelled"
    assert len(counted) == 1


def test_a_wait_in_the_thread_ends_at_a_cancel(memory, declare, begun, host):
    @declare
    def flow(ctx):
        begun.set()
        ctx.step.run("again", lambda: 1 / 0, base_delay=600, max_delay=600)

    handle = flow.invoke()
    begun.wait(30)
    handle.cancel()
    with pytest.raises(RunCancelledError):
        handle.result(30)


# Time limits


def test_a_running_run_is_cancelled_when_its_time_is_over(durable, declare, begun, counted):
    @declare
    def flow(ctx):
        for number in range(1000):
            ctx.step.run(f"step {number}", time.sleep, 0.02)

    with pytest.raises(RunCancelledError):
        flow.invoke(run_timeout_seconds=0.2).result(30)


def test_a_waiting_run_is_cancelled_when_its_time_is_over(durable, declare):
    @declare
    def flow(ctx):
        ctx.step.suspend("ask")

    with pytest.raises(RunCancelledError):
        flow.invoke(run_timeout_seconds=0.2).result(30)


def test_a_child_that_is_out_of_time_fails_its_step(memory, declare):
    @declare
    def child(ctx):
        ctx.step.suspend("ask")

    @declare
    def parent(ctx):
        (outcome,) = ctx.step.batch_invoke_and_wait("all", [BatchWorkflowInput(child.id, run_timeout_seconds=0.2)])
        return outcome.error

    assert "was cancelled" in parent.run(timeout=30)


def test_a_run_in_time_is_not_cancelled(memory, declare):
    @declare
    def flow(ctx):
        ctx.step.wait_for("pause", seconds=0.2)
        return "in time"

    assert flow.run(run_timeout_seconds=60, timeout=30) == "in time"


def test_to_wait_too_short_for_a_run_leaves_it_going_on(memory, gated, gate, begun):
    handle = gated.invoke()
    begun.wait(30)
    with pytest.raises(WorkflowTimeoutError, match=r"did not end within 0\.05 s"):
        handle.result(0.05)
    gate.set()
    assert handle.result(30) == 3


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True], ids=str)
def test_a_time_that_is_none_is_refused(memory, declare, timeout):
    @declare
    def flow(ctx):
        return 1

    with pytest.raises(ConfigurationError, match="the timeout is"):
        flow.invoke(run_timeout_seconds=timeout)


def test_an_abort_ends_what_is_in_flight(memory, declare, begun, gate):
    def call():
        withdraw = current_run.get().add_aborter(gate.set)
        begun.set()
        gate.wait(30)
        withdraw()

    @declare
    def flow(ctx):
        ctx.step.run("call", call)

    handle = flow.invoke()
    begun.wait(30)
    handle.cancel(abort=True)
    with pytest.raises(RunCancelledError):
        handle.result(30)
    assert gate.is_set()
