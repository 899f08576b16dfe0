"""The apps that the peers serve: the same small ones, as WSGI and as ASGI, of the standard library alone.

text    13 bytes
post    reads a body of 4 KB, then 13 bytes
stream  16 pieces of 1 KB, without a Content-Length
sleep   waits 10 ms
rare    one call in 100 waits 50 ms
burn    5 ms of CPU
sse     a stream of events, as ASGI alone
file    the file that the path names, by wsgi.file_wrapper; as ASGI by Starlette

Imported in the environment of each peer, where allcomers is not installed; see apps.py for its own handlers.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

Environ = dict[str, Any]
Start = Callable[..., Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

TEXT = b"Hello, World!"
PIECE, PIECES = b"x" * 1024, 16
POSTED = 4096
SLEEP, RARELY, ONE_IN, BURN = 0.010, 0.050, 100, 0.005
FILES = Path(__file__).parents[1] / "out" / "files"
HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(TEXT)))]
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
PLAIN = [("Content-Type", "text/plain; charset=utf-8")]

calls = itertools.count(1)


def burnt() -> None:
    """Use 5 ms of this thread's own CPU, however many others want the core."""
    end = time.thread_time() + BURN
    while time.thread_time() < end:
        pass


# WSGI ----------------------------------------------------------------------------------------------------


def text(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", HEADERS)
    return [TEXT]


def post(environ: Environ, start_response: Start) -> Iterable[bytes]:
    if len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))) != POSTED:
        raise ValueError("the body is not whole")
    return text(environ, start_response)


def stream(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    return (PIECE for _ in range(PIECES))


def sleep(environ: Environ, start_response: Start) -> Iterable[bytes]:
    time.sleep(SLEEP)
    return text(environ, start_response)


def rare(environ: Environ, start_response: Start) -> Iterable[bytes]:
    if next(calls) % ONE_IN == 0:
        time.sleep(RARELY)
    return text(environ, start_response)


def burn(environ: Environ, start_response: Start) -> Iterable[bytes]:
    burnt()
    return text(environ, start_response)


def file(environ: Environ, start_response: Start) -> Iterable[bytes]:
    opened = (FILES / environ["PATH_INFO"].lstrip("/")).open("rb")
    length = str(os.fstat(opened.fileno()).st_size)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", length)])
    wrap: Callable[[BinaryIO, int], Iterable[bytes]] = environ.get("wsgi.file_wrapper", blocks)
    return wrap(opened, 65536)


def blocks(opened: BinaryIO, size: int) -> Iterator[bytes]:
    """The wrapper for servers that have none of their own."""
    with opened:
        yield from iter(lambda: opened.read(size), b"")


# ASGI ----------------------------------------------------------------------------------------------------

START = {"type": "http.response.start", "status": 200, "headers": RAW_HEADERS}
BODY = {"type": "http.response.body", "body": TEXT}


async def asgi_text(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    await send(START)
    await send(BODY)


async def asgi_post(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if size != POSTED:
        raise ValueError("the body is not whole")
    await asgi_text(scope, receive, send)


async def asgi_stream(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    await send({"type": "http.response.start", "status": 200, "headers": RAW_HEADERS[:1]})
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def asgi_sleep(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(SLEEP)
    await asgi_text(scope, receive, send)


async def asgi_rare(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and next(calls) % ONE_IN == 0:
        await asyncio.sleep(RARELY)
    await asgi_text(scope, receive, send)


async def asgi_burn(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        burnt()
    await asgi_text(scope, receive, send)


async def asgi_file(scope: Scope, receive: Receive, send: Send) -> None:
    await site()(scope, receive, send)


_site: list[Any] = []


def site() -> Any:
    """Starlette's StaticFiles, which only the peer that serves files needs."""
    if not _site:
        from starlette.staticfiles import StaticFiles

        _site.append(StaticFiles(directory=FILES))
    return _site[0]


async def asgi_sse(scope: Scope, receive: Receive, send: Send) -> None:
    """Send an event each time that the path's seconds are over, with the time, until the client leaves."""
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    seconds = float(scope["path"][1:])
    left = asyncio.create_task(leaves(receive))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
    while not left.done():
        await asyncio.sleep(seconds)
        event = b"data: %d\n\n" % time.monotonic_ns()
        await send({"type": "http.response.body", "body": event, "more_body": True})


async def leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


connected: list[Send] = []


async def asgi_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo a text; send the text in a binary message to all that are connected."""
    if scope["type"] != "websocket":
        raise ValueError(f"not for {scope['type']}")
    await receive()
    await send({"type": "websocket.accept"})
    connected.append(send)
    while (message := await receive())["type"] == "websocket.receive":
        text, data = message.get("text"), message.get("bytes")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        elif data is not None:
            told = {"type": "websocket.send", "text": data.decode()}
            for each in connected.copy():
                await each(told)
    connected.remove(send)
