"""Tools of MCP servers (https://modelcontextprotocol.io) for `run_tools`, sessions and agents, in blocking code."""

from __future__ import annotations

from pollux_mcp.approving import ToolRequest
from pollux_mcp.serving import MCPError, MCPServer, MCPToolError

__all__ = ["MCPError", "MCPServer", "MCPToolError", "ToolRequest"]
