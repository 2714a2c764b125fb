"""A server as its author would write it, with the official package: over stdio, or over HTTP at a port."""

import base64
import sys
import time

from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("harbour")
READ_ONLY = ToolAnnotations(read_only_hint=True)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool(annotations=READ_ONLY)
def count(article: str) -> int:
    """How many of an article are in stock."""
    return {"lamp": 3}[article]


@server.tool(annotations=READ_ONLY)
def weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    return {"city": city, "sky": "blue"}


@server.tool(annotations=READ_ONLY)
def picture() -> Image:
    """A picture of the lighthouse."""
    return Image(data=PIXEL, format="png")


@server.tool(annotations=READ_ONLY)
def long_text(size: int) -> str:
    """A text of a size."""
    return "x" * size


@server.tool(annotations=READ_ONLY)
def wait(seconds: float) -> str:
    """Wait."""
    time.sleep(seconds)
    return "waited"


@server.tool()
def burn(house: str) -> str:
    """Burn a house down."""
    return f"{house} is burnt"


@server.tool(name="dotted.name with spaces", annotations=READ_ONLY)
def dotted() -> str:
    """A name that providers refuse."""
    return "dots"


if __name__ == "__main__":
    if sys.argv[2:]:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")
