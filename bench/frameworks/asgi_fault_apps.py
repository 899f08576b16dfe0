"""The apps of `python -m bench asgi_faults`, imported in the environment of the servers.

NOTES (environment) is a file in which they note the messages that they receive.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
ACCEPT = {"type": "websocket.accept"}
open_streams = 0


def note(word: str) -> None:
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{word}\n")


async def note_disconnect(receive: Any) -> None:
    """Receive until a disconnect comes, which is noted."""
    while "disconnect" not in (message := await receive())["type"]:
        pass
    note(message["type"])


async def answer(send: Any, data: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
    await send({"type": "http.response.body", "body": data})


# Plain ASGI ----------------------------------------------------------------------------------------------


async def raw(scope: Scope, receive: Any, send: Any) -> None:
    """/accept, /raise, /server, /unanswered, /keep for WebSockets; /large, /stream, /quiet, /open for requests."""
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan here")
    await globals()[f"raw_{scope['path'].strip('/')}"](scope, receive, send)


async def raw_first(scope: Scope, receive: Any, send: Any) -> None:
    await send(ACCEPT)
    await send({"type": "websocket.send", "text": (await receive())["type"]})
    await send({"type": "websocket.close"})


async def raw_accept(scope: Scope, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)


async def raw_raise(scope: Scope, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    raise RuntimeError("on purpose")


async def raw_server(scope: Scope, receive: Any, send: Any) -> None:
    await receive()
    await send({**ACCEPT, "headers": [(b"server", b"mine")]})
    await send({"type": "websocket.close"})


async def raw_unanswered(scope: Scope, receive: Any, send: Any) -> None:
    note("called")
    await note_disconnect(receive)


async def raw_keep(scope: Scope, receive: Any, send: Any) -> None:
    """Receive messages, keep none, send the length of each."""
    await receive()
    await send(ACCEPT)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        size = len(message.get("bytes") or message.get("text"))
        del message
        await send({"type": "websocket.send", "text": str(size)})


async def raw_large(scope: Scope, receive: Any, send: Any) -> None:
    """A body that has come before it is received; then the disconnect."""
    note("called")
    await asyncio.sleep(1)
    while (await receive())["more_body"]:
        pass
    note("received")
    await note_disconnect(receive)


async def raw_quiet(scope: Scope, receive: Any, send: Any) -> None:
    global open_streams
    open_streams += 1
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        note("quiet")
        await asyncio.Event().wait()
    finally:
        open_streams -= 1


async def raw_open(scope: Scope, receive: Any, send: Any) -> None:
    await answer(send, str(open_streams).encode())


async def signals(scope: Scope, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, note, "handler")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("shut down")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await answer(send, b"")


# Frameworks: each is made when it is asked for -----------------------------------------------------------


def __getattr__(name: str) -> Any:
    make = globals().get(f"make_{name}")
    if make is None:
        raise AttributeError(name)
    return make()


def make_fastapi() -> Any:
    from fastapi import Depends, FastAPI, HTTPException, WebSocketException
    from fastapi.responses import JSONResponse
    from starlette.websockets import WebSocket

    app = FastAPI()

    def fails() -> None:
        raise WebSocketException(code=1008)

    async def dependency(socket: WebSocket, _: None = Depends(fails)) -> None: ...

    async def exception(socket: WebSocket) -> None:
        raise HTTPException(401, "no")

    async def close(socket: WebSocket) -> None:
        await socket.close(1008)

    async def deny(socket: WebSocket) -> None:
        await socket.send_denial_response(JSONResponse({"no": 1}, status_code=401))

    for one in (dependency, exception, close, deny):
        one.__annotations__["socket"] = WebSocket
        app.add_api_websocket_route(f"/{one.__name__}", one)
    return app


def make_quart() -> Any:
    import quart

    app = quart.Quart(__name__)

    async def first() -> None:
        await quart.websocket.send("welcome")

    app.add_websocket("/first", view_func=first)
    return app


def make_litestar() -> Any:
    from litestar import Litestar

    return Litestar([])


def make_blacksheep() -> Any:
    from blacksheep import Application

    return Application()


def make_a2wsgi() -> Any:
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(lambda environ, start_response: [])


def make_streams() -> Any:
    """Starlette: a stream that sends nothing, and the number of them that are open."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def quiet(request: Any) -> Any:
        async def events() -> AsyncIterator[str]:
            global open_streams
            open_streams += 1
            try:
                yield ": welcome\n\n"
                await asyncio.Event().wait()
            finally:
                open_streams -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    async def count(request: Any) -> Any:
        return PlainTextResponse(str(open_streams))

    return Starlette(routes=[Route("/quiet", quiet), Route("/open", count)])


def make_files() -> Any:
    """A file behind middlewares: /brotli, /slowapi, /gzip."""
    from brotli_asgi import BrotliMiddleware
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address
    from starlette.applications import Starlette
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import FileResponse
    from starlette.routing import Mount, Route

    async def file(request: Any) -> Any:
        return FileResponse(__file__, media_type="text/javascript")

    limited = Starlette(routes=[Route("/", file)])
    limited.state.limiter = Limiter(key_func=get_remote_address, default_limits=["1000/minute"], headers_enabled=True)
    limited.add_middleware(SlowAPIASGIMiddleware)
    plain = Starlette(routes=[Route("/", file)])
    return Starlette(
        routes=[
            Mount("/brotli", BrotliMiddleware(plain, minimum_size=10)),
            Mount("/slowapi", limited),
            Mount("/gzip", GZipMiddleware(plain, minimum_size=10)),
        ]
    )
