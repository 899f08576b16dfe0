"""FastAPI: uploads, a lifespan with state, WebSockets that echo and broadcast, background tasks, server-sent events."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, UploadFile, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.websockets import WebSocketDisconnect

VERSION = "one"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"started": "yes", "done": []}


app = FastAPI(lifespan=lifespan)
room: set[WebSocket] = set()


@app.get("/version")
async def version() -> str:
    return VERSION


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return "whole"


@app.get("/state")
async def state(request: Request) -> dict[str, Any]:
    return {"started": request.state.started, "done": request.state.done}


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, Any]:
    digest = hashlib.sha256()
    while piece := await file.read(65536):
        digest.update(piece)
    return {"name": file.filename, "sha256": digest.hexdigest()}


@app.post("/task")
async def task(request: Request, background: BackgroundTasks) -> dict[str, str]:
    background.add_task(request.state.done.append, "task")
    return {"accepted": "yes"}


def token(request: Request) -> str:
    if "authorization" not in request.headers:
        raise HTTPException(401, "no token")
    return request.headers["authorization"]


@app.get("/private")
async def private(found: Annotated[str, Depends(token)]) -> str:
    return found


@app.get("/events")
async def events() -> StreamingResponse:
    async def generate() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.05)
        await asyncio.sleep(3600)  # then the topic is quiet

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.get("/quiet")
async def quiet() -> StreamingResponse:
    async def generate() -> AsyncIterator[str]:
        await asyncio.sleep(3600)
        yield ""

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


@app.websocket("/room")
async def join(websocket: WebSocket) -> None:
    await websocket.accept()
    room.add(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for member in list(room):
                await member.send_text(text)
    except WebSocketDisconnect:
        room.discard(websocket)


@app.websocket("/denied")
async def denied(websocket: WebSocket) -> None:
    await websocket.send_denial_response(JSONResponse({"why": "no token"}, status_code=401))


@app.websocket("/hello")
async def hello(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
