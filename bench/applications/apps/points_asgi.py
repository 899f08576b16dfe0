"""ASGI apps in which servers differ: WebSockets that send first, quiet streams, files behind middleware."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

fast = FastAPI()
streams = 0


@fast.get("/version")
async def version() -> str:
    return "one"


def no_token() -> None:
    raise WebSocketException(code=1008, reason="no token")


@fast.websocket("/dependency")
async def dependency(websocket: WebSocket, found: None = Depends(no_token)) -> None:
    await websocket.accept()


@fast.websocket("/exception")
async def exception(websocket: WebSocket) -> None:
    raise HTTPException(401, "no")


@fast.websocket("/close")
async def close(websocket: WebSocket) -> None:
    await websocket.close(code=1008)


@fast.websocket("/deny")
async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(JSONResponse({"no": 1}, status_code=401))


@fast.websocket("/accept-raise")
async def accept_raise(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("the app's own mistake")


@fast.websocket("/accept-return")
async def accept_return(websocket: WebSocket) -> None:
    await websocket.accept()


@fast.websocket("/accept-send-return")
async def accept_send_return(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("bye")


@fast.websocket("/accept-close")
async def accept_close(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4000, "why")


@fast.websocket("/accept-send-close")
async def accept_send_close(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("bye")
    await websocket.close(4000, "why")


@fast.get("/idle")
async def idle() -> Response:
    async def generate() -> AsyncIterator[str]:
        global streams
        streams += 1
        try:
            yield "data: hello\n\n"
            await asyncio.Event().wait()
        finally:
            streams -= 1

    return StreamingResponse(generate(), media_type="text/event-stream")


@fast.get("/quiet")
async def quiet() -> Response:
    async def generate() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    return StreamingResponse(generate(), media_type="text/event-stream")


@fast.get("/streams")
async def how_many() -> int:
    return streams


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Send before the first receive(), as Quart does."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": (await receive())["type"]})
    await send({"type": "websocket.send", "text": (await receive())["type"]})
    await receive()


# ---------------------------------------------------------------- a file behind middleware


def base() -> Starlette:
    async def file(request: Any) -> Response:
        return FileResponse(__file__, media_type="application/javascript")

    async def text(request: Any) -> Response:
        return PlainTextResponse("text")

    return Starlette(routes=[Route("/file", file), Route("/text", text)])


def brotli(app: Any) -> Any:
    from brotli_asgi import BrotliMiddleware

    return BrotliMiddleware(app, minimum_size=10)


def slowapi(app: Any) -> Any:
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address

    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=["1000/minute"], headers_enabled=True)
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


def asgi_gzip(app: Any) -> Any:
    from asgi_gzip import GZipMiddleware

    return GZipMiddleware(app, minimum_size=10)


def compress(app: Any) -> Any:
    from starlette_compress import CompressMiddleware

    return CompressMiddleware(app, minimum_size=10)


def gzip(app: Any) -> Any:
    from starlette.middleware.gzip import GZipMiddleware

    return GZipMiddleware(app, minimum_size=10)


def exporter(app: Any) -> Any:
    from starlette_exporter import PrometheusMiddleware

    return PrometheusMiddleware(app)


def instrumentator(app: Any) -> Any:
    from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

    return PrometheusInstrumentatorMiddleware(app, registry=CollectorRegistry())


def correlation(app: Any) -> Any:
    from asgi_correlation_id import CorrelationIdMiddleware

    return CorrelationIdMiddleware(app)


MIDDLEWARE: tuple[Callable[[Any], Any], ...] = (
    brotli,
    slowapi,
    asgi_gzip,
    compress,
    gzip,
    exporter,
    instrumentator,
    correlation,
)
wrapped: dict[str, Any] = {"none": base()}
for made in MIDDLEWARE:
    try:
        wrapped[made.__name__] = made(base())
    except Exception as error:  # one that does not go with this Starlette is left out everywhere
        print(f"{made.__name__} is left out: {error!r}")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket" and scope["path"] == "/raw":
        await raw(scope, receive, send)
    elif scope["type"] == "http" and scope["path"].startswith("/behind/"):
        _, _, name, rest = scope["path"].split("/", 3)
        if name == "list":
            await PlainTextResponse(" ".join(wrapped))(scope, receive, send)
            return
        await wrapped[name](dict(scope, path="/" + rest, raw_path=f"/{rest}".encode()), receive, send)
    else:
        await fast(scope, receive, send)
