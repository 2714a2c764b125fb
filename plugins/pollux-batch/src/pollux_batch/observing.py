"""Code of the caller around items: middleware changes them, observers receive events."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_batch.data.results import WorkItemResult
    from pollux_batch.data.workitems import LLMWorkItem

log = logging.getLogger("pollux_batch")

#: Events that wait for slow observers; beyond that the oldest are dropped.
_MAX_WAITING = 10_000
_LOOK_S = 0.005


class ProcessingEvent(StrEnum):
    """The events that observers receive."""

    ITEM_STARTED = "item_started"
    ITEM_ADMITTED = "item_admitted"
    ITEM_COMPLETED = "item_completed"
    ITEM_FAILED = "item_failed"
    ITEM_DEADLINE_EXCEEDED = "item_deadline_exceeded"
    RATE_LIMIT_HIT = "rate_limit_hit"
    COOLDOWN_STARTED = "cooldown_started"
    BATCH_STARTED = "batch_started"
    BATCH_COMPLETED = "batch_completed"
    BATCH_ABORTED = "batch_aborted"


@runtime_checkable
class Middleware(Protocol):
    """Changes items before they are asked, and results after; called from many threads.

    An exception in `before_process` or `after_process` fails the item: one that a filter did not see is never sent.
    """

    def before_process(self, work_item: LLMWorkItem) -> LLMWorkItem | None:
        """Return the item to ask, with the same id and strategy; None skips it. Called once for each item."""
        ...

    def after_process(self, result: WorkItemResult) -> WorkItemResult:
        """Return the result of an item that was answered."""
        ...

    def on_error(self, work_item: LLMWorkItem, error: Exception) -> WorkItemResult | None:
        """Return a result in place of a failure, None for none. Called once no try is left."""
        ...


class BaseMiddleware:
    """Middleware that changes nothing; derive from it and write what you need."""

    def before_process(self, work_item: LLMWorkItem) -> LLMWorkItem | None:
        return work_item

    def after_process(self, result: WorkItemResult) -> WorkItemResult:
        return result

    def on_error(self, work_item: LLMWorkItem, error: Exception) -> WorkItemResult | None:
        return None


@runtime_checkable
class ProcessorObserver(Protocol):
    """Receives events from one thread, in their order, without holding up any work."""

    def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Take note of an event. ``data`` is this observer's own."""
        ...


class BaseObserver:
    """An observer that does nothing; derive from it."""

    def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Take note of an event."""


class Dispatcher:
    """Tells observers of events, in a thread of its own."""

    def __init__(self, observers: Sequence[ProcessorObserver]) -> None:
        self._observers = tuple(observers)
        self._waiting: deque[tuple[ProcessingEvent, dict[str, Any]]] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_telling = False
        self._is_closing = False
        self._thread: threading.Thread | None = None
        #: How many events were dropped, because observers are slow.
        self.n_dropped = 0

    def emit(self, event: ProcessingEvent, **data: Any) -> None:
        """Tell of an event soon."""
        if not self._observers:
            return
        with self._lock:
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.popleft()
                self.n_dropped += 1
            self._waiting.append((event, data))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pollux-batch observers", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until observers have received all events, at most so long."""
        until = time.monotonic() + timeout_s
        while (self._waiting or self._is_telling) and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def close(self, timeout_s: float) -> None:
        """Tell what waits, at most so long, and end the thread."""
        self.flush(timeout_s)
        with self._lock:
            self._is_closing = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (waiting := self._take()) is not None:
            for observer in self._observers:
                _tell(observer, waiting[0], dict(waiting[1]))
            self._is_telling = False

    def _take(self) -> tuple[ProcessingEvent, dict[str, Any]] | None:
        with self._lock:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if self._is_closing:
                return None
            self._is_telling = True
            return self._waiting.popleft()


def _tell(observer: ProcessorObserver, event: ProcessingEvent, data: dict[str, Any]) -> None:
    try:
        observer.on_event(event, data)
    except Exception:
        log.exception("%s failed at %s", type(observer).__name__, event)
