"""A Starlette app with a file, behind middlewares that know the messages of the specification and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brotli_asgi import BrotliMiddleware
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


async def file(request: Request) -> Response:
    return FileResponse(__file__, media_type="text/javascript")


def app_of() -> Starlette:
    return Starlette(routes=[Route("/file.js", file), Mount("/static", StaticFiles(directory=Path(__file__).parent))])


def limited() -> Starlette:
    made = app_of()
    made.state.limiter = Limiter(key_func=get_remote_address, default_limits=["1000/minute"], headers_enabled=True)
    made.add_middleware(SlowAPIASGIMiddleware)
    return made


APPS: dict[str, Any] = {
    "plain": app_of(),
    "gzip": GZipMiddleware(app_of(), minimum_size=10),
    "br": BrotliMiddleware(app_of(), minimum_size=10),
    "limited": limited(),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """/NAME/... goes to the app of that name."""
    assert scope["type"] == "http"
    _, name, rest = scope["path"].split("/", 2)
    await APPS[name](dict(scope, path=f"/{rest}", raw_path=f"/{rest}".encode()), receive, send)
