"""The answers of a job without a journal: the last ones are remembered, so that equal questions are asked once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pollux_batch.data.rows import AnswerRow, Entry, StoredAnswer
from pollux_batch.grouping import GroupWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_MAX_BYTES = 32_000_000


class MemoryJournal(GroupWriter):
    """Stands in for a `Journal` where none is kept: for one run, in memory."""

    has_questions = False

    def __init__(self, kept: Callable[[list[Entry]], None]) -> None:
        self._answers: OrderedDict[bytes, StoredAnswer] = OrderedDict()
        self._size = 0
        super().__init__(kept)

    def find_answers(self, keys: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """Return the remembered answers of these keys."""
        found = ((key, self._answers.get(key)) for key in keys)
        return {key: answer for key, answer in found if answer is not None}

    def find_asked(self, asks: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return nothing, since it knows this run alone."""
        return {}

    def find_sample(self, ask: bytes) -> bytes | None:
        """Return nothing, since it knows this run alone."""
        return None

    def sum_spent(self) -> tuple[int, str]:
        """Return zeros, since it knows this run alone."""
        return 0, "0"

    def keep(self, group: list[Entry]) -> None:
        """Remember the answers of a group."""
        for row in (row for entry in group for row in entry.rows if isinstance(row, AnswerRow)):
            stored = StoredAnswer(
                key=row.key, label=row.label, format=row.format, body=row.body, request_id=row.request_id
            )
            self._answers[row.key] = stored
            self._size += len(row.body)
        while self._size > _MAX_BYTES:
            _, oldest = self._answers.popitem(last=False)
            self._size -= len(oldest.body)

    def note_flight(self, key: bytes, label: str) -> int | None:
        """Note nothing."""
        return None

    def end_flight(self, slot: int | None) -> None:
        """Note nothing."""

    def close(self, outcome: str) -> None:
        """Forget all answers."""
        self.end()
        self._answers.clear()
