"""Litestar: uploads, data classes, an SSE response, WebSocket listeners, middleware for compression, lifespan hooks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Litestar, get, post, websocket_listener
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import ServerSentEvent, Stream

VERSION = "one"


@dataclass
class Item:
    name: str
    price: float


@get("/version", sync_to_thread=False, media_type="text/plain")
def version() -> str:
    return VERSION


@get("/slow", media_type="text/plain")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return "whole"


@get("/state")
async def state(state: State) -> dict[str, Any]:
    return {"started": state.started}


@post("/items")
async def items(data: Item) -> Item:
    return Item(data.name.upper(), data.price * 2)


@post("/upload")
async def upload(data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, str]:
    return {"sha256": hashlib.sha256(await data.read()).hexdigest()}


@get("/text", media_type="text/plain")
async def text() -> str:
    return "a line of text\n" * 1000


@get("/threaded", sync_to_thread=True, media_type="text/plain")
def threaded() -> str:
    return "threaded"


@get("/stream")
async def stream() -> Stream:
    async def generate() -> AsyncIterator[str]:
        for number in range(20):
            yield f"{number}\n"
            await asyncio.sleep(0.01)

    return Stream(generate())


@get("/events", sync_to_thread=False)
def events() -> ServerSentEvent:
    async def generate() -> AsyncIterator[int]:
        for number in range(3):
            yield number
            await asyncio.sleep(0.05)
        await asyncio.sleep(3600)

    return ServerSentEvent(generate())


@websocket_listener("/echo")
async def echo(data: str) -> str:
    return data


def start(app: Litestar) -> None:
    app.state.started = "yes"


app = Litestar(
    [version, slow, state, items, upload, text, threaded, stream, events, echo],
    on_startup=[start],
    compression_config=CompressionConfig(backend="gzip", minimum_size=500),
)
