"""Apps whose calls have a known length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

LASTS = 0.05
"""Seconds of a call that waits."""

COMPUTES = 0.005
"""Seconds of a call that computes."""


def compute(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def waits(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    time.sleep(LASTS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


def computes(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    compute(COMPUTES)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


async def tasks(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    compute(COMPUTES / 2)
    await asyncio.sleep(0)
    compute(COMPUTES / 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})
