"""Apps of each kind, and tables that join them, for tests/server/test_joined.py."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import allcomers

SITE = Path(__file__).resolve().parents[3] / "examples" / "site"


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    seen = {
        "kind": "wsgi",
        "root": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
        "scheme": environ["wsgi.url_scheme"],
        "length": len(environ["wsgi.input"].read()),
        "in_main": threading.current_thread() is threading.main_thread(),
        "params": environ.get("wsgiorg.routing_args", ((), {}))[1],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


class Asgi:
    """An ASGI app that tells what it was given; `name` is in its lifespan's state."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name = name
        self.fails = fails

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": f"{self.name} {scope['root_path']} {scope['path']}"})
            await receive()
        else:
            await self._respond(scope, receive, send)

    async def _live(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        if self.fails:
            await send({"type": "lifespan.startup.failed", "message": f"{self.name} has no database"})
            return
        scope["state"]["name"] = self.name
        self.says("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.says("stopped")
        await send({"type": "lifespan.shutdown.complete"})

    def says(self, what: str) -> None:
        sys.stderr.write(f"{self.name} {what} {os.getpid()}\n")
        sys.stderr.flush()

    async def _respond(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        length, more = 0, True
        while more:
            message = await receive()
            length, more = length + len(message.get("body", b"")), message.get("more_body", False)
        seen = {
            "kind": "asgi",
            "root": scope["root_path"],
            "path": scope["path"],
            "scheme": scope["scheme"],
            "length": length,
            "state": scope["state"]["name"],
            "params": scope.get("path_params", {}),
        }
        body = json.dumps(seen).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


class Seen(allcomers.Web):
    def get(self, request: allcomers.Request) -> dict[str, Any]:
        return {
            "kind": "web",
            "root": request.prefix,
            "path": request.path,
            "scheme": request.scheme,
            "length": len(request.body),
        }

    post = get


class AsyncSeen(Seen):
    async def get(self, request: allcomers.Request) -> dict[str, Any]:  # type: ignore[override]
        return {**Seen().get(request), "kind": "async", "params": dict(request.params)}

    post = get  # type: ignore[assignment]


class Echo(allcomers.Service):
    def request(self, data: bytes) -> bytes:
        return data


first, second = Asgi("first"), Asgi("second")

synchronous = allcomers.routes({"/w/": wsgi, "/web/": Seen, "/files/": allcomers.Site(SITE), "/": wsgi})

asynchronous = allcomers.routes({"/a/": first, "/files/": allcomers.Site(SITE), "/": second})

mixed = allcomers.routes(
    {
        "/w/": wsgi,
        "/web/": Seen,
        "/a/": first,
        "/deep/": allcomers.routes({"/w/": wsgi, "/a/": first, "/b/": second, "/web/": Seen}),
        "/files/": allcomers.Site(SITE),
        "/one": wsgi,
        "/": second,
    }
)

patterns = allcomers.routes(
    {
        "/{team}/w/": wsgi,
        "/{team}/a/": first,
        "/{team}/async/": AsyncSeen,
        "/w/{id:int}": wsgi,
        "/a/{id:int}": first,
        "/async/{id:int}": AsyncSeen,
        "/nested/{team}/": allcomers.routes({"/{id:int}": AsyncSeen, "/plain": Seen}),
    }
)

asynchronous_patterns = allcomers.routes({"/a/{id:int}": first, "/async/{id:int}": AsyncSeen, "/": first})

failing = allcomers.routes({"/a/": first, "/b/": Asgi("third", fails=True)})


def bad() -> object:
    """Join what cannot be joined (--factory)."""
    return allcomers.routes({"/": wsgi, "/echo/": Echo})
