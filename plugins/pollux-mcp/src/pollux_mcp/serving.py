"""An MCP server in blocking code: `MCPServer`."""

from __future__ import annotations

import atexit
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import mcp

from pollux_mcp.approving import ToolRequest, check_approval, is_approved
from pollux_mcp.connecting import Connection
from pollux_mcp.declaring import build_parameters
from pollux_mcp.naming import choose_name
from pollux_mcp.results import convert_result, join_texts
from pollux_sync import Tool
from pollux_sync.plugin import ConfigurationError, PolluxError, check_int, check_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from mcp.types import Tool as RemoteTool

    from pollux_mcp.approving import Approve

log = logging.getLogger("pollux_sync.mcp")
#: What nobody has closed is closed at the end of the process, since servers are child processes.
_open_servers: WeakSet[MCPServer] = WeakSet()


class MCPError(PolluxError):
    """A server that cannot be started or reached, or that has ended."""


class MCPToolError(Exception):
    """A call that failed at the server, was refused, or took too long: the model is told."""


class MCPServer:
    """A server and its tools: ``with MCPServer("npx", ["-y", "..."]) as server: run_tools(tools=server.tools(), ...)``.

    * ``target``: a command, which is started as a child process with ``args``, ``env`` and ``cwd``; or an http(s)
      address, which is called with ``headers``. The process gets PATH, HOME and the like, and ``env``: no keys.
    * ``name``: what the server is called in approvals and errors, by default the command or the host.
    * ``prefix``: stands before the names of its tools, to keep those of two servers apart.
    * ``only``, ``without``: the server's names of the tools to offer.
    * ``approve``: a function of a `ToolRequest` that allows a call by returning True. It may ask a person. Without it
      only tools run that the server calls read-only; ``trust=True`` allows every one.
    * ``start_timeout_s``, ``call_timeout_s``: seconds for the start and for each call.
    * ``max_result_chars``: what is longer is cut off, and says so. ``max_tools``: a server with more is refused.

    Many threads may call its tools. Sampling and elicitation, by which a server asks the client, are not offered.
    """

    def __init__(
        self,
        target: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        prefix: str = "",
        only: Iterable[str] | None = None,
        without: Iterable[str] = (),
        approve: Approve | None = None,
        trust: bool = False,
        start_timeout_s: float = 30.0,
        call_timeout_s: float = 60.0,
        max_result_chars: int = 200_000,
        max_tools: int = 200,
    ) -> None:
        check_approval(approve, trust=trust)
        check_seconds("start_timeout_s", start_timeout_s)
        check_seconds("call_timeout_s", call_timeout_s)
        check_int("max_result_chars", max_result_chars, minimum=1)
        check_int("max_tools", max_tools, minimum=1)
        is_address = target.startswith(("http://", "https://"))
        _check_target(target, args, env, headers, is_address=is_address)
        self.name = name or (target.split("/")[2].rpartition("@")[2] if is_address else Path(target).name)
        self._target: str | mcp.StdioServerParameters = target
        if not is_address:
            self._target = mcp.StdioServerParameters(
                command=target, args=[*args], env=dict(env or {}), cwd=None if cwd is None else Path(cwd)
            )
        self._headers = dict(headers or {})
        self._prefix, self._only, self._without = prefix, None if only is None else set(only), set(without)
        self._approve, self._trust = approve, trust
        self._start_timeout_s, self._call_timeout_s = start_timeout_s, call_timeout_s
        self._max_result_chars, self._max_tools = max_result_chars, max_tools
        self._connection: Connection | None = None
        self._process = os.getpid()

    def __repr__(self) -> str:
        """Return name and state; arguments and headers may hold secrets."""
        return f"MCPServer({self.name}: {'open' if self._connection else 'closed'})"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start the server, or connect to it. Raises MCPError."""
        if self._connection is not None:
            raise ConfigurationError(f"the MCP server {self.name} is open already", hint="open it once")
        connection = Connection(self._target, self._headers)
        try:
            connection.open(self._start_timeout_s)
        except Exception as error:
            raise self._build_error("cannot be opened", error) from error
        self._connection, self._process = connection, os.getpid()
        _open_servers.add(self)

    def close(self) -> None:
        """End the connection, and the server if it is a child process. Does nothing if it is not open."""
        connection, self._connection = self._connection, None
        _open_servers.discard(self)
        # A forked child has copies of the pipes: they are the parent's to close.
        if connection is not None and self._process == os.getpid():
            connection.close()

    def tools(self) -> list[Tool]:
        """Return the server's tools for ``run_tools(tools=...)``. Raises MCPError.

        A tool whose schema no provider could take is left out, with a warning in the log.
        """
        try:
            remote = self._require_connection().list_tools(self._call_timeout_s)
        except Exception as error:
            raise self._build_error("cannot list its tools", error) from error
        chosen = [tool for tool in remote if self._is_chosen(tool.name)]
        self._check_choice({tool.name for tool in remote}, len(chosen))
        taken: set[str] = set()
        return [built for tool in chosen if (built := self._build_tool(tool, taken)) is not None]

    def _is_chosen(self, name: str) -> bool:
        return name not in self._without and (self._only is None or name in self._only)

    def _check_choice(self, names: set[str], count: int) -> None:
        unknown = sorted((self._only or set()) - names)
        if unknown:
            raise ConfigurationError(
                f"the MCP server {self.name} has no tool {unknown[0]!r}",
                hint=f"its tools: {', '.join(sorted(names)[:20]) or 'none'}",
            )
        if count > self._max_tools:
            raise MCPError(
                f"the MCP server {self.name} has {count:,} tools, and max_tools is {self._max_tools:,}",
                hint="choose some by only=[...], or raise max_tools",
            )

    def _build_tool(self, tool: RemoteTool, taken: set[str]) -> Tool | None:
        parameters = build_parameters(tool.input_schema)
        if parameters is None:
            log.warning("the tool %r of the MCP server %s is left out: its schema cannot be used", tool.name, self.name)
            return None
        return Tool(
            name=choose_name(tool.name, self._prefix, taken),
            function=partial(self._call, tool),
            description=tool.description,
            parameters=parameters,
        )

    def _call(self, tool: RemoteTool, /, **arguments: Any) -> Any:
        """Call a tool for the model. Raises MCPToolError, which tells the model why."""
        connection = self._require_connection()
        if not is_approved(self._build_request(tool, arguments), self._approve, trust=self._trust):
            raise MCPToolError("this call was not approved; do not try it again")
        try:
            result = connection.call(tool.name, arguments, self._call_timeout_s)
        except TimeoutError:
            raise MCPToolError(f"no answer within {self._call_timeout_s:g} s") from None
        except Exception as error:
            raise MCPToolError(f"the server did not answer: {_describe(error)}") from error
        if result.is_error:
            raise MCPToolError(join_texts(result, self._max_result_chars) or "the tool failed")
        parts = convert_result(result, self._max_result_chars)
        return parts[0] if len(parts) == 1 else parts or ""

    def _build_request(self, tool: RemoteTool, arguments: dict[str, Any]) -> ToolRequest:
        hints = tool.annotations
        is_read_only = bool(hints and hints.read_only_hint)
        return ToolRequest(
            server=self.name,
            tool=tool.name,
            arguments=arguments,
            is_read_only=is_read_only,
            is_destructive=not is_read_only and (hints is None or hints.destructive_hint is not False),
        )

    def _require_connection(self) -> Connection:
        if self._connection is None:
            raise ConfigurationError(
                f"the MCP server {self.name} is not open", hint="use it inside of `with MCPServer(...) as server:`"
            )
        if self._process != os.getpid():
            raise ConfigurationError("the MCP server belongs to another process", hint="open one in each process")
        return self._connection

    def _build_error(self, what: str, error: Exception) -> Exception:
        if isinstance(error, PolluxError):
            return error
        if isinstance(error, TimeoutError):
            return MCPError(
                f"the MCP server {self.name} {what} in time", hint="check what it waits for, or raise the time"
            )
        hint = "check that the command is installed" if isinstance(error, FileNotFoundError) else "try it by hand"
        return MCPError(f"the MCP server {self.name} {what}: {_describe(error)}", hint=hint)


def _check_target(
    target: object,
    args: Sequence[str],
    env: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    *,
    is_address: bool,
) -> None:
    if is_address and (args or env):
        raise ConfigurationError("an address takes no args and no env", hint="pass headers={...}")
    if not is_address and headers:
        raise ConfigurationError("a command takes no headers", hint="pass env={...}")
    if not target or isinstance(args, str):
        raise ConfigurationError(
            "a server is a command with a list of arguments, or an address",
            hint='MCPServer("npx", ["-y", "package"]), or MCPServer("http://127.0.0.1:8000/mcp")',
        )


def _describe(error: Exception) -> str:
    """Return the class and the message of an error without addresses, which may hold secrets."""
    text = str(error) if isinstance(error, mcp.MCPError | OSError) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _close_servers() -> None:
    for server in list(_open_servers):
        server.close()


atexit.register(_close_servers)
