"""The source of a processor's items: added one by one, or read from an iterable."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from pollux_batch.errors import BatchAdmissionClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pollux_batch.data.workitems import LLMWorkItem


class Intake(Protocol):
    """A source of items."""

    @property
    def has_more(self) -> bool:
        """True if `take` would return items now, or None for the end."""
        ...

    @property
    def total(self) -> int | None:
        """The number of items so far, None if unknown."""
        ...

    def take(self, count: int) -> list[LLMWorkItem] | None:
        """Return at most so many items, None after the last."""
        ...

    def note_begun(self) -> None:
        """Note that an item is waiting no more."""
        ...

    def close(self) -> None:
        """Take no further items."""
        ...


#: How often one who has to wait for a place looks for it.
_LOOK_S = 0.005


class Inbox:
    """Items that are added one by one, by any thread. ``capacity`` is how many may wait, 0 for any number."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[LLMWorkItem] = deque()
        self._n_waiting = 0
        self._total = 0
        self._lock = threading.Lock()
        self._is_closed = False
        #: Called after each change; set by the job.
        self.announce: Callable[[], None] = lambda: None

    @property
    def has_more(self) -> bool:
        return bool(self._items) or self._is_closed

    @property
    def total(self) -> int | None:
        return self._total

    @property
    def is_full(self) -> bool:
        """True if no more items may wait."""
        return bool(self._capacity) and self._n_waiting >= self._capacity

    def put(self, item: LLMWorkItem) -> None:
        """Add an item; wait while it is full. Raises BatchAdmissionClosedError once it is closed."""
        while not self._add(item):
            time.sleep(_LOOK_S)
        self.announce()

    def _add(self, item: LLMWorkItem) -> bool:
        with self._lock:
            if self._is_closed:
                raise BatchAdmissionClosedError("the processor takes no more items", hint="use another processor")
            if self.is_full:
                return False
            self._items.append(item)
            self._n_waiting += 1
            self._total += 1
        return True

    def take(self, count: int) -> list[LLMWorkItem] | None:
        with self._lock:
            if not self._items:
                return None if self._is_closed else []
            return [self._items.popleft() for _ in range(min(count, len(self._items)))]

    def note_begun(self) -> None:
        with self._lock:
            self._n_waiting -= 1

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self.announce()


class LazyIntake:
    """Items of an iterable, read only when needed."""

    has_more = True

    def __init__(self, items: Iterable[LLMWorkItem]) -> None:
        self._items = iter(items)
        self._is_closed = self._is_exhausted = False
        self._count = 0

    @property
    def total(self) -> int | None:
        return self._count if self._is_exhausted else None

    def take(self, count: int) -> list[LLMWorkItem] | None:
        items = [] if self._is_closed else [*islice(self._items, count)]
        self._count += len(items)
        self._is_exhausted = not items and not self._is_closed
        return items or None

    def note_begun(self) -> None:
        """Nobody waits for room."""

    def close(self) -> None:
        self._is_closed = True
