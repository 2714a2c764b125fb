"""One call of a tool: approve, ask the server, convert the result or the fault for the model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from mcp import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
)
from pydantic import TypeAdapter, ValidationError

from pollux_mcp.converting import convert_call_result
from pollux_sync.plugin import ToolFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from pollux_mcp.approving import Approver
    from pollux_mcp.connecting import Connection
    from pollux_mcp.settings import ServerSettings

_Result: TypeAlias = CallToolResult | InputRequiredResult
_RESULTS: TypeAdapter[_Result] = TypeAdapter(_Result)
#: What the package says when a server over HTTP does not know the session any more.
_SESSION_LOST = "Session terminated"


@attrs.frozen(kw_only=True)
class ToolCaller:
    """The function behind one tool of a server."""

    connect: Callable[[], Connection]
    settings: ServerSettings
    approver: Approver
    tool: str
    is_read_only: bool

    # Without a name that an argument could have: a server chooses these.
    def __call__(self, /, **arguments: Any) -> Any:
        """Call the tool. A ToolFailure tells the model that the call was refused or failed.

        Raises MCPServerError if the server cannot be used any more.
        """
        connection = self.connect()
        objection = self.approver.find_objection(self.tool, arguments, is_read_only=self.is_read_only)
        if objection is not None:
            return ToolFailure(objection)
        timeout_s = self.settings.call_timeout_s
        try:
            result = connection.call(partial(_request_call, name=self.tool, arguments=arguments), timeout_s)
        except TimeoutError:
            return ToolFailure(f"the call had no result within {timeout_s:g} s and was cancelled")
        except ValidationError:
            return ToolFailure("the server answered with something that is no result of a tool")
        except MCPError as error:
            return self._convert_fault(error, connection)
        if isinstance(result, InputRequiredResult):
            return ToolFailure("the tool asks the user for input, which is not possible here")
        return convert_call_result(result, self.settings.limits)

    def _convert_fault(self, error: MCPError, connection: Connection) -> ToolFailure:
        """Return a fault that the server reports. Raises MCPServerError if it is the last one."""
        if error.code == CONNECTION_CLOSED or error.message == _SESSION_LOST:
            raise connection.build_error("has ended") from None
        message = error.message[: self.settings.limits.max_result_chars]
        return ToolFailure(f"the call failed: {message} (code {error.code})")


async def _request_call(
    client: Client, *, name: str, arguments: dict[str, Any]
) -> CallToolResult | InputRequiredResult:
    # Not by `call_tool`, which checks structured results against the server's own schema in the loop of all servers:
    # a schema can be built so that this takes for ever.
    params = CallToolRequestParams(name=name, arguments=arguments)
    return await client.session.send_request(CallToolRequest(params=params), _RESULTS)
