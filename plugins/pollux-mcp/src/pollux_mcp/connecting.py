"""The connection to one server, held open by one task of the shared event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from mcp import Client
from mcp_types import Implementation

from pollux_mcp.diagnosing import log
from pollux_mcp.looping import shared_loop, wait_for_result
from pollux_mcp.processes import open_process
from pollux_mcp.requesting import open_http

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pollux_mcp.diagnosing import ServerLog
    from pollux_mcp.errors import MCPServerError
    from pollux_mcp.settings import ServerSettings

T = TypeVar("T")

#: The caller waits this much longer than the loop: if that answers nothing, something blocks it.
_SPARE_S = 5.0
#: Longer than all that the end of a process may take.
_CLOSE_S = 15.0


class Connection:
    """One open server. It belongs to the process that opened it; its methods may be called by any thread."""

    def __init__(self, settings: ServerSettings, server_log: ServerLog) -> None:
        self._settings = settings
        self._log = server_log
        self._client: Client | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._is_open = False
        self._ready: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._thread = shared_loop.acquire()
        self._closing = asyncio.Event()
        self._task = self._thread.submit(self._serve())

    def wait_until_open(self) -> None:
        """Wait until the server has answered. Raises MCPServerError if it does not start in time."""
        timeout_s = self._settings.start_timeout_s
        try:
            wait_for_result(self._ready, timeout_s + _SPARE_S)
        except TimeoutError:
            raise self._log.build_error(f"did not start within {timeout_s:g} s") from None
        except Exception as error:  # noqa: BLE001 - of the operating system, httpx2, the protocol
            cause = _find_cause(error)
            failed = "reached" if self._settings.url else "started"
            problem = f"cannot be {failed}: {type(cause).__name__}: {cause}"
            raise self._log.build_error(problem, hint=self._find_hint(cause)) from None

    def call(self, work: Callable[[Client], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Return what ``work`` returns. Cancels it after ``timeout_s`` and on Ctrl-C, with a notice to the server.

        Raises TimeoutError, MCPServerError when the server was closed meanwhile, and what ``work`` raises.
        """
        try:
            return wait_for_result(self._thread.submit(self._run(work, timeout_s)), timeout_s + _SPARE_S)
        except CancelledError:
            raise self.build_error("was closed") from None

    def build_error(self, problem: str) -> MCPServerError:
        """Build the error of a server that cannot be used any more."""
        return self._log.build_error(problem, hint="open the server again")

    def close(self) -> None:
        """End the calls, the session and the process. Waits, except in the thread of the loop."""
        try:
            # A start that hangs does not see the signal.
            if not self._is_open:
                self._task.cancel()
            self._thread.signal(self._closing)
            if not self._thread.is_current:
                self._wait_for_end()
        finally:
            shared_loop.release()

    def _wait_for_end(self) -> None:
        try:
            wait_for_result(self._ended, _CLOSE_S)
        except TimeoutError:
            log.warning("the MCP server %r did not close in time", self._log.name)
            self._task.cancel()

    def _find_hint(self, cause: BaseException) -> str:
        if self._settings.url:
            return "check its url and headers, and that it runs"
        if isinstance(cause, FileNotFoundError):
            return "install the program, or pass its whole path"
        last_line = self._log.last_line
        return f"it wrote: {last_line}" if last_line else "start it by hand to see what is wrong"

    async def _run(self, work: Callable[[Client], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        if self._client is None:
            raise self.build_error("has ended")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        self._calls.add(task)
        try:
            async with asyncio.timeout(timeout_s):
                return await work(self._client)
        finally:
            self._calls.remove(task)

    async def _serve(self) -> None:
        """Hold the session open until `close`. What ends it goes to `wait_until_open`, or to the log."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._settings.start_timeout_s):
                    self._client = await stack.enter_async_context(self._build_client())
                self._is_open = True
                self._ready.set_result(None)
                await self._closing.wait()
                await self._cancel_calls()
        except BaseException as error:  # noqa: BLE001 - of a task that nobody awaits
            self._report(error)
        finally:
            self._client = None
            with suppress(InvalidStateError):  # whoever waited was interrupted
                self._ended.set_result(None)

    async def _cancel_calls(self) -> None:
        """End all calls, and wait until the server is told that they are cancelled."""
        self._client = None
        calls = [*self._calls]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _build_client(self) -> Client:
        open_transport = open_process if self._settings.command else open_http
        return Client(
            open_transport(self._settings, self._log),
            client_info=Implementation(name="pollux-mcp", version=version("pollux-mcp")),
            cache=None,
        )

    def _report(self, error: BaseException) -> None:
        if self._ready.done():
            log.debug("%s ended: %s", self._log.name, type(error).__name__)
        else:
            self._ready.set_exception(error)


def _find_cause(error: BaseException) -> BaseException:
    """Return the first error inside groups, with which task groups hide it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
