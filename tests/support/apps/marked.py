"""What the tests of bad input have served: it tells whether a request that must never run has run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

from allcomers import Request, Response

_lock = threading.Lock()
_ran = 0


def app(request: Request) -> Response:
    """/marker is not to be reached; /ran says how often it was; the rest says what came."""
    global _ran
    if request.path == "/marker":
        with _lock:
            _ran += 1
        return Response(b"marked")
    if request.path == "/ran":
        return Response(b"%d" % _ran)
    if request.path == "/big":
        return Response(b"x" * int(request.args["n"]))
    if request.path == "/endless":
        return Response(_endless())
    if request.path == "/header":
        return Response(b"x", headers=[("X-Copied", request.args["value"])])
    seen = {
        "method": request.method,
        "target": request.target,
        "host": request.host,
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
        "trailers": dict(request.trailers),
    }
    return Response(json.dumps(seen).encode(), headers=[("Content-Type", "application/json")])


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536
