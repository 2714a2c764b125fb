"""The event loop of all servers of the process: one, in a daemon thread that lives while a server is open."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")

#: The longest wait at a stretch: a signal that comes just before a wait begins is noticed at its end.
_STRETCH_S = 0.5
#: The longest wait for the end of the loop: something may block it.
_STOP_S = 10.0


class EventLoopThread:
    """An event loop that runs in a thread of its own until `stop`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._started = threading.Event()
        # A daemon: a script that ends without closing its servers must not wait for them.
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), name="pollux-mcp", daemon=True)
        self._thread.start()

    def wait_until_started(self) -> None:
        """Wait until the other methods can be used."""
        self._started.wait()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start ``work`` in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def signal(self, event: asyncio.Event) -> None:
        """Set an event of the loop."""
        self._loop.call_soon_threadsafe(event.set)

    @property
    def is_current(self) -> bool:
        """True in the thread of the loop, where nothing may wait for the loop."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop, its tasks and its thread."""
        self.signal(self._stopping)
        # The garbage collector may close a server in any thread.
        if not self.is_current:
            self._thread.join(_STOP_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._started.set()
        await self._stopping.wait()


class SharedLoop:
    """The one `EventLoopThread` of the process: started for the first server, stopped after the last one."""

    _lock: threading.RLock
    _thread: EventLoopThread | None
    _users: int

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a forked child, which has a copy of the lock but not the thread."""
        # Reentrant: the garbage collector may close a server while this thread opens another one.
        self._lock = threading.RLock()
        self._thread = None
        self._users = 0

    def acquire(self) -> EventLoopThread:
        """Return the thread, started if need be. Each call needs one of `release`."""
        with self._lock:
            if self._thread is None:
                self._thread = EventLoopThread()
            self._users += 1
            thread = self._thread
        # Outside the lock: the garbage collector may close a server in the new thread.
        thread.wait_until_started()
        return thread

    def release(self) -> None:
        """Stop the thread if nobody else has it."""
        with self._lock:
            self._users -= 1
            unused = None if self._users else self._thread
            if unused is not None:
                self._thread = None
        # Outside the lock, which a finalizer in the loop's own thread may want.
        if unused is not None:
            unused.stop()


shared_loop = SharedLoop()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared_loop.forget)


def wait_for_result(future: Future[T], timeout_s: float) -> T:
    """Return the result of work in the loop. Cancels it when ``timeout_s`` has passed, or on Ctrl-C.

    Raises TimeoutError when the time has passed, and what the work raises.
    """
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            left_s = deadline - time.monotonic()
            try:
                return future.result(max(0.0, min(left_s, _STRETCH_S)))
            except TimeoutError:
                # Its own error, or what it returned just now.
                if future.done():
                    return future.result()
                if left_s <= 0:
                    raise
    finally:
        # Without effect on work that has ended.
        future.cancel()
