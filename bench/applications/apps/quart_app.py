"""Quart: forms and uploads, a session, a streamed body, server-sent events, WebSockets, what is done before serving."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, abort, make_response, request, session, websocket

VERSION = "one"
app = Quart(__name__)
app.secret_key = "secret"
started: list[str] = []


@app.before_serving
async def start() -> None:
    started.append("yes")


@app.get("/version")
async def version() -> str:
    return VERSION


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return "whole"


@app.get("/state")
async def state() -> dict[str, Any]:
    return {"started": started}


@app.post("/upload")
async def upload() -> dict[str, Any]:
    files = await request.files
    return {"sha256": hashlib.sha256(files["file"].read()).hexdigest()}


@app.post("/body")
async def body() -> dict[str, int]:
    size = 0
    async for piece in request.body:
        size += len(piece)
    return {"size": size}


@app.get("/visits")
async def visits() -> dict[str, int]:
    session["visits"] = session.get("visits", 0) + 1
    return {"visits": session["visits"]}


@app.get("/events")
async def events() -> Any:
    async def generate() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {number}\n\n".encode()
            await asyncio.sleep(0.05)
        await asyncio.sleep(3600)

    response = await make_response(generate(), {"Content-Type": "text/event-stream"})
    response.timeout = None
    return response


@app.websocket("/echo")
async def echo() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/hello")
async def hello() -> None:
    await websocket.send("hello")


@app.websocket("/denied")
async def denied() -> None:
    abort(401)
