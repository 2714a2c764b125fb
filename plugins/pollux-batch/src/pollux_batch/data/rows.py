"""The rows of a journal."""

from __future__ import annotations

from typing import Any, Literal

import attrs

#: How the body of an answer is stored: as it came from the provider, or as a reply that was put together here. One that
#: is "unread" came from the provider, and could not be decoded.
AnswerFormat = Literal["response", "reply", "unread"]


@attrs.frozen(kw_only=True, weakref_slot=False)
class AnswerFacts:
    """The stored facts of an answer, in a journal or on its way from a fleet.

    ``attempts`` is the number of tries so far; ``duration_s`` is how long the last one took, zero for an answer of a
    deferred job.
    """

    format: AnswerFormat
    body: bytes
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cost: str | None = None
    attempts: int = 1
    duration_s: float = 0.0
    at: float = 0.0


@attrs.frozen(kw_only=True, weakref_slot=False)
class AnswerRow(AnswerFacts):
    """A paid answer.

    ``key`` and ``ask`` are hashes, as bytes: of the request sent, and of the item as asked.
    """

    key: bytes
    ask: bytes
    label: str


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@attrs.frozen(kw_only=True, weakref_slot=False)
class FailureRow:
    """An item that failed for good in a run."""

    label: str
    key: bytes
    # The words of a server may contain lone surrogates, which no file takes.
    error: str = attrs.field(converter=_replace_surrogates)
    category: str
    attempts: int = 0
    at: float = 0.0


@attrs.frozen(kw_only=True, weakref_slot=False)
class ChargeRow:
    """A try without an answer that may have been charged for: the most that it may have taken."""

    label: str
    tokens: int
    cost: str | None
    at: float


@attrs.frozen(kw_only=True)
class SampleRow:
    """The request of an item, kept to show what has changed if it is rendered otherwise one day."""

    ask: bytes
    key: bytes
    request: bytes


@attrs.frozen(weakref_slot=False)
class Member:
    """An item of a submission. ``key`` and ``ask`` are those of its answer to come."""

    key: bytes
    ask: bytes
    label: str


@attrs.frozen(kw_only=True)
class StoredAnswer:
    """An answer of an earlier run, or of an earlier item."""

    key: bytes
    label: str
    format: str
    body: bytes
    request_id: str | None


@attrs.frozen(weakref_slot=False)
class Entry:
    """Rows that are written together, and what the job wants to be reminded of once they are."""

    rows: tuple[AnswerRow | FailureRow | ChargeRow | SampleRow, ...]
    reminder: Any = None
    #: The bytes of the answers.
    size: int = attrs.field(init=False)

    @size.default
    def _count_bytes(self) -> int:
        return sum([len(row.body) for row in self.rows if isinstance(row, AnswerRow)])
