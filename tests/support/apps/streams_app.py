"""A Starlette app whose streams have little to send; tests/apps/asgi/test_disconnect.py leaves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from support.apps.served import note


async def quiet(request: Request) -> Response:
    """A stream of events, none of which ever comes."""
    path = request.query_params["file"]

    async def events() -> AsyncIterator[str]:
        note(path, "open")
        try:
            yield ": welcome\n\n"
            await asyncio.Event().wait()
        finally:
            note(path, "closed")

    return StreamingResponse(events(), media_type="text/event-stream")


async def slow(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"piece"
            await asyncio.sleep(0.05)

    return StreamingResponse(pieces())


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__))


async def through(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    return await follow(request)


middleware = [Middleware(BaseHTTPMiddleware, dispatch=through)]
app = Starlette(
    routes=[
        Route("/quiet", quiet),
        Route("/slow", slow),
        Route("/file", file),
        Mount("/middleware", routes=[Route("/quiet", quiet)], middleware=middleware),
    ]
)
