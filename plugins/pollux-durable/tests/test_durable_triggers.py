import threading
import time

import pytest

import pollux_durable
from pollux_durable import BatchEventPayload, EventPayload, events, get_handle, workflow
from pollux_durable.configuring import find_host
from pollux_durable.data.events import EventDraft
from pollux_durable.errors import PayloadError
from pollux_durable.registry import registry
from pollux_durable.triggering import Dispatcher
from pollux_sync.errors import ConfigurationError


@pytest.fixture
def memory(own_registry):
    pollux_durable.configure("memory:")


@pytest.fixture(params=["memory", "sqlite"])
def any_engine(request, own_registry, tmp_path):
    pollux_durable.configure("memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'durable.db'}")


def wait_until(is_true, patience_s=10):
    until = time.monotonic() + patience_s
    while not is_true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


# Declarations


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trigger_on_event": " "}, "trigger_on_event"),
        ({"trigger_on_event": 5}, "trigger_on_event"),
        ({"trigger_on_event": "orders", "batch_size": 0}, "batch_size"),
        ({"trigger_on_event": "orders", "batch_size": True}, "batch_size"),
        ({"trigger_on_event": "orders", "batch_size": 2, "batch_timeout_seconds": -1}, "timeout"),
        ({"trigger_on_event": "orders", "batch_timeout_seconds": 5}, "no batch to wait for"),
        ({"batch_size": 5}, "no topic"),
    ],
)
def test_refuses_a_declaration_that_cannot_work(own_registry, settings, reason):
    with pytest.raises(ConfigurationError, match=reason) as caught:
        workflow(id="bad", **settings)(lambda ctx: None)
    assert caught.value.hint
    assert "bad" not in registry._workflows


@pytest.mark.parametrize(("size", "kind"), [(1, "EventPayload"), (2, "BatchEventPayload")])
def test_refuses_a_payload_that_is_no_event(own_registry, size, kind):
    def bad(ctx, payload: int): ...

    with pytest.raises(PayloadError, match=kind):
        workflow(trigger_on_event="orders", batch_size=size)(bad)


# Single events


def test_each_event_of_the_topic_starts_the_workflow_in_order(any_engine):
    seen = []

    @workflow(trigger_on_event="orders")
    def ship(ctx, payload: EventPayload):
        seen.append((payload.topic, payload.event_type, payload.data))

    for number in range(5):
        events.publish("orders", "created", {"number": number})
        events.publish("others", "created", {"number": -1})
    wait_until(lambda: len(seen) == 5)
    assert seen == [("orders", "created", {"number": number}) for number in range(5)]


def test_run_is_named_by_the_event(memory):
    @workflow(trigger_on_event="orders")
    def named(ctx, payload: EventPayload):
        return payload.sequence_id

    sequence_id = events.publish("orders", data=1)
    wait_until(lambda: find_host().list_runs(workflow_id="named"))
    assert get_handle(f"trigger:named:{sequence_id}").result(10) == sequence_id


def test_payload_may_be_left_out_or_be_a_dict(memory):
    seen = []

    @workflow(trigger_on_event="orders")
    def without(ctx):
        seen.append(None)

    @workflow(trigger_on_event="orders")
    def plain(ctx, payload: dict):
        seen.append(payload["data"])

    events.publish("orders", data="new")
    wait_until(lambda: len(seen) == 2)
    assert {*seen} == {None, "new"}


def test_next_run_begins_after_the_one_before_has_ended_even_if_that_is_parked(memory):
    seen = []

    @workflow(trigger_on_event="orders")
    def approve(ctx, payload: EventPayload):
        seen.append(("begins", payload.data))
        ctx.step.suspend("wait")
        seen.append(("ends", payload.data))

    ids = events.batch_publish([EventDraft(topic="orders", data=number) for number in range(2)])
    for sequence_id in ids:
        wait_until(lambda name=f"trigger:approve:{sequence_id}": find_host().engine.read_runs([name]))
        handle = get_handle(f"trigger:approve:{sequence_id}")
        wait_until(lambda handle=handle: handle.status == "waiting")
        assert find_host().list_runs(workflow_id="approve")[0].execution_id == handle.id
        handle.answer("wait")
        handle.result(10)
    firsts = [*dict.fromkeys(seen)]
    assert firsts == [("begins", 0), ("ends", 0), ("begins", 1), ("ends", 1)]


def test_failed_run_does_not_stop_those_after_it(memory):
    seen = []

    @workflow(trigger_on_event="orders", max_retries=0)
    def fragile(ctx, payload: EventPayload):
        seen.append(payload.data)
        if payload.data == 0:
            raise ValueError("broken")

    for number in range(2):
        events.publish("orders", data=number)
    wait_until(lambda: seen == [0, 1])


def test_events_from_before_the_trigger_are_left_out(memory):
    seen = []
    events.publish("orders", data="before")

    @workflow(trigger_on_event="orders")
    def fresh(ctx, payload: EventPayload):
        seen.append(payload.data)

    events.publish("orders", data="after")
    wait_until(lambda: seen)
    assert seen == ["after"]


def test_events_that_came_while_no_process_was_there_are_not_lost(own_registry, tmp_path):
    seen = []

    def declare():
        @workflow(trigger_on_event="orders")
        def keeper(ctx, payload: EventPayload):
            seen.append(payload.data)

    declare()
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    pollux_durable.configure(url)
    events.publish("orders", data=1)
    wait_until(lambda: seen == [1])
    pollux_durable.reset()
    del registry._workflows["keeper"]
    pollux_durable.configure(url)
    events.publish("orders", data=2)
    declare()
    wait_until(lambda: len(seen) == 2)
    assert seen == [1, 2]


def test_another_topic_begins_with_what_is_published_from_then_on(memory):
    host = find_host()
    host.triggers.declare("moved", "orders")
    events.publish("returns", data="before")
    host.triggers.declare("moved", "returns")
    (row,) = host.triggers.list_all()
    assert (row.topic, row.sequence_id) == ("returns", host.events.find_newest_id())
    host.triggers.declare("moved", "returns")
    assert host.triggers.list_all() == [row]


def test_one_of_two_processes_claims_an_event(memory):
    host = find_host()
    host.triggers.declare("shared", "orders")
    (row,) = host.triggers.list_all()
    assert [host.triggers.claim(row, 1, 0.0), host.triggers.claim(row, 1, 0.0)] == [True, False]


def test_run_whose_process_died_before_it_was_started_is_started_by_another(memory):
    host = find_host()
    host.triggers.declare("claimed", "orders")
    (row,) = host.triggers.list_all()
    sequence_id = events.publish("orders", data="once")
    now = time.time()
    assert host.triggers.claim(row, sequence_id, now)

    @workflow(trigger_on_event="orders")
    def claimed(ctx, payload: EventPayload):
        return payload.data

    Dispatcher(host).dispatch(now)
    assert host.list_runs(workflow_id="claimed") == []
    Dispatcher(host).dispatch(now + 10)
    assert get_handle(f"trigger:claimed:{sequence_id}").result(10) == "once"


def test_event_that_cannot_be_read_stops_no_other_topic(memory, caplog):
    seen = []

    @workflow(trigger_on_event="secret")
    def blind(ctx): ...

    @workflow(trigger_on_event="orders")
    def sees(ctx, payload: EventPayload):
        seen.append(payload.data)

    host = find_host()
    with host.engine.database.transact() as transaction:
        transaction.execute(
            "INSERT INTO pollux_events (topic, data, at) VALUES ('secret', 'pollux-codec:unreadable', 0)"
        )
    events.publish("orders", data="open")
    wait_until(lambda: seen)
    assert seen == ["open"]
    assert host.list_runs(workflow_id="blind") == []
    assert {record.levelname for record in caplog.records} <= {"WARNING"}


# Batches


def test_batch_starts_when_it_is_full(memory):
    seen = []

    @workflow(trigger_on_event="orders", batch_size=3)
    def batched(ctx, payload: BatchEventPayload):
        seen.append([event.data for event in payload.events])

    events.batch_publish([EventDraft(topic="orders", data=number) for number in range(7)])
    wait_until(lambda: len(seen) == 2)
    assert seen == [[0, 1, 2], [3, 4, 5]]


def test_batch_starts_so_long_after_its_first_event(memory):
    seen = []

    @workflow(trigger_on_event="orders", batch_size=3, batch_timeout_seconds=3600)
    def patient(ctx, payload: BatchEventPayload):
        seen.append([event.data for event in payload.events])

    events.batch_publish([EventDraft(topic="orders", data=number) for number in range(2)])
    dispatcher = Dispatcher(find_host())
    dispatcher.dispatch(time.time() + 3000)
    assert find_host().list_runs(workflow_id="patient") == []
    dispatcher.dispatch(time.time() + 3601)
    wait_until(lambda: seen)
    assert seen == [[0, 1]]


def test_short_batch_starts_by_itself(memory):
    seen = []

    @workflow(trigger_on_event="orders", batch_size=100, batch_timeout_seconds=0.05)
    def short(ctx, payload: dict):
        seen.append([event["data"] for event in payload["events"]])

    events.publish("orders", data="alone")
    wait_until(lambda: seen == [["alone"]])


# Processes

TRIGGERED = """
import pollux_durable
from pollux_durable import EventPayload, queues, workflow

@workflow(trigger_on_event="orders")
def log_order(ctx, payload: EventPayload):
    with open(LOG, "a") as log:
        log.write(f"{payload.data}\\n")

pollux_durable.configure(URL)
queues.list()
"""


def test_two_processes_on_one_file_take_each_event_once_and_in_order(run_twice):
    with run_twice(TRIGGERED) as read_log:
        for number in range(10):
            events.publish("orders", data=number)
        wait_until(lambda: len(read_log()) >= 10, 30)
    assert read_log() == [str(number) for number in range(10)]
