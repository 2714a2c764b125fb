"""A server over streamable HTTP: its client, with limits and the user's headers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pollux_mcp.diagnosing import ServerLog
    from pollux_mcp.settings import ServerSettings

_END_S = 2.0


@asynccontextmanager
async def open_http(settings: ServerSettings, server_log: ServerLog) -> AsyncIterator[Any]:
    """Open the client of a server; yield its incoming and outgoing messages."""
    limit = settings.limits.max_message_bytes

    async def limit_answer(response: httpx2.Response) -> None:
        # The package's own errors do not show it.
        status = response.status_code
        server_log.fault = f"it answered with status {status}" if status >= HTTPStatus.BAD_REQUEST else None
        # The events of a stream are counted one by one.
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _LimitedStream(response, limit)

    async def limit_end(request: httpx2.Request) -> None:
        # The request that ends the session: a server that does not answer it must not keep the caller.
        if request.method == "DELETE":
            request.extensions["timeout"] = httpx2.Timeout(_END_S).as_dict()

    async with httpx2.AsyncClient(
        # Compressed, a small answer may become one of any size.
        headers={"accept-encoding": "identity", **settings.headers},
        # The limit of a call is the caller's; a stream of events may be silent for hours.
        timeout=httpx2.Timeout(settings.start_timeout_s, read=None),
        event_hooks={"request": [limit_end], "response": [limit_answer]},
    ) as client:
        with server_log.guard_loggers():
            assert settings.url is not None  # noqa: S101 - checked with the settings
            async with streamable_http_client(settings.url, http_client=client, max_sse_event_size=limit) as streams:
                yield streams


class _LimitedStream(httpx2.AsyncByteStream):
    """The body of an answer, which fails when it becomes too long."""

    def __init__(self, response: httpx2.Response, limit: int) -> None:
        self._stream: Any = response.stream
        self._is_compressed = response.headers.get("content-encoding", "identity") != "identity"
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_compressed:
            raise httpx2.StreamError("the answer is compressed, though that was not asked for")
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > self._limit:
                raise httpx2.StreamError(f"the answer has more than {self._limit} bytes")
            yield piece

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()
