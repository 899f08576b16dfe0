"""An ASGI app whose streams tell when each piece was sent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

HOLD = 0.05


async def app(scope: Any, receive: Any, send: Any) -> None:
    async def piece(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def events() -> None:
        """Send the time, then keep the event loop from its turn."""
        for _ in range(20):
            await asyncio.sleep(0.001)
            await piece(b"%.6f\n" % time.monotonic())
            time.sleep(HOLD)

    async def burst() -> None:
        """Wait, then send five pieces without a wait."""
        await asyncio.sleep(0.01)
        for at in range(5):
            await piece(b"%d" % at * 10)

    await send({"type": "http.response.start", "status": 200, "headers": []})
    await {"/events": events, "/burst": burst}[scope["path"]]()
    await send({"type": "http.response.body", "body": b"end"})
