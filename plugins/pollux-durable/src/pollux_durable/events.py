"""Events from outside of workflows: publish them, and follow a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable import configuring
from pollux_durable.data.events import EventDraft
from pollux_durable.data.values import convert_to_json
from pollux_durable.following import follow_topic
from pollux_durable.invoking import check_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_durable.data.events import EventPayload


def publish(topic: str, event_type: str | None = None, data: Any = None, *, once: str | None = None) -> int:
    """Publish an event; return its sequence id. Of all with the same ``once`` only the first is published.

    Inside of a workflow use ``ctx.step.publish_event``, which publishes it once however often the step is replayed.
    """
    return batch_publish([EventDraft(topic=topic, event_type=event_type, data=data, once=once)])[0]


def batch_publish(drafts: Sequence[EventDraft]) -> list[int]:
    """Publish events together; return their sequence ids."""
    ready = [attrs.evolve(draft, data=convert_to_json(draft.data, "the data of an event")) for draft in drafts]
    return configuring.find_host().publish(ready)


def stream_topic(
    topic: str,
    *,
    last_sequence_id: int | None = None,
    last_timestamp: float | None = None,
    timeout: float | None = None,
) -> Iterator[EventPayload]:
    """Yield the events of a topic as they come, from any process, without end.

    It begins now; with ``last_sequence_id`` after that event, with ``last_timestamp`` (seconds since the epoch) after
    that time. Raises WorkflowTimeoutError if none comes for ``timeout`` seconds.
    """
    check_timeout(timeout)
    host = configuring.find_host()
    if last_sequence_id is not None:
        after = last_sequence_id
    elif last_timestamp is not None:
        after = host.events.find_id_before(last_timestamp)
    else:
        after = host.events.find_newest_id()
    return follow_topic(host, topic, after, timeout)
