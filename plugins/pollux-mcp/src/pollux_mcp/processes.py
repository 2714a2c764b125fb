"""A server as a child process: messages over its pipes, its end, and that of its whole process group."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from pollux_mcp.diagnosing import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp_types import JSONRPCMessage

    from pollux_mcp.diagnosing import ServerLog
    from pollux_mcp.settings import ServerSettings

    Incoming = SessionMessage | Exception
    _PipeEnds = tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]
    Streams = tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]

_IS_POSIX = os.name == "posix"
#: How long a server may take to end by itself when its standard input is closed, and then after each signal.
_GRACE_S = 2.0
#: How long its status may follow the end of its output.
_STATUS_S = 0.2
_POLL_S = 0.01
_PIECE_BYTES = 4096
#: The most requests of a server that it has not read the answers to.
_MAX_UNREAD_ANSWERS = 100
#: The id of an answer, which servers write before the result or at the end.
_ID_OF_ANSWER = re.compile(rb'\A\{"jsonrpc": ?"2\.0", ?"id": ?(?=(\d+)\b)|"jsonrpc": ?"2\.0", ?"id": ?(?=(\d+)\}\s*\Z)')
_KILL = signal.SIGKILL if _IS_POSIX else signal.SIGTERM


@asynccontextmanager
async def open_process(settings: ServerSettings, server_log: ServerLog) -> AsyncIterator[Streams]:
    """Start a server; yield its incoming and outgoing messages. Ends it, with all processes of its group.

    Own pipes instead of the package's ``stdio_client``, which keeps a line of any length in memory, and leaves running
    what a server that ends by itself has started.
    """
    process = await asyncio.create_subprocess_exec(
        *settings.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=settings.cwd,
        env={**get_default_environment(), **settings.env},
        limit=settings.limits.max_message_bytes,
        # A group of its own: Ctrl-C in a terminal must not reach the server before the caller has ended it.
        start_new_session=_IS_POSIX,
    )
    pipes = _Pipes(process, server_log)
    try:
        yield pipes.start()
    finally:
        await pipes.close()


class _Pipes:
    """The pipes of one process."""

    def __init__(self, process: asyncio.subprocess.Process, server_log: ServerLog) -> None:
        self._process = process
        pipes = (process.stdin, process.stdout, process.stderr)
        self._stdin, self._stdout, self._stderr = cast("_PipeEnds", pipes)
        self._log = server_log
        self._unread_answers = 0
        self._incoming: tuple[MemoryObjectSendStream[Any], MemoryObjectReceiveStream[Any]]
        self._outgoing: tuple[MemoryObjectSendStream[Any], MemoryObjectReceiveStream[Any]]
        self._tasks: dict[str, asyncio.Task[None]]

    def start(self) -> Streams:
        """Start to move messages; return the ends of the session."""
        # Without a buffer, so that a server that floods is stopped by its full pipe.
        self._incoming = anyio.create_memory_object_stream[Any](0)
        self._outgoing = anyio.create_memory_object_stream[Any](0)
        works = {"read": self._read(), "write": self._write(), "log": self._log_errors()}
        self._tasks = {name: asyncio.create_task(work) for name, work in works.items()}
        return self._incoming[1], self._outgoing[0]

    async def close(self) -> None:
        """End the process and its group, and release the pipes."""
        self._incoming[1].close()
        self._outgoing[0].close()
        try:
            # What was accepted, such as the notice that a call is cancelled, is written first.
            await asyncio.wait([self._tasks["write"]], timeout=_GRACE_S / 4)
            self._stdin.close()
            await _stop(self._process, self._log)
        finally:
            _kill_group(self._process)
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            for stream in (*self._incoming, *self._outgoing):
                stream.close()
            # Nothing public closes it while somebody who left the group holds a pipe.
            self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001

    async def _read(self) -> None:
        with self._incoming[0], suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            async for line in self._iter_lines():
                await self._deliver(line)
                if self._unread_answers > _MAX_UNREAD_ANSWERS:
                    self._kill("it sent requests and did not read the answers")
                    return
        # A server that cannot write does not end.
        while await self._stdout.read(_PIECE_BYTES):
            pass

    async def _iter_lines(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self._stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            await _wait_until(lambda: self._process.returncode is not None, _STATUS_S)
            status = self._process.returncode
            self._log.fault = f"it ended with status {status}" if status is not None else "it closed its output"
        except asyncio.LimitOverrunError:
            self._kill("it sent a message that is too long")

    def _kill(self, fault: str) -> None:
        """End a server that floods, at once."""
        self._log.fault = fault
        _kill_group(self._process)

    async def _deliver(self, line: bytes) -> None:
        message = _parse_message(line)
        if message is None:
            # Many programs print something before they start. The line may hold anything, so it is not shown.
            log.debug("%s wrote a line that is not a message", self._log.name)
            return
        self._unread_answers += isinstance(message, JSONRPCRequest)
        await self._incoming[0].send(SessionMessage(message))

    async def _write(self) -> None:
        try:
            async for sent in self._outgoing[1]:
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._stdin.write(f"{text}\n".encode())
                await self._stdin.drain()
                self._unread_answers -= isinstance(sent.message, JSONRPCResponse | JSONRPCError)
        # A RuntimeError where the pipe has been closed here.
        except (ConnectionError, RuntimeError):
            # Nothing more can be asked: the session must not wait for an answer.
            self._incoming[0].close()

    async def _log_errors(self) -> None:
        rest = b""
        while piece := await self._stderr.read(_PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            # A line without an end is logged in pieces.
            lines, rest = ([*lines, rest], b"") if len(rest) > _PIECE_BYTES else (lines, rest)
            for line in lines:
                self._log.write(line.decode(errors="replace").rstrip())
        if rest:
            self._log.write(rest.decode(errors="replace"))


def _parse_message(line: bytes) -> JSONRPCMessage | None:
    """Return the message in a line. An answer that cannot be read, such as one nested too deeply, is an error."""
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        answered = _ID_OF_ANSWER.search(line)
    if answered is None:
        return None
    fault = ErrorData(code=PARSE_ERROR, message="its answer cannot be read")
    return JSONRPCError(jsonrpc="2.0", id=int(answered[1] or answered[2]), error=fault)


async def _stop(process: asyncio.subprocess.Process, server_log: ServerLog) -> None:
    """End a process whose input is closed, and its group: after a time of grace by signals."""
    # What a server leaves running when it ends by itself gets no time of its own.
    await _wait_until(lambda: process.returncode is not None)
    if not _has_ended(process):
        _send_signal(process, signal.SIGTERM)
        await _wait_until(lambda: _has_ended(process))
    _kill_group(process)
    # Not for the group, which keeps what is dead until somebody reads its status.
    await _wait_until(lambda: process.returncode is not None)
    if process.returncode is None:
        log.warning("the MCP server %r does not end: process %d is left behind", server_log.name, process.pid)


async def _wait_until(is_over: Callable[[], bool], timeout_s: float = _GRACE_S) -> None:
    """Wait until something is over, or the time."""
    # Polled: `Process.wait` waits for the pipes too, which whoever inherited them keeps open.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not is_over():  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(_POLL_S)


def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Return whether a process has ended, and all others of its group."""
    return process.returncode is not None and not (_IS_POSIX and _send_signal(process, 0))


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill what is left, at once: also when the end itself was interrupted."""
    if not _has_ended(process):
        _send_signal(process, _KILL)


def _send_signal(process: asyncio.subprocess.Process, number: int) -> bool:
    """Send a signal to the group; return whether there was somebody to take it."""
    try:
        if _IS_POSIX:
            # The group has the id of its first process, also when that one has ended.
            os.killpg(process.pid, number)
        else:
            process.terminate()
    except ProcessLookupError:
        return False
    except PermissionError:  # on macOS also for a process that has ended and was not waited for
        return process.returncode is None
    return True
