"""An ASGI app that does what its request says, step by step, and notes in a file what came of each step.

The query has `do`, a Python list of steps, and `file`, where notes go, one a line:

    "receive"      receive(): its message is noted
    {...}          send() this message: "sent" is noted, or the class of what it raised
    (9, {...})     send() it so many times
    "go"           wait until there is a file of the notes' name and ".go"
    "turn"         wait for one turn of the event loop
    "pause"        wait for 50 ms
    "for ever"     wait for what never comes; "cancelled" is noted
    "raise"        raise Deliberate
    "told"         receive() until a disconnect comes, which is noted

A lifespan's steps are in the environment, LIFESPAN_STEPS and LIFESPAN_FILE.
"""

from __future__ import annotations

import ast
import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from support.apps.served import Deliberate, note

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        if "LIFESPAN_STEPS" not in os.environ:
            raise NotImplementedError("no lifespan here")
        await run(os.environ["LIFESPAN_STEPS"], os.environ["LIFESPAN_FILE"], receive, send)
    else:
        query = parse_qs(scope["query_string"].decode("ascii"))
        await run(query["do"][0], query["file"][0], receive, send)


async def run(steps: str, path: str, receive: Receive, send: Send) -> None:
    for step in ast.literal_eval(steps):
        match step:
            case "receive":
                note(path, repr(await receive()))
            case "told":
                while "disconnect" not in (message := await receive())["type"]:
                    pass
                note(path, repr(message))
            case "go":
                while not Path(f"{path}.go").exists():
                    await asyncio.sleep(0.005)
            case "turn":
                await asyncio.sleep(0)
            case "pause":
                await asyncio.sleep(0.05)
            case "for ever":
                await for_ever(path)
            case "raise":
                raise Deliberate("as it was told")
            case (count, message):
                for _ in range(count):
                    note(path, await attempt(send, message))
            case _:
                note(path, await attempt(send, step))


async def for_ever(path: str) -> None:
    note(path, "waits")
    try:
        await asyncio.Event().wait()
    finally:
        note(path, "cancelled")


async def attempt(send: Send, message: Message) -> str:
    try:
        await send(message)
    except Exception as error:
        return "OSError" if isinstance(error, OSError) else type(error).__name__
    return "sent"
