"""The chunks of calls that a job hands to a fleet, and their answers. Both can be stored as JSON."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from pollux_batch.data.rows import AnswerFacts, AnswerRow
from pollux_batch.data.settings import Limits, Retries  # noqa: TC001 - read by the converter
from pollux_sync.data.converter import Storable

#: "waiting" for a worker, "running" at one, or "ended": nothing more comes than is there.
ChunkState = Literal["waiting", "running", "ended"]


@attrs.frozen(kw_only=True)
class ChunkCall:
    """One call of a chunk: its request as the provider gets it, without a key.

    ``key`` names the answer, in hexadecimal; ``label`` is the id of the item, for logs. ``n_tokens`` is how many tokens
    are expected, 0 where they are not limited.
    """

    key: str
    label: str
    path: str
    body: dict[str, Any]
    method: str = "POST"
    headers: dict[str, str] = attrs.field(factory=dict)
    n_tokens: int = 0


@attrs.frozen(kw_only=True)
class FleetChunk(Storable):
    """The calls that one worker of a fleet carries out.

    ``mark`` names the chunk, and no other chunk ever. ``scope`` names what the limits are of: provider and model.
    ``settings`` are the fields of the worker's configuration; its key comes from the worker's own environment.
    ``limits`` are those of the whole job: a fleet shares them out among its workers.
    """

    mark: str
    scope: str
    settings: dict[str, Any]
    limits: Limits
    retries: Retries
    calls: tuple[ChunkCall, ...]


@attrs.frozen(kw_only=True, weakref_slot=False)
class FleetAnswer(AnswerFacts, Storable):
    """The answer to one call of a chunk, as it came from the provider. ``key`` is that of the call."""

    key: str

    @classmethod
    def from_row(cls, row: AnswerRow) -> FleetAnswer:
        """Return a worker's row as an answer."""
        return cls(key=row.key.hex(), **_read_facts(row))

    def to_row(self, *, ask: bytes, label: str) -> AnswerRow:
        """Return the answer as a row of the job's own journal."""
        return AnswerRow(key=bytes.fromhex(self.key), ask=ask, label=label, **_read_facts(self))


def _read_facts(answer: AnswerFacts) -> dict[str, Any]:
    return {field.name: getattr(answer, field.name) for field in attrs.fields(AnswerFacts)}
