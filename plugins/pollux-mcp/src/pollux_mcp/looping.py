"""The event loop of all servers, in one background thread: coroutines of it -> blocking calls.

The official client is asynchronous. No loop runs in a caller's thread, which may have one of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from pollux_sync.plugin import ConfigurationError, wait_for

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a thread of its own, while anybody uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._users = 0
        self._process = os.getpid()

    def enter(self) -> None:
        """Start the loop if nobody uses it yet."""
        with self._lock:
            if self._process != os.getpid():
                # The thread did not survive the fork, and the lock may have been held.
                self._loop, self._users, self._process = None, 0, os.getpid()
            self._users += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="pollux-mcp", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """Stop the loop, and wait for the end of its thread, if nobody else uses it."""
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread, self._loop = self._loop, self._thread, None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin a coroutine in the loop."""
        if self._loop is None or self._process != os.getpid():
            work.close()
            raise ConfigurationError("the MCP server belongs to another process", hint="open one in each process")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Return what a coroutine returns. Raises TimeoutError, and what it raises.

        It is cancelled when the time is over, and when Ctrl-C or another exception ends the wait.
        """
        future = self.start(work)
        try:
            if not wait_for(lambda seconds: _is_done(future, seconds), timeout_s):
                raise TimeoutError
            return future.result()
        finally:
            future.cancel()

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def _is_done(future: concurrent.futures.Future[Any], timeout_s: float) -> bool:
    return bool(concurrent.futures.wait([future], timeout_s).done)


#: One for the whole process.
background = BackgroundLoop()
