"""WebSockets that hear each other, count, or echo (tests/apps/asgi/test_websocket_sent.py)."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

_everybody: list[Any] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    await {"/": _room, "/count": _count, "/echo": _echo, "/two": _two, "/close": _close, "/kept": _kept}[scope["path"]](
        receive, send
    )


async def _room(receive: Any, send: Any) -> None:
    _everybody.append(send)
    await send({"type": "websocket.send", "text": "welcome"})
    while (message := await receive())["type"] == "websocket.receive":
        for each in _everybody:
            await each({**message, "type": "websocket.send"})
    _everybody.remove(send)


async def _count(receive: Any, send: Any) -> None:
    for at in range(int((await receive())["text"])):
        await send({"type": "websocket.send", "text": f"{at:04}" + "." * 4000})


async def _echo(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def _two(receive: Any, send: Any) -> None:
    async def read(name: str) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{name} {message['text']}"})

    await asyncio.gather(read("a"), read("b"))


async def _close(receive: Any, send: Any) -> None:
    await send({"type": "websocket.close", "reason": (await receive())["text"]})


async def _kept(receive: Any, send: Any) -> None:
    name = (await receive())["text"]
    await send({"type": "websocket.send", "text": str(sum(type(each).__name__ == name for each in gc.get_objects()))})
