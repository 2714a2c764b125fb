"""The amounts of the last minute, by which it is known when the next one fits."""

from __future__ import annotations

from collections import deque

import attrs

_WINDOW_S = 60.0


@attrs.define(eq=False)
class Entry:
    """An amount, and the reading of the monotonic clock at which it begins to count."""

    at: float
    amount: float
    is_counted: bool = True


class Window:
    """A limit on the sum of the amounts of any minute. No lock: the owner has one."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        # In order of time. An entry may lie in the future, when a call that waits will be sent.
        self._entries: deque[Entry] = deque()
        self._total = 0.0

    def find_time(self, amount: float, at: float) -> float:
        """Return when, from ``at`` on, the amount fits. One above the limit fits when nothing else counts any more."""
        if self._limit is None:
            return at
        at = max(at, self._entries[-1].at) if self._entries else at
        left = self._total
        for entry in self._entries:
            if entry.at + _WINDOW_S > at and left + amount <= self._limit:
                break
            # The entry no longer counts then.
            at = max(at, entry.at + _WINDOW_S)
            left -= entry.amount
        return at

    def add(self, amount: float, at: float) -> Entry:
        """Count an amount from ``at`` on, which is a time that `find_time` has returned, or now."""
        while self._entries and self._entries[0].at + _WINDOW_S <= at:
            self._drop_oldest()
        entry = Entry(max(at, self._entries[-1].at) if self._entries else at, amount, self._limit is not None)
        if entry.is_counted:
            self._entries.append(entry)
            self._total += amount
        return entry

    def change(self, entry: Entry, amount: float) -> None:
        """Correct the amount of an entry."""
        if entry.is_counted:
            self._total += amount - entry.amount
            entry.amount = amount

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        oldest.is_counted = False
        self._total -= oldest.amount
