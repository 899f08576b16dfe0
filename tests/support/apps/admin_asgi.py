"""An ASGI app whose answers last as long as they are told to: /sleep/MILLISECONDS, else at once."""

from __future__ import annotations

import asyncio
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"].startswith("/sleep/"):
        await asyncio.sleep(int(scope["path"].rpartition("/")[2]) / 1000)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
