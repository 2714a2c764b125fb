"""Events: published once, in one order, and followed from anywhere."""

import threading
import time
from itertools import islice

import pytest

from pollux_durable import EventDraft, WorkflowTimeoutError, events
from pollux_sync.errors import ConfigurationError


@pytest.fixture
def topic(request):
    return f"topic/{request.node.name}/{time.monotonic_ns()}"


def read(topic, count, **start):
    stream = events.stream_topic(topic, timeout=5, **start)
    found = [*islice(stream, count)]
    stream.close()
    return found


def test_events_have_growing_ids(durable, topic):
    ids = [events.publish(topic, data=number) for number in range(3)]
    ids += events.batch_publish([EventDraft(topic=topic), EventDraft(topic=f"{topic}/other")])
    assert ids == sorted(set(ids))


def test_an_event_is_read_as_it_was_published(durable, topic):
    number = events.publish(topic, "kind", {"text": "größe", "n": [1, None]})
    (event,) = read(topic, 1, last_sequence_id=0)
    assert (event.sequence_id, event.id, event.topic) == (number, str(number), topic)
    assert (event.event_type, event.data) == ("kind", {"text": "größe", "n": [1, None]})
    assert abs(event.created_at - time.time()) < 60


def test_an_event_with_a_mark_is_published_once(durable, topic):
    ids = [events.publish(topic, data=number, once=f"{topic}:mark") for number in range(3)]
    assert len(set(ids)) == 1
    assert [event.data for event in read(topic, 1, last_sequence_id=0)] == [0]


def test_events_of_many_threads_are_read_in_their_order(durable, topic):
    def publish(name):
        for number in range(10):
            events.publish(topic, data=[name, number])

    threads = [threading.Thread(target=publish, args=[name]) for name in range(4)]
    stream = events.stream_topic(topic, last_sequence_id=0, timeout=30)
    for thread in threads:
        thread.start()
    found = [*islice(stream, 40)]
    stream.close()
    for thread in threads:
        thread.join()
    assert [event.id for event in found] == [event.id for event in sorted(found, key=lambda one: one.sequence_id)]
    assert [event.data[1] for event in found if event.data[0] == 0] == [*range(10)]


def test_a_topic_is_followed_from_now_on(durable, topic):
    events.publish(topic, data="before")
    stream = events.stream_topic(topic, timeout=30)
    events.publish(topic, data="after")
    assert next(stream).data == "after"
    stream.close()


def test_a_topic_is_followed_after_an_event(durable, topic):
    first, _, _ = [events.publish(topic, data=number) for number in range(3)]
    assert [event.data for event in read(topic, 2, last_sequence_id=first)] == [1, 2]


def test_a_topic_is_followed_after_a_time(durable, topic):
    events.publish(topic, data="before")
    time.sleep(0.01)
    moment = time.time()
    time.sleep(0.01)
    events.publish(topic, data="after")
    assert [event.data for event in read(topic, 1, last_timestamp=moment)] == ["after"]
    assert [event.data for event in read(topic, 2, last_timestamp=0)] == ["before", "after"]


def test_a_topic_on_which_nothing_comes_ends_with_an_error(durable, topic):
    with pytest.raises(WorkflowTimeoutError, match="no event came"):
        next(events.stream_topic(topic, timeout=0.1))


def test_more_events_than_are_read_at_once_all_come(memory, topic):
    events.batch_publish([EventDraft(topic=topic, data=number) for number in range(2500)])
    assert [event.data for event in read(topic, 2500, last_sequence_id=0)] == [*range(2500)]


def test_a_workflow_publishes_an_event_once(durable, declare, topic):
    @declare
    def flow(ctx):
        number = ctx.step.publish_event("publish", topic, {"n": 1}, "kind")
        ctx.step.wait_for("pause", seconds=0.2)
        return number

    number = flow.run(timeout=30)
    events.publish(topic, data="end")
    first, last = read(topic, 2, last_sequence_id=0)
    assert (first.sequence_id, first.data, last.data) == (number, {"n": 1}, "end")


def test_the_events_of_a_run_are_followed_until_it_ends(memory, declare):
    @declare
    def child(ctx):
        ctx.step.publish_workflow_event("publish", "from below", "note")

    @declare
    def flow(ctx):
        ctx.step.publish_workflow_event("first", 1)
        ctx.step.invoke_and_wait("child", child)
        ctx.step.wait_for("pause", seconds=0.2)
        ctx.step.publish_workflow_event("last", 2)

    handle = flow.invoke()
    assert [event.data for event in handle.events(timeout=30)] == [1, "from below", 2]
    assert [event.data for event in handle.events(timeout=30)] == [1, "from below", 2]


@pytest.mark.parametrize("timeout", [0, -1, "1"], ids=str)
def test_a_time_that_is_none_is_refused(memory, topic, timeout):
    with pytest.raises(ConfigurationError, match="the timeout is"):
        events.stream_topic(topic, timeout=timeout)


def test_data_without_json_form_is_refused(memory, topic):
    with pytest.raises(ConfigurationError, match="has no JSON form"):
        events.publish(topic, data=object())
