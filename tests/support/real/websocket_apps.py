"""WebSockets of real frameworks; most answer before they receive (tests/apps/asgi/test_asgi_frameworks.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import quart
from a2wsgi import WSGIMiddleware
from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.responses import JSONResponse, StreamingResponse
from litestar import Litestar
from litestar import WebSocket as LitestarSocket
from litestar import websocket as litestar_websocket
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from starlette.applications import Starlette

# ---------------------------------------------------------------- FastAPI

fastapi = FastAPI()


def fails() -> None:
    raise WebSocketException(code=1008, reason="no token")


@fastapi.websocket("/dependency")
async def dependency(socket: WebSocket, _: None = Depends(fails)) -> None:
    await socket.accept()


@fastapi.websocket("/exception")
async def exception(socket: WebSocket) -> None:
    raise HTTPException(401, "no")


@fastapi.websocket("/close")
async def close(socket: WebSocket) -> None:
    await socket.close(code=1008)


@fastapi.websocket("/deny")
async def deny(socket: WebSocket) -> None:
    await socket.send_denial_response(JSONResponse({"no": 1}, status_code=401))


@fastapi.websocket("/deny-in-pieces")
async def deny_in_pieces(socket: WebSocket) -> None:
    await socket.send_denial_response(StreamingResponse(iter([b"no, ", b"no"]), status_code=402))


@fastapi.websocket("/accept-and-raise")
async def accept_and_raise(socket: WebSocket) -> None:
    await socket.accept()
    raise RuntimeError("on purpose")


@fastapi.websocket("/accept-and-return")
async def accept_and_return(socket: WebSocket) -> None:
    await socket.accept()


@fastapi.websocket("/send-and-return")
async def send_and_return(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("bye")


@fastapi.websocket("/send-and-close")
async def send_and_close(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("bye")
    await socket.close(4000, "why")


@fastapi.websocket("/accept-and-close")
async def accept_and_close(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(4000, "why")


# ---------------------------------------------------------------- the others

starlette = Starlette()

quart_app = quart.Quart(__name__)


@quart_app.websocket("/echo")
async def quart_echo() -> None:
    await quart.websocket.send("welcome")
    await quart.websocket.send(await quart.websocket.receive())


@quart_app.websocket("/return")
async def quart_return() -> None:
    await quart.websocket.accept()


@quart_app.websocket("/abort")
async def quart_abort() -> None:
    quart.abort(401)


@quart_app.websocket("/refuse")
async def quart_refuse() -> tuple[str, int]:
    return "no", 402


async def guard(connection: Any, handler: BaseRouteHandler) -> None:
    raise NotAuthorizedException("no")


@litestar_websocket("/guarded", guards=[guard])
async def litestar_guarded(socket: LitestarSocket[Any, Any, Any]) -> None:
    await socket.accept()


@litestar_websocket("/echo")
async def litestar_echo(socket: LitestarSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("welcome")
    await socket.send_text(await socket.receive_text())
    await socket.close()


@litestar_websocket("/close")
async def litestar_close(socket: LitestarSocket[Any, Any, Any]) -> None:
    await socket.close(code=4000)


litestar = Litestar([litestar_guarded, litestar_echo, litestar_close])


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"WSGI"]


a2wsgi = WSGIMiddleware(wsgi)
