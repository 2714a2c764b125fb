"""A server as a child process: JSON lines on its standard input and output, each of a bounded length.

The official transport keeps a line however long it grows, and gives stderr away. This one ends the connection to a
server that floods, hands its stderr to the log, and ends the server with all of its children.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp import StdioServerParameters

log = logging.getLogger("pollux_sync.mcp")

#: The longest message of a server.
MAX_LINE_BYTES = 32_000_000
#: The most of a line of stderr that is logged.
_MAX_LOGGED = 2000
#: Seconds for each way to end a server: its input closes, SIGTERM, SIGKILL.
_GRACE_S = 2.0


@asynccontextmanager
async def open_process(server: StdioServerParameters) -> AsyncIterator[tuple[Any, Any]]:
    """Start a server, and yield the streams of its messages; end it at the end. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=get_default_environment() | (server.env or {}),
        cwd=server.cwd,
        limit=MAX_LINE_BYTES,
        # A group of its own, to end it with its children; and so that Ctrl-C in the terminal is the caller's affair.
        start_new_session=True,
    )
    incoming, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_send = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, process.stdout, incoming)
        tasks.start_soon(_write, process.stdin, to_send)
        tasks.start_soon(_log_errors, process.stderr, Path(server.command).name)
        try:
            yield messages, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
                # Of a server that flooded, or whose child lives on, the pipes are open yet; nothing public closes them.
                process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
            tasks.cancel_scope.cancel()
            for stream in (incoming, messages, outgoing, to_send):
                stream.close()


async def _read(output: Any, incoming: Any) -> None:
    """Hand on each message of the server, until it ends, or sends a line that is too long."""
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with incoming:
            while line := await _read_line(output):
                if line.strip():
                    await incoming.send(_parse(line))


async def _read_line(output: asyncio.StreamReader) -> bytes:
    try:
        return await output.readline()
    except ValueError:
        log.warning("an MCP server sent more than %d bytes in one line; its connection is closed", MAX_LINE_BYTES)
        return b""


def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        # Without the line, which may hold anything.
        log.warning("an MCP server wrote a line that is no message")
        return error


async def _write(server_input: Any, to_send: Any) -> None:
    with suppress(OSError, anyio.ClosedResourceError):
        async with to_send:
            async for message in to_send:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                server_input.write(f"{text}\n".encode())
                await server_input.drain()


async def _log_errors(errors: Any, command: str) -> None:
    while piece := await errors.read(_MAX_LOGGED):
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s", command, piece.decode("utf-8", "replace").rstrip())


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a server and its children: by closing its input, then by SIGTERM, then by SIGKILL."""
    process.stdin.close()  # type: ignore[union-attr]
    if await _has_ended(process):
        # Children may outlive it.
        _signal_group(process, "SIGTERM")
        return
    for name in ("SIGTERM", "SIGKILL"):
        _signal_group(process, name)
        if await _has_ended(process):
            break
    _signal_group(process, "SIGKILL")


async def _has_ended(process: asyncio.subprocess.Process) -> bool:
    with anyio.move_on_after(_GRACE_S):
        # Not by process.wait, which waits for the pipes too: a child that lives on holds them.
        while process.returncode is None:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0.01)
    return process.returncode is not None


def _signal_group(process: asyncio.subprocess.Process, name: str) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, getattr(signal, name))
        elif process.returncode is None:  # Windows has no groups of this kind
            process.terminate()
