"""One app for each interface: /205/SHAPE has a status without a body and gives one, anything else tells the Host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from allcomers import Request, Response


def wsgi(environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], None]]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if not path.startswith("/205"):
        start_response("200 OK", [])
        return [environ["HTTP_HOST"].encode()]
    write = start_response("205 Reset Content", [("Content-Length", "5")] if path.endswith("length") else [])
    if path.endswith("write"):
        write(b"Hello")
    if path.endswith("pieces"):
        return iter([b"He", b"llo"])
    return [b"Hello"]


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept", "headers": [(b"x-host", dict(scope["headers"])[b"host"])]})
        return
    path = scope["path"]
    status = 205 if path.startswith("/205") else 200
    headers = [(b"content-length", b"5")] if path.endswith("length") else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if status == 200:
        await send({"type": "http.response.body", "body": dict(scope["headers"])[b"host"]})
    elif path.endswith("pieces"):
        await send({"type": "http.response.body", "body": b"He", "more_body": True})
        await send({"type": "http.response.body", "body": b"llo"})
    else:
        await send({"type": "http.response.body", "body": b"Hello"})


def handler(request: Request) -> Response:
    if not request.path.startswith("/205"):
        return Response(request.headers["host"].encode())
    headers = [("Content-Length", "5")] if request.path.endswith("length") else []
    return Response([b"He", b"llo"] if request.path.endswith("pieces") else b"Hello", status=205, headers=headers)
