"""Tells threads of this process that something has changed, so that they look before their next poll."""

from __future__ import annotations

import threading

#: How often what other processes may have changed is looked at.
POLL_S = 0.2


class ChangeSignal:
    """A count of changes that threads can wait on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """The number of changes so far. Read it before you look, and pass it to `wait` if you found nothing."""
        return self._count

    def announce(self) -> None:
        """Wake all that wait."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout_s: float) -> bool:
        """Wait until there was a change after ``seen``, at most so long; return whether there was one."""
        with self._changed:
            if self._count == seen:
                self._changed.wait(timeout_s)
            return self._count != seen
