"""Runs that runs start: each once, with its outcome taken into the run above."""

import attrs
import pytest

from pollux_durable import BatchWorkflowInput, RunFailedError, StepExecutionError, batch, get_handle


@pytest.fixture
def double(declare):
    @declare
    def double(ctx, payload: dict):
        ctx.step.run("check", lambda: 1 / payload["n"], max_retries=0)
        return payload["n"] * 2

    return double


@pytest.fixture
def slow(declare):
    @declare
    def slow(ctx, payload: dict):
        ctx.step.wait_for("pause", seconds=payload["s"])
        return payload["s"]

    return slow


def test_a_child_gives_its_result(durable, declare, double):
    @declare
    def parent(ctx):
        return ctx.step.invoke_and_wait("child", double, {"n": 4})

    assert parent.run(timeout=30) == 8


def test_a_child_may_be_named_by_its_id(memory, declare, double):
    @declare
    def parent(ctx):
        return ctx.step.invoke_and_wait("child", double.id, {"n": 4})

    assert parent.run(timeout=30) == 8


def test_a_child_knows_the_runs_above_it(memory, declare):
    @declare
    def inner(ctx):
        return [ctx.parent_execution_id, ctx.root_execution_id, ctx.root_workflow_id, ctx.session_id, ctx.user_id]

    @declare
    def outer(ctx):
        return ctx.step.invoke_and_wait("inner", inner)

    @declare
    def root(ctx):
        return ctx.step.invoke_and_wait("outer", outer)

    handle = root.invoke(session_id="s", user_id="u")
    assert handle.result(30) == [f"{handle.id}.outer", handle.id, root.id, "s", "u"]
    inner_handle = get_handle(f"{handle.id}.outer.inner")
    assert inner_handle.step_key == "inner"
    assert inner_handle.root_execution_id == handle.id
    assert inner_handle.root_workflow_id == root.id


def test_a_parent_waits_for_a_slow_child_without_a_thread(durable, declare, slow, host, poll):
    @declare
    def parent(ctx):
        return ctx.step.invoke_and_wait("child", slow, {"s": 0.4})

    handle = parent.invoke()
    poll(lambda: handle.status == "waiting" and handle.id not in host.active)
    assert handle.result(30) == 0.4


def test_a_failing_child_fails_the_step_that_waits_for_it(durable, declare, double):
    @declare
    def parent(ctx):
        with pytest.raises(StepExecutionError) as caught:
            ctx.step.invoke_and_wait("child", double, {"n": 0})
        return [caught.value.step_key, caught.value.error_type]

    assert parent.run(timeout=30) == ["child", "StepExecutionError"]


def test_a_cancelled_child_fails_the_step_that_waits_for_it(memory, declare, slow, wait_status):
    @declare
    def parent(ctx):
        ctx.step.invoke_and_wait("child", slow, {"s": 600})

    handle = parent.invoke()
    wait_status(handle, "waiting")
    get_handle(f"{handle.id}.child").cancel()
    with pytest.raises(RunFailedError, match="was cancelled"):
        handle.result(30)


def test_invoke_goes_on_at_once_and_wait_for_takes_the_result(durable, declare, slow):
    @declare
    def parent(ctx):
        handle = ctx.step.invoke("child", slow, {"s": 0.2})
        ctx.step.run("meanwhile", lambda: 1)
        return ctx.step.wait_for(handle)

    assert parent.run(timeout=30) == 0.2


def test_wait_for_takes_runs_that_others_have_started(durable, declare, slow):
    @declare
    def other(ctx, payload: dict):
        return ctx.step.wait_for("other", get_handle(payload["run"]))

    handle = slow.invoke({"s": 0.2})
    assert other.run({"run": handle.id}, timeout=30) == 0.2


def test_a_child_starts_once_however_often_its_parent_is_replayed(durable, declare, counted):
    @declare
    def child(ctx):
        return counted("child", 5)

    @declare
    def parent(ctx):
        value = ctx.step.invoke_and_wait("child", child)
        ctx.step.wait_for("pause", seconds=0.2)
        return value

    assert parent.run(timeout=30) == 5
    assert len(counted) == 1


def test_many_children_give_their_outcomes_in_order(durable, declare, double):
    @declare
    def parent(ctx):
        results = ctx.step.batch_invoke_and_wait("all", [BatchWorkflowInput(double.id, {"n": n}) for n in (3, 0, 1)])
        return [[one.success, one.result, bool(one.error), one.workflow_id == double.id] for one in results]

    assert parent.run(timeout=30) == [[True, 6, False, True], [False, None, True, True], [True, 2, False, True]]


def test_children_that_end_in_another_order_give_their_outcomes_in_order(memory, declare, slow):
    @declare
    def parent(ctx):
        inputs = [BatchWorkflowInput(slow.id, {"s": s}) for s in (0.4, 0.2, 0.01)]
        return [one.result for one in ctx.step.batch_invoke_and_wait("all", inputs)]

    assert parent.run(timeout=30) == [0.4, 0.2, 0.01]


def test_batch_invoke_gives_handles(memory, declare, double):
    @declare
    def parent(ctx):
        handles = ctx.step.batch_invoke("all", [BatchWorkflowInput(double.id, {"n": n}) for n in (1, 2)])
        return [ctx.step.wait_for(handle) for handle in handles]

    assert parent.run(timeout=30) == [2, 4]


def test_no_children_give_no_outcomes(memory, declare):
    @declare
    def parent(ctx):
        return [ctx.step.batch_invoke_and_wait("none", []), ctx.step.batch_invoke("no", [])]

    assert parent.run(timeout=30) == [[], []]


def test_a_batch_from_outside_gives_outcomes_in_order(durable, double):
    results = batch.run(double.id, [{"n": n} for n in range(30)], timeout=60)
    assert [one.result for one in results] == [None, *(n * 2 for n in range(1, 30))]
    assert [one.success for one in results] == [False] + [True] * 29
    assert "ZeroDivisionError" in results[0].error


def test_a_batch_from_outside_gives_handles(memory, double):
    assert [handle.result(30) for handle in batch.invoke(double.id, [{"n": 1}, {"n": 2}])] == [2, 4]


@attrs.frozen
class Point:
    x: int


def test_a_child_gives_a_typed_result(memory, declare):
    @declare
    def child(ctx) -> Point:
        return Point(3)

    @declare
    def parent(ctx):
        one = ctx.step.invoke_and_wait("one", child)
        (other,) = ctx.step.batch_invoke_and_wait("all", [BatchWorkflowInput(child.id)])
        return [type(one) is Point, type(other.result) is Point]

    assert parent.run(timeout=30) == [True, True]
