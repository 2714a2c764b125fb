"""Waiting that Ctrl-C does no harm to.

A Ctrl-C may come inside any function of Python. One that comes inside those of `threading.Event` and
`threading.Condition` leaves their lock taken, and whoever sets the event then waits for ever. So a thread that Ctrl-C
may reach takes no lock but a plain `threading.Lock`, and waits on nothing but this.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class Latch:
    """An event that is set once, and that Ctrl-C does no harm to."""

    def __init__(self) -> None:
        self._is_set = False
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Wake all who wait, and those to come."""
        self._is_set = True
        self._tokens.put(None)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set; return whether it is."""
        if not self._is_set:
            with suppress(Empty):
                self._tokens.get(timeout=timeout_s)
                # For the next who waits.
                self._tokens.put(None)
        return self._is_set
