"""The messages between the process of a job and its senders."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from pollux_sync.errors import PolluxError
from pollux_sync.plugin import HttpRequest, HttpResponse

#: The answer of a sender to a call, its error, or the stop that is to end the whole job.
SenderAnswer: TypeAlias = HttpResponse | PolluxError | SystemExit | KeyboardInterrupt


@attrs.frozen
class LaneOpening:
    """A configuration, pickled by itself, whose calls follow under the number of its lane."""

    number: int
    lane: int
    config: bytes


@attrs.frozen(weakref_slot=False)
class OutgoingCall:
    """One physical attempt to carry out."""

    number: int
    lane: int
    request: HttpRequest
    timeout_s: float


@attrs.frozen(weakref_slot=False)
class IncomingAnswer:
    """The answer to the call or the opening of this number, or the error or the stop in place of one."""

    number: int
    answer: SenderAnswer


Message: TypeAlias = LaneOpening | OutgoingCall | IncomingAnswer
