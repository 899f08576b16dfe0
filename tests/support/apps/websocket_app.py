"""Repeat what a WebSocket receives, and note in a file how each ends (tests/apps/asgi/test_websocket_served.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] == "websocket.receive":
        text, data = message.get("text"), message.get("bytes")
        answer = {"bytes": data} if text is None else {"text": text}
        with suppress(OSError):  # the client has gone meanwhile: receive() says how
            await send({"type": "websocket.send", **answer})
    note = unquote(scope["query_string"].decode("ascii"))
    if note:
        Path(note).write_text(str(message["code"]))
