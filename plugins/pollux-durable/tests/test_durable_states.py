"""States: typed, kept between runs of a session, one run at a time."""

import threading

import pytest

from pollux_durable import PayloadError, RunFailedError, WorkflowState
from pollux_sync.errors import ConfigurationError


class Counter(WorkflowState):
    count: int = 0
    names: list[str] = []


def declare_counting(declare, **settings):
    @declare(state_schema=Counter, **settings)
    def counting(ctx):
        ctx.state.count += 1
        ctx.step.run("step", lambda: None)
        return ctx.state.count

    return counting


def declare_asking(declare):
    @declare(state_schema=Counter)
    def asking(ctx, payload: dict):
        ctx.state.count += 1
        if payload["asks"]:
            ctx.step.suspend("ask")
        return ctx.state.count

    return asking


def test_a_state_is_kept_between_runs(durable, declare):
    counting = declare_counting(declare)
    assert [counting.run(timeout=30) for _ in range(3)] == [1, 2, 3]


def test_each_session_has_a_state_of_its_own(memory, declare):
    counting = declare_counting(declare)
    assert [counting.run(session_id=name, timeout=30) for name in "abaab"] == [1, 1, 2, 3, 2]


def test_a_run_has_a_state_of_its_own_if_it_is_declared_so(memory, declare):
    counting = declare_counting(declare, state_scope="execution")
    assert [counting.run(timeout=30) for _ in range(2)] == [1, 1]


def test_a_state_begins_as_it_is_asked_to(memory, declare):
    counting = declare_counting(declare)
    assert counting.run(initial_state={"count": 10}, timeout=30) == 11
    assert counting.run(timeout=30) == 12
    assert counting.run(initial_state=Counter(count=5), timeout=30) == 6


def test_a_state_of_one_execution_begins_as_it_is_asked_to(memory, declare):
    counting = declare_counting(declare, state_scope="execution")
    assert counting.run(initial_state={"count": 10}, timeout=30) == 11


def test_a_state_is_the_same_in_each_replay(memory, declare):
    @declare(state_schema=Counter)
    def flow(ctx):
        ctx.state.count += 1
        ctx.step.wait_for("pause", seconds=0.2)
        return ctx.state.count

    assert [flow.run(timeout=30) for _ in range(2)] == [1, 2]


def test_a_state_is_kept_when_its_run_fails(durable, declare):
    @declare(state_schema=Counter)
    def flow(ctx, payload: dict):
        ctx.state.count += 1
        ctx.step.run("step", lambda: 1 / payload["n"], max_retries=0)
        return ctx.state.count

    with pytest.raises(RunFailedError):
        flow.run({"n": 0}, timeout=30)
    assert flow.run({"n": 1}, timeout=30) == 2


def test_runs_of_one_state_go_one_after_the_other(durable, declare):
    inside, most = [], []

    @declare(state_schema=Counter)
    def flow(ctx):
        inside.append(1)
        most.append(len(inside))
        ctx.step.run("step", threading.Event().wait, 0.02)
        ctx.state.count += 1
        inside.pop()
        return ctx.state.count

    handles = [flow.invoke() for _ in range(4)]
    assert sorted(handle.result(30) for handle in handles) == [1, 2, 3, 4]
    assert max(most) == 1


def test_a_waiting_run_keeps_its_state_to_itself(durable, declare, wait_status):
    @declare(state_schema=Counter)
    def flow(ctx, payload: dict):
        ctx.state.count += 1
        return [payload["name"], ctx.state.count, ctx.step.suspend("ask") if payload["name"] == "first" else None]

    first = flow.invoke({"name": "first"})
    wait_status(first, "waiting")
    second = flow.invoke({"name": "second"})
    wait_status(second, "waiting")
    first.answer("ask", "go")
    assert first.result(30) == ["first", 1, "go"]
    assert second.result(30) == ["second", 2, None]


class Notes(WorkflowState):
    text: str = ""


@pytest.mark.parametrize("fails", [False, True])
def test_a_state_that_is_too_large_is_not_kept(durable, declare, fails):
    @declare(state_schema=Notes, max_retries=0)
    def flow(ctx, payload: dict):
        ctx.state.text += payload["text"]
        if fails and len(payload["text"]) > 1:
            raise ValueError("no paper")
        return ctx.state.text

    assert flow.run({"text": "a"}, timeout=30) == "a"
    with pytest.raises(RunFailedError, match="no paper" if fails else r"takes 1,000,\d+ bytes, and may take 1,000,000"):
        flow.run({"text": "b" * 1_000_000}, timeout=30)
    assert flow.run({"text": "c"}, timeout=30) == "ac"


def test_an_initial_state_that_is_too_large_is_refused(durable, declare):
    flow = declare(lambda ctx: None, state_schema=Notes)
    with pytest.raises(PayloadError, match="may take 1,000,000"):
        flow.invoke(initial_state={"text": "b" * 1_000_000})


def test_a_cancelled_run_gives_its_state_back(durable, declare, wait_status):
    asking = declare_asking(declare)
    first = asking.invoke({"asks": True})
    wait_status(first, "waiting")
    second = asking.invoke({"asks": False})
    first.cancel()
    assert second.result(30) == 1


def test_a_run_that_is_resumed_after_a_cancel_takes_its_state_again(durable, declare, wait_status):
    asking = declare_asking(declare)
    first = asking.invoke({"asks": True})
    wait_status(first, "waiting")
    first.cancel()
    wait_status(first, "cancelled")
    first.resume()
    wait_status(first, "waiting")
    second = asking.invoke({"asks": False})
    wait_status(second, "waiting")
    first.answer("ask")
    assert first.result(30) == 1
    assert second.result(30) == 2


def test_a_state_takes_no_value_of_another_type(memory, declare):
    @declare(state_schema=Counter)
    def flow(ctx):
        ctx.state.count = "many"

    with pytest.raises(RunFailedError, match=r"Counter\.count does not fit its type"):
        flow.run(timeout=30)


def test_a_state_has_no_other_fields():
    with pytest.raises(PayloadError, match="has no field 'other'"):
        Counter(other=1)
    with pytest.raises(PayloadError, match="has no field 'other'"):
        Counter().other = 1


def test_a_field_without_default_needs_a_value():
    class Named(WorkflowState):
        name: str

    with pytest.raises(PayloadError, match="needs a value for 'name'"):
        Named()
    assert Named(name="n").to_dict() == {"name": "n"}


def test_states_share_no_default():
    first = Counter()
    first.names.append("a")
    assert Counter().names == []
    assert first != Counter()
    assert Counter() == Counter()
    assert repr(first) == "Counter(count=0, names=['a'])"


def test_an_initial_state_that_does_not_fit_is_refused_at_once(memory, declare):
    counting = declare_counting(declare)
    with pytest.raises(PayloadError):
        counting.invoke(initial_state={"count": "many"})

    @declare
    def stateless(ctx):
        return 1

    with pytest.raises(PayloadError, match="has no state"):
        stateless.invoke(initial_state={"count": 1})


@pytest.mark.parametrize("settings", [{"state_schema": dict}, {"state_schema": Counter, "state_scope": "planet"}])
def test_a_declaration_that_cannot_work_is_refused(declare, settings):
    with pytest.raises(ConfigurationError):
        declare(lambda ctx: None, id="x", **settings)
