"""A server of the official package: over stdio, or over HTTP on a free port, which it prints."""

import socket
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from starlette.responses import PlainTextResponse

server = MCPServer("official")
cancelled, requests = [], []


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    if city == "Nowhere":
        raise ToolError("no such city")
    return {"city": city, "sky": "blue"}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def list_cities() -> list[str]:
    return ["Rome", "Oslo"]


@server.tool()
def store(text: str) -> str:
    return f"stored {text}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def show_header(ctx: Context) -> str:
    return ctx.headers.get("x-key", "none")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def repeat(n: int) -> str:
    return "x" * n


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def wait() -> str:
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        cancelled.append("wait")
        raise
    return "waited"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def list_cancelled() -> list[str]:
    return cancelled


def refuse_discovery(app):
    """A server as they were before the protocol of 2026, with sessions."""

    async def answer(scope, receive, send):
        if (b"mcp-method", b"server/discover") in scope.get("headers", ()):
            await PlainTextResponse("unknown method", status_code=400)(scope, receive, send)
        else:
            requests.append(scope.get("method", "start"))
            await app(scope, receive, send)

    return answer


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def list_requests() -> list[str]:
    return requests


def serve_http():
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    app = server.streamable_http_app()
    app = refuse_discovery(app) if "legacy" in sys.argv else app
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


serve_http() if "http" in sys.argv else server.run()
