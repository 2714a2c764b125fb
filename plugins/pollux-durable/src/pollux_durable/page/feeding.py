"""Live events: what happens in a run, as server-sent events."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import attrs

from pollux_durable.data.runs import ENDED
from pollux_durable.page.folding import drop_superseded
from pollux_durable.page.reading import is_within, list_answer_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import RunInfo
    from pollux_durable.hosting import Host

_LOOK_S = 0.05
#: All else is read less often, or when this process says that something has changed.
_LOOK_CLOSELY_S = 1.0
#: A server learns only by writing that a browser has gone.
_SIGN_OF_LIFE_S = 10.0
_RETRY_MS = 1000


class RunFeed:
    """The messages about a run and all below it, from an event on."""

    def __init__(self, host: Host, info: RunInfo, after: int) -> None:
        self._host = host
        self._info = info
        self._after = after
        self._seen = -1
        self._known: object = None
        self._details: object = None
        self._looked_at = self._counted_at = -_LOOK_CLOSELY_S

    def iter_messages(self, is_closing: Callable[[], bool]) -> Iterator[str]:
        """Yield messages until the run has ended or ``is_closing``.

        ``event`` carries an event, and its sequence id. ``change`` says that something else has changed, and ``end``
        that nothing will any more.
        """
        yield f"retry: {_RETRY_MS}\n\n"
        written_at = time.monotonic()
        while not is_closing():
            seen, reached = self._host.changes.count, self._after
            # Asked before the events are read: what comes before the end must not be missed.
            has_ended = self._look(seen)
            messages = self._read_events()
            if self._has_changed():
                messages.append(_build_message("change", {"status": self._info.status}))
            elif has_ended and self._after == reached:
                yield _build_message("end", {"status": self._info.status})
                return
            elif not messages and time.monotonic() - written_at >= _SIGN_OF_LIFE_S:
                messages.append(": \n\n")
            if messages:
                written_at = time.monotonic()
                yield "".join(messages)
            else:
                self._host.changes.wait(seen, _LOOK_S)

    def _look(self, seen: int) -> bool:
        """Read how the run is, if it is time to; return whether it has ended."""
        now = time.monotonic()
        if seen == self._seen and now - self._looked_at < _LOOK_CLOSELY_S:
            return False
        self._seen, self._looked_at = seen, now
        self._info = attrs.evolve(self._host.read_run(self._info.execution_id), payload=None, result=None)
        has_ended = self._info.status in ENDED
        if has_ended or now - self._counted_at >= _LOOK_CLOSELY_S:
            self._counted_at = now
            waits = list_answer_waits(self._host, self._info)
            n_steps = len(self._host.engine.list_steps(self._info.execution_id))
            self._details = (n_steps, {(wait.execution_id, wait.step_key) for wait in waits})
        # Looked at again soon, until nothing comes any more.
        self._looked_at = -_LOOK_CLOSELY_S if has_ended else now
        return has_ended

    def _has_changed(self) -> bool:
        # True at first: the run may have changed since its page was sent.
        has_changed, self._known = self._known != (self._info, self._details), (self._info, self._details)
        return has_changed

    def _read_events(self) -> list[str]:
        events = self._host.events.read(self._info.topic, after=self._after)
        self._after = events[-1].sequence_id if events else self._after
        own = [event for event in events if is_within(event.execution_id, self._info)]
        return [_build_event(event) for event in drop_superseded(own)]


def _build_event(event: EventPayload) -> str:
    return f"id: {event.sequence_id}\n{_build_message('event', event.to_dict())}"


def _build_message(name: str, data: object) -> str:
    # JSON on one line: an end of line in it would end the message.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
