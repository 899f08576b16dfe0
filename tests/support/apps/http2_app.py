"""What tests/apps/asgi/test_asgi_http2.py has served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_here: list[asyncio.Future[None]] = []
_go = asyncio.Event()


async def start(send: Send, body: bytes, more: bool = False, **keywords: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [], **keywords})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def meet(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Respond once ten have come."""
    _here.append(future := asyncio.get_running_loop().create_future())
    if len(_here) == 10:
        for one in _here:
            one.set_result(None)
    await future
    await start(send, b"%d" % len(_here))


async def wait(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await start(send, b"begun", True)
    await receive()
    assert (await receive())["type"] == "http.disconnect"
    Path(unquote(scope["query_string"].decode("ascii"))).touch()


async def late(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Receive nothing of the body until somebody says so."""
    await start(send, b"begun ", True)
    await _go.wait()
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.body", "body": b"%d" % size})


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    match scope["path"]:
        case "/scope":
            await start(send, f"{scope['type']} {scope['http_version']} {scope['scheme']}".encode())
        case "/hint":
            await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
            await start(send, b"")
        case "/trailers":
            await start(send, b"body", trailers=True)
            await send({"type": "http.response.trailers", "headers": [(b"x-last", b"yes")]})
        case "/meet":
            await meet(scope, receive, send)
        case "/wait":
            await wait(scope, receive, send)
        case "/late":
            await late(scope, receive, send)
        case "/go":
            _go.set()
            await start(send, b"")
