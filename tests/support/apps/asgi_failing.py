"""Apps of ASGI that fail, send what has no place, or send too much: paths of asgi_apps.py."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from support.apps.asgi_messages import Receive, Scope, Send, answer, arguments, body, start
from support.apps.served import Deliberate


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises, returns or is cancelled, as `how` says it."""
    given = arguments(scope)
    if given["when"] == "middle":
        await start(send)
        await body(send, b"begun", more=True)
    elif given["when"] == "started":
        await start(send)
    elif given["when"] == "waited":
        await asyncio.sleep(0.001)
    match given["how"]:
        case "raise":
            raise Deliberate(given["when"])
        case "task":
            await asyncio.create_task(leave(given["when"]))
        case "exit":
            try:
                raise Deliberate(given["when"])
            except Deliberate:
                sys.exit(7)
        case "cancel":
            try:
                raise Deliberate(given["when"])
            except Deliberate as error:
                raise asyncio.CancelledError from error
    # else it returns


async def leave(when: str) -> None:
    sys.exit(f"Deliberate: {when}")


async def misspeaks(scope: Scope, receive: Receive, send: Send) -> None:
    """A message that is none, after `good` messages that are."""
    given = arguments(scope)
    bad: dict[str, Any] = {
        "status-text": {"type": "http.response.start", "status": "200"},
        "status-100": {"type": "http.response.start", "status": 100},
        "status-none": {"type": "http.response.start"},
        "name": {"type": "http.response.start", "status": 200, "headers": [(b"x\r\nevil", b"1")]},
        "value": {"type": "http.response.start", "status": 200, "headers": [(b"x", b"1\r\nevil: 1")]},
        "text": {"type": "http.response.start", "status": 200, "headers": [("x", "1")]},
        "length": {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"+5")]},
        "body-first": {"type": "http.response.body", "body": b"x"},
        "unknown": {"type": "http.response.other"},
        "typeless": {"status": 200},
        "body-text": {"type": "http.response.body", "body": "text"},
        "body-number": {"type": "http.response.body", "body": 5},
        "body-none": {"type": "http.response.body", "body": None},
        "second-start": {"type": "http.response.start", "status": 200},
        "trailers": {"type": "http.response.trailers", "headers": []},
        "hint": {"type": "http.response.early_hint", "links": [b"a\r\nevil: 1"]},
        "pathsend": {"type": "http.response.pathsend", "path": "/nowhere/at/all"},
    }[given["what"]]
    if "started" in given:
        await start(send)
    await send(bad)
    await body(send, b"good", more="stream" in given)
    await body(send, b"better")


async def persistent(scope: Scope, receive: Receive, send: Send) -> None:
    """Goes on after the end: 40 messages that nobody hears."""
    await answer(send, b"once")
    for _ in range(20):
        await body(send, b"again", more=True)
        await start(send, 500)


async def chorus(scope: Scope, receive: Receive, send: Send) -> None:
    """Two tasks that send at once."""
    await start(send)

    async def sing(letter: bytes) -> None:
        for _ in range(50):
            await body(send, letter * 5000, more=True)

    async with asyncio.TaskGroup() as group:
        group.create_task(sing(b"a"))
        group.create_task(sing(b"b"))
    await body(send)
