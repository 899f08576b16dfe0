"""Starlette under a stack of middleware: gzip, CORS, sessions, trusted hosts; static files, a download, a stream."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

VERSION = "one"
folder = Path(tempfile.mkdtemp(prefix="starlette-app-"))
(folder / "page.js").write_text("// a script\n" * 2000)
(folder / "large.bin").write_bytes(bytes(range(256)) * 8192)
done: list[str] = []


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-app"] = "timed"
        return response


async def version(request: Request) -> Response:
    return PlainTextResponse(VERSION)


async def slow(request: Request) -> Response:
    await asyncio.sleep(1.5)
    return PlainTextResponse("whole")


async def visits(request: Request) -> Response:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session)


async def text(request: Request) -> Response:
    return PlainTextResponse("a line of text\n" * 1000)


async def stream(request: Request) -> Response:
    async def generate() -> AsyncIterator[str]:
        for number in range(20):
            yield f"{number}\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(generate(), media_type="text/plain")


async def download(request: Request) -> Response:
    return FileResponse(folder / "large.bin", filename="large.bin")


async def background(request: Request) -> Response:
    return PlainTextResponse("soon", background=BackgroundTask(done.append, "done"))


async def what_is_done(request: Request) -> Response:
    return JSONResponse(done)


async def fails(request: Request) -> Response:
    raise RuntimeError("the app's own mistake")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


app = Starlette(
    routes=[
        Route("/version", version),
        Route("/slow", slow),
        Route("/visits", visits),
        Route("/text", text),
        Route("/stream", stream),
        Route("/download", download),
        Route("/background", background),
        Route("/done", what_is_done),
        Route("/fails", fails),
        WebSocketRoute("/echo", echo),
        Mount("/static", StaticFiles(directory=folder)),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        Middleware(CORSMiddleware, allow_origins=["https://example.org"], allow_methods=["*"]),
        Middleware(SessionMiddleware, secret_key="secret"),
        Middleware(GZipMiddleware, minimum_size=500),
        Middleware(Timing),
    ],
)
