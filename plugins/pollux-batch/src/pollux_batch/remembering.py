"""The answers of a job without a journal: the last ones are remembered, so that equal questions are asked once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from pollux_batch.data.rows import AnswerRow, Entry, StoredAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_batch.errors import JournalError

_MAX_BYTES = 32_000_000


class MemoryJournal:
    """What a `Journal` does, for one run and as far as memory allows."""

    has_answers = False
    failure: JournalError | None = None

    def __init__(self, committed: Callable[[list[Entry]], None]) -> None:
        self._committed = committed
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, StoredAnswer] = OrderedDict()
        self._size = 0

    def find_answers(self, keys: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """Return the remembered answers of these keys."""
        with self._lock:
            return {key: self._answers[key] for key in keys if key in self._answers}

    def find_asked(self, asks: Sequence[bytes]) -> dict[bytes, bytes]:  # noqa: ARG002 - as of a journal
        """Return nothing: there is no earlier run."""
        return {}

    def find_sample(self, ask: bytes) -> bytes | None:  # noqa: ARG002
        """Return nothing: there is no earlier run."""
        return None

    def sum_spent(self) -> tuple[int, str]:
        """Return zeros: there is no earlier run."""
        return 0, "0"

    def write(self, entry: Entry) -> None:
        """Remember answers, and tell the job at once."""
        for row in entry.rows:
            if isinstance(row, AnswerRow):
                self._remember(row)
        self._committed([entry])

    def _remember(self, row: AnswerRow) -> None:
        stored = StoredAnswer(
            key=row.key, label=row.label, format=row.format, body=row.body, request_id=row.request_id
        )
        with self._lock:
            self._answers[row.key] = stored
            self._size += len(row.body)
            while self._size > _MAX_BYTES:
                _, oldest = self._answers.popitem(last=False)
                self._size -= len(oldest.body)

    def note_flight(self, key: bytes, label: str) -> int | None:  # noqa: ARG002
        """Note nothing."""
        return None

    def end_flight(self, slot: int | None) -> None:
        """Note nothing."""

    def close(self, outcome: str) -> None:
        """Forget all answers."""
        self._answers.clear()
