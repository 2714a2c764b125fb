"""Steps: each is carried out and recorded once, on every engine."""

import threading
import time
from contextvars import ContextVar
from itertools import pairwise

import pytest

from pollux_durable import RunFailedError, StepExecutionError

FAST = {"base_delay": 0.001, "max_delay": 0.002}


def test_a_step_gives_what_its_function_returns(durable, declare):
    @declare
    def flow(ctx, payload: dict):
        return ctx.step.run("add", lambda a, b, *, c: a + b + c, payload["a"], 2, c=3)

    assert flow.run({"a": 1}, timeout=30) == 6


def test_recorded_steps_are_not_called_again_after_a_wait_without_thread(durable, declare, counted):
    @declare
    def flow(ctx):
        before = ctx.step.run("before", counted, "before", 1)
        ctx.step.wait_for("pause", seconds=0.2)
        return before + ctx.step.run("after", counted, "after", 2)

    assert flow.run(timeout=30) == 3
    assert counted.names == ["before", "after"]


def test_recorded_steps_are_not_called_again_when_the_run_is_retried(durable, declare, counted):
    @declare
    def flow(ctx):
        ctx.step.run("first", counted, "first")
        counted("body")
        if ctx.retry_count < 2:
            raise ValueError("again")
        return ctx.step.run("last", counted, "last", "done")

    assert flow.run(timeout=30) == "done"
    assert counted.names == ["first", "body", "body", "body", "last"]


def test_a_run_is_retried_twice_and_then_fails(durable, declare, counted):
    @declare
    def flow(ctx):
        counted("body")
        raise ValueError("never")

    with pytest.raises(RunFailedError, match="ValueError: never") as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "ValueError"
    assert len(counted) == 3


def test_a_run_is_not_retried_after_a_failed_step(durable, declare, counted):
    @declare
    def flow(ctx):
        counted("body")
        ctx.step.run("bad", lambda: 1 / 0, **FAST)

    with pytest.raises(RunFailedError) as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "StepExecutionError"
    assert len(counted) == 1


def test_a_step_is_tried_three_times_and_its_failure_recorded(durable, declare, counted):
    def fail():
        counted("step")
        raise KeyError("k")

    @declare
    def flow(ctx):
        try:
            ctx.step.run("bad", fail, **FAST)
        except StepExecutionError as error:
            ctx.step.wait_for("pause", seconds=0.2)  # so that it is replayed
            return [error.step_key, error.error_type]

    assert flow.run(timeout=30) == ["bad", "KeyError"]
    assert len(counted) == 3


def test_a_step_that_succeeds_at_last_is_a_success(memory, declare, counted):
    def fail_twice():
        counted("step")
        if len(counted) < 3:
            raise OSError
        return "good"

    @declare
    def flow(ctx):
        return ctx.step.run("flaky", fail_twice, **FAST)

    assert flow.run(timeout=30) == "good"


def test_no_pause_follows_the_last_attempt_of_a_step(memory, declare):
    # The pause would be longer than the time that the run is waited for.
    @declare
    def flow(ctx):
        with pytest.raises(StepExecutionError):
            ctx.step.run("bad", lambda: 1 / 0, max_retries=0, base_delay=600, max_delay=600)
        return "ended"

    assert flow.run(timeout=30) == "ended"


def test_the_pauses_between_attempts_double_up_to_the_longest(memory, declare):
    times = []

    def fail():
        times.append(time.monotonic())
        raise OSError

    @declare
    def flow(ctx):
        ctx.step.run("bad", fail, max_retries=3, base_delay=0.05, max_delay=0.1)

    with pytest.raises(RunFailedError):
        flow.run(timeout=30)
    pauses = [after - before for before, after in pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, [0.05, 0.1, 0.1], strict=True))


def test_map_keeps_the_order_of_its_items(durable, declare):
    def square(n):
        time.sleep(0.02 if n == 0 else 0)
        return n * n

    @declare
    def flow(ctx):
        return ctx.step.map("squares", square, range(12), max_workers=4)

    assert flow.run(timeout=30) == [n * n for n in range(12)]


def test_map_records_each_call(durable, declare, counted):
    @declare
    def flow(ctx):
        values = ctx.step.map("all", counted, ["a", "b", "c"], max_workers=2)
        ctx.step.wait_for("pause", seconds=0.2)
        return [values, ctx.step.run("after", len, values)]

    assert flow.run(timeout=30) == [[None] * 3, 3]
    assert sorted(counted.names) == ["a", "b", "c"]


def test_map_fails_with_the_first_failure_when_all_have_ended(memory, declare, counted):
    def invert(n):
        counted(n)
        return 1 / n

    @declare
    def flow(ctx):
        with pytest.raises(StepExecutionError) as caught:
            ctx.step.map("inverses", invert, [1, 0, 2, 0], max_retries=0)
        return caught.value.step_key

    assert flow.run(timeout=30) == "inverses[1]"
    assert sorted(counted.names) == [0, 0, 1, 2]


def test_map_of_nothing_is_empty(durable, declare):
    @declare
    def flow(ctx):
        return [ctx.step.map("none", len, []), ctx.step.run("next", lambda: 1)]

    assert flow.run(timeout=30) == [[], 1]


VARIABLE = ContextVar("variable", default="outside")


def test_the_threads_of_map_see_the_context_variables_of_the_workflow(memory, declare):
    @declare
    def flow(ctx):
        VARIABLE.set("inside")
        return ctx.step.map("read", lambda _: [VARIABLE.get(), threading.current_thread().name], [1, 2])

    (first, thread), _ = flow.run(timeout=30)
    assert first == "inside"
    assert thread.startswith("pollux-durable map")


def test_random_values_are_the_same_in_each_replay(durable, declare):
    seen = []

    @declare
    def flow(ctx):
        seen.append([ctx.step.uuid("id"), ctx.step.now("now"), ctx.step.random("dice")])
        ctx.step.wait_for("pause", seconds=0.2)
        return seen[-1]

    name, now, dice = flow.run(timeout=30)
    assert seen[0] == seen[1] == [name, now, dice]
    assert len(name) == 36
    assert abs(now / 1000 - time.time()) < 600
    assert 0 <= dice < 1


def test_a_changed_order_of_steps_is_an_error_that_names_both(durable, declare, counted):
    @declare
    def flow(ctx):
        ctx.step.run("load" if not counted.names else "fetch", counted, "step")
        ctx.step.wait_for("pause", seconds=0.2)

    with pytest.raises(RunFailedError) as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "StepOrderError"
    assert "load" in caught.value.message
    assert "fetch" in caught.value.message


def test_runs_of_one_id_are_one_run(durable, declare, counted):
    @declare
    def flow(ctx):
        return ctx.step.run("count", counted, "step", "one")

    name = f"{flow.id}-run"
    assert flow.invoke(execution_id=name).result(30) == "one"
    assert flow.invoke(execution_id=name).result(30) == "one"
    assert len(counted) == 1


def test_recorded_steps_can_be_read_in_their_order(durable, declare, host):
    @declare
    def flow(ctx):
        ctx.step.run("one", lambda: 1)
        ctx.step.run("two", lambda: {"n": 2})

    handle = flow.invoke()
    handle.result(30)
    steps = host.engine.list_steps(handle.id)
    assert [(step.position, step.key) for step in steps] == [(1, "one"), (2, "two")]
    assert all(step.started_at <= step.ended_at for step in steps)
    assert steps[1].result == {"value": {"n": 2}}


def test_a_step_inside_of_a_step_is_refused(memory, declare):
    @declare
    def flow(ctx):
        return ctx.step.run("outer", lambda: ctx.step.run("inner", lambda: 1))

    with pytest.raises(RunFailedError, match="'inner' is called inside of step 'outer'"):
        flow.run(timeout=30)


def test_a_result_that_looks_like_an_error_is_a_result(durable, declare):
    @declare
    def flow(ctx):
        ctx.step.run("step", lambda: {"error": {"type": "None"}})
        ctx.step.wait_for("pause", seconds=0.2)
        return {"error": {"message": "no"}}

    assert flow.run(timeout=30) == {"error": {"message": "no"}}


def test_a_span_goes_around_what_is_in_its_block(memory, declare):
    @declare
    def flow(ctx):
        with ctx.step.trace("work", {"n": 1}):
            return ctx.step.run("step", lambda: 1)

    assert flow.run(timeout=30) == 1
