"""Follows a topic: events as they come, from any process, each once and in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pollux_durable.data.runs import ENDED
from pollux_durable.errors import WorkflowTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_durable.data.events import EventPayload
    from pollux_durable.hosting import Host

#: How often a reader looks for events of other processes.
_LOOK_S = 0.05


def follow_topic(
    host: Host,
    topic: str,
    after: int,
    timeout_s: float | None = None,
    *,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[EventPayload]:
    """Yield the events of a topic after a sequence id, until ``is_over``.

    Raises WorkflowTimeoutError if none comes for ``timeout_s`` seconds.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        seen = host.changes.count
        # Asked before the events are read: what comes before the end must not be missed.
        has_ended = is_over()
        events = host.events.read(topic, after=after)
        for event in events:
            after = event.sequence_id
            yield event
        if events:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
        elif has_ended:
            return
        elif deadline is not None and time.monotonic() >= deadline:
            raise WorkflowTimeoutError(f"no event came on {topic!r} within {timeout_s:g} s")
        else:
            host.changes.wait(seen, _LOOK_S)


def follow_run(host: Host, execution_id: str, after: int, timeout_s: float | None) -> Iterator[EventPayload]:
    """Yield the events of a run, and of all below its root, until it has ended. Raises WorkflowTimeoutError."""
    topic = host.read_run(execution_id).topic
    return follow_topic(host, topic, after, timeout_s, is_over=lambda: host.read_run(execution_id).status in ENDED)
