"""Streams of an ASGI app, each of another shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import unquote

from support.apps.eager_parts import SEEN, TEXT, body, start, talk


@talk
async def shape(scope: Any, receive: Any, send: Any) -> None:
    """Do what the query lists: the Content-Length or null, then pieces by their size, "wait", "receive" and "raise"; in
    the end, the last piece."""
    length, steps, last = json.loads(unquote(scope["query_string"].decode()))
    await send(start(TEXT if length is None else [*TEXT, (b"content-length", b"%d" % length)]))
    for at, step in enumerate(steps):
        if step == "wait":
            await asyncio.sleep(0)
        elif step == "receive":
            SEEN.append(repr(await receive()))
            break  # a second one waits for the client's end
        elif step == "raise":
            raise RuntimeError("in the middle")
        else:
            await send(body(b"%d" % (at % 10) * step, more_body=True))
    if last is not None:
        await send(body(b"z" * last))


@talk
async def sixteen(scope: Any, receive: Any, send: Any) -> None:
    """Stream 16 pieces of 1 KB, as a benchmark does."""
    await send(start())
    for _ in range(16):
        await send(body(b"p" * 1024, more_body=True))
    await send(body(b""))


@talk
async def forty(scope: Any, receive: Any, send: Any) -> None:
    """Send so many pieces that others have a turn in between."""
    await send(start())
    for at in range(40):
        await send(body(b"%d " % at, more_body=True))
    await send(body(b""))


@talk
async def without_an_end(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"one ", more_body=True))
    await send(body(b"two ", more_body=True))


@talk
async def with_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send(start(trailers=True))
    for piece in (b"one ", b"two ", b"three"):
        await send(body(piece, more_body=True))
    await send(body(b""))
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})


@talk
async def cancelled_within(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    for _ in range(3):
        await send(body(b"one ", more_body=True))
    raise asyncio.CancelledError


@talk
async def bad_piece(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"one ", more_body=True))
    await send(body("two", more_body=True))


FLOOD = [b"%06d" % number * 500 for number in range(3000)]
"""Pieces that no socket takes all of."""


async def flood(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    for piece in FLOOD:
        await asyncio.sleep(0)
        await send(body(piece, more_body=True))
    await send(body(b""))
