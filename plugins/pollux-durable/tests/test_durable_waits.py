"""Waits: short ones in the thread, long ones without it and without a place in the queue."""

import datetime as dt
import threading
import time

import pytest

from pollux_durable import Queue, RunFailedError, StepExecutionError, batch, events, get_handle
from pollux_sync.errors import ConfigurationError


def test_a_short_wait_keeps_its_thread(durable, declare):
    threads = []

    @declare
    def flow(ctx):
        threads.append(threading.get_ident())
        ctx.step.wait_for("pause", seconds=0.01)
        return len(threads)

    assert flow.run(timeout=30) == 1


def test_a_long_wait_holds_no_thread(durable, declare, host, poll):
    @declare
    def flow(ctx):
        ctx.step.wait_for("pause", seconds=1.0)
        return "done"

    handle = flow.invoke()
    poll(lambda: handle.status == "waiting" and handle.id not in host.active)
    assert handle.get().waits_for == "pause"
    assert handle.result(30) == "done"


def test_it_waits_until_a_time(durable, declare):
    @declare
    def flow(ctx, payload: dict):
        moment = dt.datetime.fromtimestamp(payload["at"], dt.UTC)
        ctx.step.wait_until("later", moment)
        return time.time() >= payload["at"]

    assert flow.run({"at": time.time() + 0.2}, timeout=30)


def test_a_time_without_zone_is_utc(memory, declare):
    @declare
    def flow(ctx):
        ctx.step.wait_until("later", dt.datetime.now(dt.UTC).replace(tzinfo=None))

    with pytest.raises(RunFailedError, match="which is over"):
        flow.run(timeout=30)


@pytest.mark.parametrize("duration", [{"seconds": 0}, {"minutes": -1}, {"fortnights": 1}, {}], ids=str)
def test_a_duration_that_is_none_is_refused(memory, declare, duration):
    @declare
    def flow(ctx):
        ctx.step.wait_for("pause", **duration)

    with pytest.raises(RunFailedError) as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "ConfigurationError"


# Events


def test_an_event_is_received(durable, declare, wait_status):
    @declare
    def flow(ctx, topic: dict):
        event = ctx.step.wait_for_event("event", topic["name"])
        return [event.event_type, event.data, event.topic]

    topic = f"{flow.id}/topic"
    handle = flow.invoke({"name": topic})
    wait_status(handle, "waiting")
    events.publish(topic, "paid", {"sum": 3})
    assert handle.result(30) == ["paid", {"sum": 3}, topic]


def test_an_event_just_before_the_wait_is_not_missed(durable, declare):
    @declare
    def flow(ctx):
        topic = f"{ctx.workflow_id}/topic"
        ctx.step.run("publish", lambda: events.publish(topic, data="early"))
        return ctx.step.wait_for_event("event", topic, timeout=20).data

    assert flow.run(timeout=30) == "early"


def test_an_event_before_the_run_is_not_received(durable, declare):
    @declare
    def flow(ctx):
        return ctx.step.wait_for_event("event", f"{ctx.workflow_id}/topic", timeout=0.05).data

    events.publish(f"{flow.id}/topic", data="too early")
    time.sleep(0.01)  # the clock that both are noted with counts milliseconds
    with pytest.raises(RunFailedError, match="no event came"):
        flow.run(timeout=30)


def test_each_further_wait_takes_the_next_event(durable, declare):
    @declare
    def flow(ctx):
        topic = f"{ctx.workflow_id}/topic"
        for number in range(3):
            ctx.step.publish_event(f"publish {number}", topic, number)
        got = []
        for number in range(3):
            ctx.step.wait_for(f"pause {number}", seconds=0.1 if number == 1 else 0.001)
            got.append(ctx.step.wait_for_event(f"event {number}", topic, timeout=20).data)
        return got

    assert flow.run(timeout=30) == [0, 1, 2]


def test_waits_for_different_types_of_a_topic_take_no_event_from_each_other(memory, declare):
    @declare
    def flow(ctx):
        topic = f"{ctx.workflow_id}/topic"
        for kind in ["shipped", "paid", "other"]:
            ctx.step.publish_event(kind, topic, event_type=kind)
        paid = ctx.step.wait_for_event("wait paid", topic, event_type="paid", timeout=20)
        shipped = ctx.step.wait_for_event("wait shipped", topic, event_type="shipped", timeout=20)
        left = ctx.step.wait_for_event("wait any", topic, timeout=20)
        return [paid.event_type, shipped.event_type, left.event_type]

    assert flow.run(timeout=30) == ["paid", "shipped", "other"]


@pytest.mark.parametrize("timeout", [0.02, 0.2])
def test_a_wait_for_an_event_that_does_not_come_is_a_failed_step(durable, declare, timeout):
    @declare
    def flow(ctx):
        with pytest.raises(StepExecutionError) as caught:
            ctx.step.wait_for_event("event", f"{ctx.workflow_id}/none", timeout=timeout)
        return caught.value.error_type

    assert flow.run(timeout=30) == "TimeoutError"


# Answers


def declare_asking(declare):
    @declare
    def asking(ctx):
        answer = ctx.step.suspend("ask", {"question": "ok?"})
        return ctx.step.run("use", lambda: answer)

    return asking


def test_a_suspended_run_goes_on_with_its_answer(durable, declare, wait_status):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    get_handle(handle.id).answer("ask", {"approved": True})
    assert handle.result(30) == {"approved": True}


def test_a_suspension_is_an_event_that_shows_its_data(durable, declare, host, wait_status):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    (event,) = host.events.read(handle.get().topic)
    assert event.event_type == "suspend_ask"
    assert event.data == {"step_key": "ask", "data": {"question": "ok?"}}
    handle.answer("ask", 1)
    handle.result(30)


def test_another_answer_is_refused_and_the_same_one_is_not(memory, declare, wait_status):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    handle.answer("ask", 1)
    handle.answer("ask", 1)
    with pytest.raises(ConfigurationError, match="has its answer already"):
        handle.answer("ask", 2)
    assert handle.result(30) == 1


def test_of_many_answers_at_once_one_is_accepted(durable, declare, wait_status):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    accepted = []

    def answer(number):
        try:
            handle.answer("ask", number)
        except ConfigurationError:
            return
        accepted.append(number)

    threads = [threading.Thread(target=answer, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == [handle.result(30)]


@pytest.mark.parametrize("key", ["other", "use"])
def test_a_step_that_is_not_suspended_takes_no_answer(memory, declare, wait_status, key):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    with pytest.raises(ConfigurationError, match="not suspended in step"):
        handle.answer(key, 1)
    handle.answer("ask", 1)
    handle.result(30)


def test_an_answer_after_the_timeout_is_refused(durable, declare, wait_status, poll):
    @declare
    def flow(ctx):
        try:
            ctx.step.suspend("ask", timeout=0.2)
        except StepExecutionError as error:
            ctx.step.suspend("second", str(error))
        return "done"

    handle = flow.invoke()
    wait_status(handle, "waiting")
    poll(lambda: handle.get().waits_for == "second")
    with pytest.raises(ConfigurationError, match="not suspended in step 'ask'"):
        handle.answer("ask", 1)
    handle.answer("second")
    assert handle.result(30) == "done"


def test_an_answer_to_an_ended_run_is_refused(memory, declare, wait_status):
    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    handle.cancel()
    wait_status(handle, "cancelled")
    with pytest.raises(ConfigurationError, match="is cancelled and not suspended"):
        handle.answer("ask", 1)


def test_another_run_can_answer(memory, declare, wait_status):
    @declare
    def answering(ctx, payload: dict):
        ctx.step.resume("answer", "ask", payload["run"], "from a run")

    handle = declare_asking(declare).invoke()
    wait_status(handle, "waiting")
    answering.run({"run": handle.id}, timeout=30)
    assert handle.result(30) == "from a run"


def test_a_child_can_be_answered_by_its_own_id(memory, declare, wait_status):
    asking = declare_asking(declare)

    @declare
    def parent(ctx):
        return ctx.step.invoke_and_wait("child", asking)

    handle = parent.invoke()
    wait_status(handle, "waiting")
    child = get_handle(f"{handle.id}.child")
    wait_status(child, "waiting")
    child.answer("ask", "to the child")
    assert handle.result(30) == "to the child"


# Without threads


def test_a_waiting_run_leaves_its_place_in_a_queue_of_one(durable, declare, wait_status):
    queue = Queue("concurrency_limit=1", concurrency_limit=1)

    @declare(queue=queue)
    def asking(ctx):
        return ctx.step.suspend("ask")

    @declare(queue=queue)
    def quick(ctx):
        return "quick"

    handle = asking.invoke()
    wait_status(handle, "waiting")
    assert quick.run(timeout=30) == "quick"
    handle.answer("ask", "late")
    assert handle.result(30) == "late"


def test_many_suspended_runs_hold_no_thread_and_are_answered(durable, declare, host, poll):
    asking = declare_asking(declare)
    count = 100 if durable == "memory:" else 30  # there it takes longer, and tells no more
    handles = [asking.invoke() for _ in range(count)]
    poll(lambda: not host.active and all(handle.status == "waiting" for handle in handles))
    for number, handle in enumerate(handles):
        handle.answer("ask", number)
    assert [handle.result(60) for handle in handles] == [*range(count)]


# Many answers at once


@pytest.fixture
def suspended(durable, declare, wait_status):
    """Return handles of three runs that are suspended."""
    asking = declare_asking(declare)
    handles = [asking.invoke() for _ in range(3)]
    for handle in handles:
        wait_status(handle, "waiting")
    return handles


def test_many_runs_are_answered_together(suspended):
    batch.answer("ask", {handle.id: number for number, handle in enumerate(suspended)})
    batch.answer("ask", {})
    assert [handle.result(60) for handle in suspended] == [0, 1, 2]


def test_none_of_many_is_answered_if_one_is_not_suspended(suspended, wait_status):
    first, second, third = suspended
    first.cancel()
    with pytest.raises(ConfigurationError, match=f"run '{first.id}' is"):
        batch.answer("ask", {handle.id: "yes" for handle in suspended})
    batch.answer("ask", {second.id: "no", third.id: "no"})
    assert [second.result(60), third.result(60)] == ["no", "no"]


def test_of_many_those_answered_otherwise_are_named(suspended):
    first, second, _ = suspended
    first.answer("ask", "no")
    second.answer("ask", "yes")
    with pytest.raises(ConfigurationError, match=f"run '{first.id}' has its answer already$"):
        batch.answer("ask", {handle.id: "yes" for handle in suspended})
    assert [handle.result(60) for handle in suspended] == ["no", "yes", "yes"]
