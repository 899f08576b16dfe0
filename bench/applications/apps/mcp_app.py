"""A server of the Model Context Protocol over streamable HTTP: tools, progress, a resource, a prompt."""

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

VERSION = "one"
mcp = MCPServer("calculator")


@mcp.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@mcp.tool()
async def count(most: int, ctx: Context) -> str:
    """Count, and report the progress."""
    for number in range(most):
        await ctx.report_progress(number + 1, most)
        await asyncio.sleep(0.05)
    return "counted"


@mcp.tool()
async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"


@mcp.resource("greeting://{name}")
def greeting(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


@mcp.prompt()
def review(code: str) -> str:
    """A prompt for a review."""
    return f"Please review: {code}"


@mcp.custom_route("/version", methods=["GET"])
async def version(request: Request) -> Response:
    return PlainTextResponse(VERSION)


@mcp.custom_route("/slow", methods=["GET"])
async def slow(request: Request) -> Response:
    await asyncio.sleep(1.5)
    return PlainTextResponse("whole")


app = mcp.streamable_http_app()
