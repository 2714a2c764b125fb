"""What every engine does for those that look after runs: list, rewind, fork and delete them, and bring them on."""

import logging
import math
import threading

import attrs
import pytest

import pollux_durable
from pollux_durable import WorkflowState, configuring, get_handle
from pollux_durable.tables.waits import Wait


@pytest.fixture
def flow(declare, counted):
    @declare
    def flow(ctx, payload: dict):
        numbers = [ctx.step.run(f"step {number}", counted, number, number) for number in (1, 2, 3)]
        return [*numbers, payload["n"]]

    return flow


@pytest.fixture
def ended(durable, flow):
    handle = flow.invoke({"n": 0})
    assert handle.result(30) == [1, 2, 3, 0]
    return handle


def test_runs_are_listed_from_the_newest_on(durable, flow, host):
    handles = [flow.invoke({"n": number}) for number in range(3)]
    for handle in handles:
        handle.result(30)
    newest = [info.execution_id for info in host.list_runs(workflow_id=flow.id)]
    assert newest == [handle.id for handle in reversed(handles)]
    assert [info.execution_id for info in host.list_runs(workflow_id=flow.id, limit=1, offset=1)] == newest[1:2]
    assert host.list_runs(workflow_id=flow.id, statuses=["failed"]) == []
    assert len(host.list_runs(workflow_id=flow.id, statuses=["completed", "failed"])) == 3
    assert host.list_runs(workflow_id="nowhere") == []


def test_a_rewound_run_goes_on_from_a_step(ended, host, counted, poll):
    host.engine.rewind(ended.id, 2)
    poll(lambda: len(counted) == 5)
    assert ended.result(30) == [1, 2, 3, 0]
    assert counted.names == [1, 2, 3, 2, 3]


def test_a_fork_is_a_run_of_its_own_from_a_step_on(ended, host, counted):
    host.engine.fork(ended.id, 3, f"{ended.id}-fork")
    fork = get_handle(f"{ended.id}-fork")
    assert fork.result(30) == [1, 2, 3, 0]
    assert counted.names == [1, 2, 3, 3]
    assert fork.root_execution_id == fork.id


def test_a_deleted_run_is_gone(ended, host):
    host.engine.delete([ended.id])
    assert host.engine.read_runs([ended.id]) == {}
    assert host.engine.list_steps(ended.id) == []


def test_what_does_not_exist_is_not_found(durable, host):
    assert host.engine.read_runs(["nowhere"]) == {}
    assert host.engine.list_steps("nowhere") == []


# What the beat brings on


def read_wait_states(host, execution_id):
    with host.engine.database.transact() as transaction:
        rows = transaction.execute("SELECT state FROM pollux_waits WHERE execution_id = :id", {"id": execution_id})
    return [state for (state,) in rows]


def age_wait(host, execution_id, state):
    """Leave a wait as a process would that died a while ago."""
    with host.engine.database.transact() as transaction:
        transaction.execute(
            "UPDATE pollux_waits SET state = :state, at = 0 WHERE execution_id = :id",
            {"id": execution_id, "state": state},
        )


@pytest.mark.parametrize("state", ["parking", "waking"])
def test_a_run_whose_process_died_between_stopping_and_resuming_it_goes_on(durable, declare, host, poll, state):
    @declare
    def asking(ctx):
        return ctx.step.suspend("ask")

    handle = asking.invoke()
    poll(lambda: read_wait_states(host, handle.id) == ["parked"] and handle.id not in host.active)
    age_wait(host, handle.id, state)
    poll(lambda: read_wait_states(host, handle.id) == ["parked"])
    handle.answer("ask", 1)
    assert handle.result(30) == 1


def test_the_wait_of_an_ended_run_is_removed(ended, host, poll):
    host.waits.add(Wait(execution_id=ended.id, step_key="step 1", kind="sleep"))
    age_wait(host, ended.id, "waking")
    poll(lambda: read_wait_states(host, ended.id) == [])


def test_a_state_that_an_ended_run_did_not_give_back_is_free(durable, ended, declare, host):
    class State(WorkflowState):
        count: int = 0

    @declare(state_schema=State)
    def counting(ctx):
        ctx.state.count += 1
        return ctx.state.count

    host.states.acquire(counting.id, "", ended.id)
    assert counting.run(timeout=30) == 1


def test_a_worker_that_ends_says_so(unset, make_url, declare):
    pollux_durable.configure(make_url("sqlite"))
    declare(lambda ctx: 1, id="one").run(timeout=30)
    url = configuring._process.settings.url
    first = configuring.find_host().engine.executor_id
    pollux_durable.reset()
    pollux_durable.configure(url)
    workers = configuring.find_host().workers
    assert {worker.executor_id: worker.beat for worker in workers.list_all()}.get(first, 0) == 0


def test_a_worker_that_was_frozen_stops_what_goes_on_elsewhere(unset, make_url, declare, monkeypatch, caplog, poll):
    pollux_durable.configure(make_url("sqlite"), lease_s=15.0)
    went_on = threading.Event()

    @declare
    def holding(ctx):
        ctx.step.run("hold", went_on.wait, 30)
        return 1

    handle = holding.invoke()
    host = configuring.find_host()
    poll(lambda: handle.id in host.active)
    run, beat = host.active[handle.id], configuring._process.beat
    run_elsewhere = attrs.evolve(host.engine.read_runs([handle.id])[handle.id], executor_id="another")
    beat._keep_lease()
    monkeypatch.setattr(host.engine, "read_runs", lambda ids: {handle.id: run_elsewhere})
    beat._keep_lease()
    assert not run.stopping.is_set()
    beat._beaten_at = -math.inf
    beat._keep_lease()
    assert run.stopping.is_set()
    assert f"run {handle.id} goes on elsewhere" in caplog.text
    went_on.set()


def test_variables_that_change_the_engine_are_named(unset, make_url, declare, monkeypatch, caplog):
    monkeypatch.setenv("DBOS__SOMETHING", "1")
    pollux_durable.configure(make_url("sqlite"))
    with caplog.at_level(logging.WARNING):
        declare(lambda ctx: 1, id="one").run(timeout=30)
    assert "DBOS__SOMETHING" in caplog.text


def test_workflows_can_be_forgotten(unset):
    from pollux_durable.registry import registry

    known = dict(registry._workflows)
    pollux_durable.reset(forget=True)
    assert registry.list_all() == []
    registry._workflows.update(known)
