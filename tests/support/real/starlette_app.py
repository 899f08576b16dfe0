"""A Starlette app with a FastAPI app in it: WebSockets, server-sent events, background tasks, lifespan state."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import fastapi
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

NOTES = Path(os.environ.get("REAL_NOTES", "/nowhere"))
"""Where the app notes what happened, a line each."""

PAGE = """<!doctype html><title>live</title><link rel="icon" href="data:,"><ul id="events"></ul><ul id="messages"></ul>
<script>
const add = (list, text) => {
  const item = document.createElement("li"); item.textContent = text; document.getElementById(list).append(item) };
const source = new EventSource("/events?n=3");
source.onmessage = (event) => { add("events", event.data); if (event.data == "event 2") source.close() };
const socket = new WebSocket(location.href.replace("http", "ws").replace("live", "echo"));
socket.onopen = () => { for (const word of ["one", "two", "three"]) socket.send(word) };
socket.onmessage = (event) => { add("messages", event.data); if (event.data == "three") socket.close(1000) };
socket.onclose = (event) => add("messages", "closed " + event.code);
</script>"""


def note(line: str) -> None:
    with NOTES.open("a") as file:
        file.write(line + "\n")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    note("started")
    yield {"word": "from the lifespan"}
    note("stopped")


async def async_call(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def state(request: Request) -> Response:
    return JSONResponse({"word": request.state.word, "client": request.client.host, "url": str(request.url)})


async def digest(request: Request) -> Response:
    digest, size = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(int(request.query_params["n"])):
            yield f"line {number}\n".encode()

    return StreamingResponse(lines(), media_type="text/plain")


async def events(request: Request) -> Response:
    """Server-sent events: `n` of them, or for as long as the client stays."""
    count = int(request.query_params.get("n", 1 << 30))

    async def pieces() -> AsyncIterator[str]:
        try:
            for number in range(count):
                yield f"data: event {number}\n\n"
                await asyncio.sleep(0.01)
        finally:
            note(f"events over {request.query_params.get('name', '')}")

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def background(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0.05)
        note(f"background {request.query_params['name']}")

    return JSONResponse({"accepted": True}, background=BackgroundTask(later))


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__))


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            await socket.send({**message, "type": "websocket.send"})
    except WebSocketDisconnect as error:
        note(f"socket closed {error.code}")


class Item(BaseModel):
    """What a client posts."""

    name: str
    price: float


api = fastapi.FastAPI()


async def resource() -> AsyncIterator[str]:
    yield "resource"
    note("resource released")


@api.post("/items")
async def make_item(item: Item, found: Annotated[str, fastapi.Depends(resource)]) -> dict[str, Any]:
    return {"item": item, "found": found}


@api.get("/thread")
def in_a_thread(n: int) -> dict[str, int]:
    return {"squared": n * n}


@api.post("/upload")
async def upload(file: fastapi.UploadFile) -> dict[str, Any]:
    data = await file.read()
    return {"name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@api.websocket("/upper")
async def upper(socket: WebSocket) -> None:
    await socket.accept()
    async for word in socket.iter_text():
        await socket.send_text(word.upper())


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/live", async_call),
        Route("/state", state),
        Route("/digest", digest, methods=["POST"]),
        Route("/stream", stream),
        Route("/events", events),
        Route("/background", background),
        Route("/file", file),
        WebSocketRoute("/echo", echo),
        Mount("/api", api),
    ],
)
