"""An item on its way: planned, with the key of its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_batch.budgeting import Reservation
    from pollux_batch.data.items import BatchItem, BrokenItem
    from pollux_batch.data.messages import SenderAnswer
    from pollux_batch.data.rows import StoredAnswer
    from pollux_batch.lanes import Lane
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Call, Plan, Redelivery
    from pollux_sync.errors import PolluxError
    from pollux_sync.schemas import AnswerFormat


@attrs.define(eq=False, kw_only=True, weakref_slot=False)
class Work:
    """One item that is to be answered. ``call`` is what middleware made of it; its files are delivered.

    ``key`` is that of the answer in the journal, ``ask`` the hash of the item as asked. ``followers`` are equal
    items that get the same answer. ``plan`` is that of its chunk until its files are delivered; ``request`` is the call
    encoded, None if it must be encoded anew; ``sent`` is that call once another process has it. ``stored`` is an
    answer that is only to be repaired. ``slot`` is its place in the flight file, ``reservation`` part of the budget.
    """

    index: int
    label: str
    item: BatchItem
    lane: Lane
    call: Call
    answers: AnswerFormat | None
    key: bytes
    ask: bytes
    #: The place of the item among equal ones that are to have an answer each.
    number: int = 1
    #: A hash of what comes before the prompt and is shared with others; empty where nothing is, or nobody asks.
    prefix: bytes = b""
    n_tokens: int = 0
    redelivery: Redelivery | None = None
    followers: list[Follower] = attrs.field(factory=list)
    stored: StoredAnswer | None = None
    slot: int | None = None
    reservation: Reservation | None = None
    plan: Plan | None = None
    request: HttpRequest | None = None
    sent: SentCall | None = None

    @property
    def extra_headers(self) -> Mapping[str, str]:
        """The headers that the caller gave the call."""
        return (self.call.options.provider_headers or {}).get(self.lane.hooks.info.name) or {}


@attrs.define(eq=False, weakref_slot=False)
class SentCall:
    """A call that another process carries out. ``incident`` is that of its scope when it was sent."""

    incident: int
    sent_at: float
    answer: SenderAnswer | None = None
    answered_at: float = 0.0


@attrs.frozen(weakref_slot=False)
class Follower:
    """An item whose request equals that of a work."""

    index: int
    label: str
    item: BatchItem


@attrs.frozen(weakref_slot=False)
class Refused:
    """An item that cannot be asked; nothing was sent for it."""

    index: int
    label: str
    item: BatchItem | BrokenItem | None
    error: PolluxError


@attrs.frozen
class Leftover:
    """An item that no submission has answered, and that may be asked by a live call.

    ``number`` is its place among equal ones that are to have an answer each.
    """

    index: int
    label: str
    item: BatchItem
    number: int = 1
