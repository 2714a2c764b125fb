"""Calls of the caller's code with a limit of time.

A thread cannot be stopped. So such a call runs in a thread of its own, and is left behind when its time is over; what
it returns later can still be used.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pollux_batch.waiting import Latch

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class TimedCall(Generic[T]):
    """A call that runs in another thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._changed = Latch()
        self._value: T | None = None
        self._error: BaseException | None = None
        self.is_done = False
        #: True once nobody waits for it any more.
        self.is_abandoned = False

    def run(self) -> None:
        """Make the call; keep what it returns or raises."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        self.is_done = True
        self._changed.set()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the end; return whether it came."""
        self._changed.wait(timeout_s)
        return self.is_done

    def abandon(self) -> None:
        """Wake whoever waits."""
        self.is_abandoned = True
        self._changed.set()

    def result(self) -> T:
        """Return what the call returned; raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class Runners:
    """The threads of calls with a limit of time. One is used again once its call has ended."""

    def __init__(self) -> None:
        self._idle: deque[_Runner] = deque()
        self._open: set[TimedCall[Any]] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def begin(self, function: Callable[[], T]) -> TimedCall[T]:
        """Begin a call."""
        call = TimedCall(function)
        with self._lock:
            runner = self._idle.pop() if self._idle else _Runner(self._take_back)
            self._open.add(call)
        runner.calls.put(call)
        return call

    def _take_back(self, runner: _Runner, call: TimedCall[Any]) -> None:
        with self._lock:
            self._open.discard(call)
            self._idle.append(runner)
            if self._is_closed:
                runner.calls.put(None)

    def abandon_all(self) -> None:
        """Wake all who wait for a call."""
        with self._lock:
            calls = [*self._open]
        for call in calls:
            call.abandon()

    def close(self) -> None:
        """End the threads, each once its call has ended."""
        with self._lock:
            self._is_closed = True
            for runner in self._idle:
                runner.calls.put(None)


class _Runner:
    def __init__(self, ended: Callable[[_Runner, TimedCall[Any]], None]) -> None:
        self.calls: SimpleQueue[TimedCall[Any] | None] = SimpleQueue()
        self._ended = ended
        threading.Thread(target=self._run, name="pollux-batch call", daemon=True).start()

    def _run(self) -> None:
        while (call := self.calls.get()) is not None:
            call.run()
            self._ended(self, call)
