"""A server whose tools a model may call."""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Self

from pollux_mcp.approving import Approver
from pollux_mcp.checking import find_schema_problem
from pollux_mcp.diagnosing import ServerLog, log
from pollux_mcp.naming import build_names
from pollux_mcp.settings import Limits, ServerSettings, build_command, check_names, check_settings, choose_name
from pollux_sync.plugin import ConfigurationError, Tool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    import mcp_types

    from pollux_mcp.connecting import Connection
    from pollux_mcp.settings import Approval

#: The longest description of a tool; the model pays for it with every request.
_MAX_DESCRIPTION_CHARS = 10_000


class MCPServer:
    """An MCP server, open inside a ``with`` block: `tools` returns what `run_tools`, sessions and agents take.

    Pass the ``command`` and ``args`` of a server to be started, or the ``url`` of one that runs. ``env`` is added to
    the few variables that a server inherits, such as PATH; ``headers`` go with each request. ``name`` is shown in
    errors and to ``approve``, by default the program or the host.

    ``prefix`` precedes the names of all tools, ``only`` and ``without`` choose some. By default those tools alone run
    that the server declares as read-only; ``approve(server, tool, arguments)`` is asked before each call, and ``"all"``
    lets all of them run. Nothing is started before the block. Raises ConfigurationError for settings that cannot work.
    """

    def __init__(
        self,
        command: str | None = None,
        args: Sequence[str] = (),
        *,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | PathLike[str] | None = None,
        name: str | None = None,
        prefix: str = "",
        only: Collection[str] | None = None,
        without: Collection[str] = (),
        approve: Approval = None,
        start_timeout_s: float = 30.0,
        call_timeout_s: float = 60.0,
        limits: Limits | None = None,
    ) -> None:
        self._settings = check_settings(
            ServerSettings(
                command=build_command(command, args),
                url=url,
                headers=dict(headers or {}),
                env=dict(env or {}),
                cwd=None if cwd is None else os.fspath(cwd),
                name=name or choose_name(command, url),
                prefix=prefix,
                only=None if only is None else check_names("only", only),
                without=check_names("without", without),
                approve=approve,
                start_timeout_s=start_timeout_s,
                call_timeout_s=call_timeout_s,
                limits=limits or Limits(),
            )
        )
        self._connection: Connection | None = None
        self._end: weakref.finalize[[Connection, int], MCPServer] | None = None
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The name of the server in errors."""
        return self._settings.name

    def __repr__(self) -> str:
        # Arguments and addresses may hold keys.
        return f"MCPServer(name={self.name!r}, is_open={self._connection is not None})"

    def __enter__(self) -> Self:
        """Start the server, or connect to it. Raises MCPServerError if it does not answer."""
        from pollux_mcp.connecting import Connection  # the package mcp takes a second to import

        if self._connection is not None:
            raise ConfigurationError(f"the MCP server {self.name!r} is open", hint="use it in one with block at a time")
        server_log = ServerLog(self.name, self._settings.list_secrets())
        connection = Connection(self._settings, server_log)
        # Also runs at the end of the process, for a server that nobody closed.
        self._end = weakref.finalize(self, _close_connection, connection, os.getpid())
        self._process = os.getpid()
        try:
            connection.wait_until_open()
        except BaseException:
            self._end()
            raise
        self._connection = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection = None
        if self._end is not None:
            self._end()

    def tools(self) -> list[Tool]:
        """Return the tools that the server offers now. One that has a schema which cannot be used is left out.

        Raises ConfigurationError outside the block, and for names that the server does not offer or too many;
        MCPServerError if the server cannot be used.
        """
        from mcp import MCPError
        from pydantic import ValidationError

        from pollux_mcp.listing import list_tools

        connection = self._require_connection()
        timeout_s = self._settings.start_timeout_s
        try:
            listed = connection.call(partial(list_tools, settings=self._settings), timeout_s)
        except TimeoutError:
            raise connection.build_error(f"did not list its tools within {timeout_s:g} s") from None
        except MCPError as error:
            raise connection.build_error(f"did not list its tools: {error.message}") from None
        except ValidationError:
            raise connection.build_error("sent a list of tools that does not fit the protocol") from None
        usable = [tool for tool in listed if self._is_usable(tool)]
        originals = build_names([tool.name for tool in usable], self._settings.prefix)
        approver = Approver(self._settings.approve, self.name)
        return [self._build_tool(name, tool, approver) for name, tool in zip(originals, usable, strict=True)]

    def _is_usable(self, tool: mcp_types.Tool) -> bool:
        problem = find_schema_problem(tool.name, tool.input_schema, self._settings.limits.max_schema_bytes)
        if problem is None:
            return True
        if self._settings.only is not None:
            raise ConfigurationError(
                f"the tool {tool.name!r} of the MCP server {self.name!r} cannot be used: {problem}",
                hint="leave it out of only=",
            )
        log.warning("the tool %r of the MCP server %r is left out: %s", tool.name, self.name, problem)
        return False

    def _build_tool(self, name: str, tool: mcp_types.Tool, approver: Approver) -> Tool:
        from pollux_mcp.calling import ToolCaller

        caller = ToolCaller(
            connect=self._require_connection,
            settings=self._settings,
            approver=approver,
            tool=tool.name,
            is_read_only=tool.annotations is not None and tool.annotations.read_only_hint is True,
        )
        description = (tool.description or tool.title or "")[:_MAX_DESCRIPTION_CHARS]
        return Tool(name=name, function=caller, description=description or None, parameters=dict(tool.input_schema))

    def _require_connection(self) -> Connection:
        """Return the open connection. Raises ConfigurationError if it is not open in this process."""
        if self._process != os.getpid():
            raise ConfigurationError(
                f"the MCP server {self.name!r} belongs to another process", hint="open one in each process"
            )
        if self._connection is None:
            raise ConfigurationError(
                f"the MCP server {self.name!r} is not open", hint="use it, and its tools, inside its with block"
            )
        return self._connection


def _close_connection(connection: Connection, process: int) -> None:
    # A forked child has a copy, and its end must not be that of its parent's server.
    if process == os.getpid():
        connection.close()
