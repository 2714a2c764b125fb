"""One thread that takes what many threads hand in, a group at a time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from pollux_batch.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_batch.data.rows import Entry

#: A group takes no more rows than one statement has room for parameters.
_MAX_GROUP = 500
#: How many bytes of answers may wait before workers wait too.
_MAX_WAITING_BYTES = 4_000_000


class GroupWriter(ABC):
    """Keeps entries in groups, and tells the job of each group once it is kept.

    Workers hand entries in without taking a lock: where many threads take one lock for each item, they spend more time
    on waking one another than on the items.
    """

    def __init__(self, kept: Callable[[list[Entry]], None]) -> None:
        self._kept = kept
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_idle = False
        self._is_keeping = False
        self._is_closing = False
        #: Why nothing can be kept any more, None while it can.
        self.failure: JournalError | None = None
        self._thread = threading.Thread(target=self._keep_groups, name="pollux-batch writer", daemon=True)
        self._thread.start()

    @abstractmethod
    def keep(self, group: list[Entry]) -> JournalError | None:
        """Keep a group whole or not at all; return the error if that fails."""

    def write(self, entry: Entry) -> None:
        """Hand an entry in. Entries are kept in the order of the calls.

        Waits only while very much is waiting. Raises JournalError once keeping has failed.
        """
        if self.failure is not None:
            raise self.failure
        # Both are atomic, as long as nothing is called between: the lock is taken only by one who has to wake the
        # writer, or to wait for it.
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        if self._is_idle:
            with self._lock:
                self._changed.notify_all()
        elif self._waiting_bytes > _MAX_WAITING_BYTES:
            with self._lock:
                while self._waiting_bytes > _MAX_WAITING_BYTES and self.failure is None:
                    self._changed.wait(0.5)

    def flush(self) -> None:
        """Wait until all that was handed in is kept. Raises JournalError once keeping has failed."""
        with self._lock:
            while self.failure is None and (self._waiting or self._is_keeping):
                self._changed.wait(0.01)
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """Keep what waits, and end the thread."""
        with self._lock:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()

    def _keep_groups(self) -> None:
        try:
            while group := self._take_group():
                failure = self.keep(group)
                if failure is not None:
                    self._fail(failure)
                    return
                self._make_room(group)
                self._kept(group)
                self._is_keeping = False
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits for the results
            failure = JournalError(f"the answers cannot be kept any more: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._fail(failure)
        finally:
            self._is_keeping = False

    def _fail(self, failure: JournalError) -> None:
        with self._lock:
            self.failure = failure
            self._waiting.clear()
            self._changed.notify_all()

    def _make_room(self, group: list[Entry]) -> None:
        is_full = self._waiting_bytes > _MAX_WAITING_BYTES
        size = sum([entry.size for entry in group])
        with self._lock:
            self._waiting_bytes -= size
            if is_full:
                self._changed.notify_all()

    def _take_group(self) -> list[Entry]:
        """Return what waits, after a wait for it; nothing once the writer is closed."""
        if not self._waiting:
            with self._lock:
                self._is_idle = True
                # One may have come before the flag was set: no wait is long.
                while not self._waiting and not self._is_closing:
                    self._changed.wait(0.05)
                self._is_idle = False
        # Before anything is taken: whoever sees nothing wait must see this.
        self._is_keeping = True
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
