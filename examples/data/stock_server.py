"""A small MCP server: what a museum has in stock."""

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

STOCK = {"lamp": 3, "chair": 12}
server = MCPServer("stock")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def count(article: str) -> int:
    """How many of an article are in stock."""
    return STOCK[article]


if __name__ == "__main__":
    server.run("stdio")
