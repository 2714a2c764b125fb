"""One connection to a server, kept open by a task of the background loop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import mcp
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from pollux_mcp.looping import background
from pollux_mcp.transport import open_process

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.types import CallToolResult, Tool

#: A server that lists more pages than this does not end.
_MAX_PAGES = 1000


class Connection:
    """A connection that is open from `open` to `close`. Its methods block, and may be called by many threads."""

    def __init__(self, target: mcp.StdioServerParameters | str, headers: Mapping[str, str]) -> None:
        self._target = target
        self._headers = headers
        # Set by the loop, when it opens.
        self._client: Any = None
        self._closing: Any = None
        self._keeper: Any = None

    def open(self, timeout_s: float) -> None:
        """Start or call the server, and agree on a version. Raises TimeoutError, and what the client raises."""
        background.enter()
        try:
            background.run(self._open(), timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection, and the server if it is a child process."""
        if self._keeper is not None:
            background.run(self._close(), timeout_s=30.0)
        background.leave()

    def list_tools(self, timeout_s: float) -> list[Tool]:
        """Return all tools of the server. Raises TimeoutError, and what the client raises."""
        return background.run(self._list_tools(), timeout_s)

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float) -> CallToolResult:
        """Call a tool. The server is told when the time is over, or the caller's wait ends. Raises as `list_tools`."""
        result: CallToolResult = background.run(self._client.call_tool(name, arguments), timeout_s)
        return result

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self._closing = asyncio.Event()
        # A scope of anyio must be left by the task that has entered it.
        self._keeper = loop.create_task(self._keep_open(opened))
        try:
            self._client = await opened
        except asyncio.CancelledError:
            self._keeper.cancel()
            raise

    async def _keep_open(self, opened: asyncio.Future[Any]) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(self._build_client(stack))
                if not opened.done():
                    opened.set_result(client)
                await self._closing.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(_unwrap(error))

    def _build_client(self, stack: AsyncExitStack) -> Any:
        if isinstance(self._target, str):
            http = create_mcp_http_client(headers=dict(self._headers))
            stack.push_async_callback(http.aclose)
            return mcp.Client(streamable_http_client(self._target, http_client=http))
        return mcp.Client(open_process(self._target))

    async def _close(self) -> None:
        self._closing.set()
        await asyncio.wait([self._keeper])

    async def _list_tools(self) -> list[Tool]:
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        return tools


def _unwrap(error: BaseException) -> BaseException:
    """Return the first error of a group, which task groups raise also for a single one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
