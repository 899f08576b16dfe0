"""Apps whose calls have a known length, so that calls and not the machine decide how many are answered."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

WAITS = 0.01
COMPUTES = 0.002

_FIELDS = [("Content-Type", "text/plain"), ("Content-Length", "3")]


def compute(seconds: float) -> None:
    """Keep the interpreter for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def waits(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """A WSGI app that waits, as for a database."""
    time.sleep(WAITS)
    start_response("200 OK", _FIELDS)
    return [b"ok\n"]


def computes(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """A WSGI app that computes."""
    compute(COMPUTES)
    start_response("200 OK", _FIELDS)
    return [b"ok\n"]


async def tasks(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """An ASGI app that computes as long, in two steps: other tasks have the loop between them."""
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    compute(COMPUTES / 2)
    await asyncio.sleep(0)
    compute(COMPUTES / 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})
