"""Apps of ASGI with a lifespan, and two that do not know of it (tests/apps/asgi/test_lifespan.py, test_asgi.py)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from support.apps.asgi_apps import app
from support.apps.asgi_messages import Receive, Scope, Send, answer
from support.apps.served import Deliberate, note

LIFE = os.environ.get("ASGI_LIFE", "/dev/null")
"""Where the apps below note what they did."""


async def living(scope: Scope, receive: Receive, send: Send) -> None:
    """With a lifespan, and a state; how it goes wrong, if it is to, ASGI_WRONG says."""
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    wrong = os.environ.get("ASGI_WRONG", "")
    message = await receive()
    note(LIFE, message["type"])
    if wrong == "raises":
        raise Deliberate("at the start")
    if wrong == "exits":
        sys.exit("at the start")
    if wrong in ("says", "says-and-raises"):
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
        if wrong == "says":
            return
        raise Deliberate("at the start")
    if wrong == "returns":
        return
    scope["state"].update(word="kept", shared={"requests": 0})
    await send({"type": "lifespan.startup.complete"})
    if wrong == "dies":
        raise Deliberate("while it serves")
    message = await receive()
    note(LIFE, message["type"])
    if wrong == "hangs":
        await asyncio.sleep(1000)
    if wrong == "exits-at-the-end":
        sys.exit("at the end")
    if wrong == "raises-at-the-end":
        raise Deliberate("at the end")
    if wrong == "says-at-the-end":
        await send({"type": "lifespan.shutdown.failed", "message": "could not flush"})
        return
    await asyncio.sleep(0.01)
    note(LIFE, "shut down")
    await send({"type": "lifespan.shutdown.complete"})


async def unaware(scope: Scope, receive: Receive, send: Send) -> None:
    """Looks at no type, and takes each talk for a request's."""
    await receive()
    await answer(send, b"unaware")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns where it has nothing to say."""
    if scope["type"] == "http":
        await answer(send, b"silent")


def starlette() -> Any:
    """A factory: a Starlette app whose lifespan fails if ASGI_WRONG says so, and whose streams never end."""
    from starlette.applications import Starlette
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        if os.environ.get("ASGI_WRONG"):
            raise Deliberate("in the lifespan")
        note(LIFE, "started")
        yield {"word": "kept"}
        note(LIFE, "stopped")

    async def forever(request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 10_000
                    await asyncio.sleep(0)
            finally:
                note(request.query_params["file"], "closed")

        return StreamingResponse(lines())

    async def through(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await follow(request)
        response.headers["x-word"] = request.state.word
        return response

    routes = [Route("/forever", forever), Route("/middle/forever", forever)]
    made = Starlette(routes=routes, lifespan=lifespan)
    made.add_middleware(BaseHTTPMiddleware, dispatch=through)
    return made
