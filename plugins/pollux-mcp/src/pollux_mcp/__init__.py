"""Tools of MCP servers for `pollux_sync.run_tools`, sessions and agents, in blocking code."""

from pollux_mcp.errors import MCPServerError
from pollux_mcp.servers import MCPServer
from pollux_mcp.settings import Limits

__all__ = ["Limits", "MCPServer", "MCPServerError"]
