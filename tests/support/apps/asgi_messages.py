"""Messages of ASGI, and what the apps of this folder need of a scope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from support.apps.served import PATIENCE

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def arguments(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True))


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers, **more})


async def body(send: Send, piece: Any = b"", more: bool = False) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def answer(send: Send, piece: bytes = b"", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await start(send, status, *headers)
    await body(send, piece)


async def pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The request's body. Raises ConnectionError where it ends too early."""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError(message["type"])
        yield message["body"]
        more = message["more_body"]


async def file(path: str) -> None:
    """Return once there is a file at `path`: how a test tells a call to go on."""
    until = time.monotonic() + PATIENCE
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        await asyncio.sleep(0.005)
