"""A small MCP server over stdio, written with the official package."""

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

STOCK = {"lamp": 3}
server = MCPServer("stock")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def count(article: str) -> int:
    """Return the number of articles in stock."""
    return STOCK[article]


@server.tool()
def sell(article: str) -> str:
    """Sell one article."""
    STOCK[article] -= 1
    return f"sold one {article}"


server.run()
