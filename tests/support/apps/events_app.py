"""Streams that do not end by themselves, and calls that ask for their clients: WSGI, a Web class, ASGI.

The query's `note` is a file of notes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import allcomers
from support.apps.served import note

PAUSE = 0.03
"""Seconds between two events."""

EVENTS = [("Content-Type", "text/event-stream")]
TEXT = [("Content-Type", "text/plain")]


def events(path: str, pause: float = PAUSE) -> Iterator[bytes]:
    note(path, "open")
    try:
        while True:
            yield b"data: now\n\n"
            time.sleep(pause)
    except GeneratorExit:
        note(path, "exit")
        raise
    finally:
        note(path, "closed")


def ticks(gate: Path, pause: float) -> Iterator[bytes]:
    while not gate.exists():
        time.sleep(pause)
        yield b"tick\n"


def asked(path: str, disconnected: Callable[[], bool]) -> bytes:
    """Note the first answer, then wait until it is yes."""
    note(path, str(disconnected()))
    while not disconnected():
        time.sleep(0.005)
    note(path, "gone")
    return b"nobody is there\n"


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    path = query.get("note", "")
    match environ["PATH_INFO"]:
        case "/events":
            start_response("200 OK", EVENTS)
            return events(path)
        case "/late":  # a response that begins when the server leaves already
            note(path, "called")
            while not Path(query["gate"]).exists():
                time.sleep(0.005)
            start_response("200 OK", EVENTS)
            return events(path)
        case "/written":
            write = start_response("200 OK", EVENTS)
            note(path, "open")
            try:
                while True:
                    write(b"data: now\n\n")
                    time.sleep(PAUSE)
            finally:
                note(path, "closed")
        case "/ticks":
            start_response("200 OK", EVENTS)
            return ticks(Path(query["gate"]), float(query["pause"]))
        case "/asked":
            body = asked(path, environ["allcomers.disconnected"])
        case "/asked-later":  # in the iterable, behind the first block
            start_response("200 OK", TEXT)
            return (make() for make in (lambda: b"first\n", lambda: asked(path, environ["allcomers.disconnected"])))
        case "/wait":
            note(path, "called")
            while not Path(query["gate"]).exists():
                time.sleep(0.005)
            body = b"waited\n"
        case "/noted":
            note(path, "called")
            body = b"noted\n"
        case "/length":
            start_response("200 OK", [("Content-Length", query["length"])])
            pieces = [query["piece"].encode()] * int(query["count"])
            return pieces if len(pieces) < 2 else iter(pieces)
        case _:
            body = str(os.getpid()).encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


class Web(allcomers.Web):
    """The same as a class of handlers."""

    def get(self, request: allcomers.Request) -> allcomers.Response:
        path = request.args.get("note", "")
        if request.path == "/events":
            return allcomers.Response(events(path), headers=EVENTS)
        if request.path == "/asked":
            return allcomers.Response(asked(path, request.disconnected))
        if request.path == "/length":
            pieces = [request.args["piece"].encode()] * int(request.args["count"])
            body = pieces[0] if len(pieces) == 1 else iter(pieces)
            return allcomers.Response(body, headers=[("Content-Length", request.args["length"])])
        return allcomers.Response(b"small\n")


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    query = dict(parse_qsl(scope["query_string"].decode()))
    path = query.get("note", "")
    if scope["path"] == "/length":
        headers = [(b"content-length", query["length"].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        count = int(query["count"])
        for number in range(1, count + 1):
            body = {"type": "http.response.body", "body": query["piece"].encode(), "more_body": number < count}
            await send(body)
    elif scope["path"] == "/events":
        headers = [(name.encode(), value.encode()) for name, value in EVENTS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        note(path, "open")
        try:
            while True:
                await send({"type": "http.response.body", "body": b"data: now\n\n", "more_body": True})
                await asyncio.sleep(PAUSE)
        finally:
            note(path, "closed")
