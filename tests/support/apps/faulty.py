"""What test_faults.py has served."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

from allcomers import Delimited, FileSlice, Request, Response, Service, Site, routes
from support.apps import marked

HERE = Path(os.environ.get("FAULTY_FILES", "."))


def wait(request: Request) -> Response:
    """Leave a mark, and answer when the test opens the gate."""
    (HERE / f"begun-{request.query}").touch()
    while not (HERE / "gate").exists():
        time.sleep(0.005)
    return Response(b"waited")


def bad_slice(request: Request) -> Response:
    """Respond with a FileSlice that no open file has; as the second piece of a body where the query says so."""
    how, _, later = request.query.partition("+")
    file = (HERE / "large").open("rb")
    slices = {
        "closed": FileSlice(file, 0, 40_000),
        "negative": FileSlice(file, 5000, -100),
        "before": FileSlice(file, -1, 100),
        "beyond": FileSlice(file, 0, 10_000_000),
        "none": FileSlice(io.BytesIO(b"x" * 40_000), 0, 40_000),
    }
    if how == "closed":
        file.close()
    return Response([b"good", slices[how]] if later else slices[how], close=file.close)


app = routes({"/files/": Site(HERE), "/wait": wait, "/slice": bad_slice, "/": marked.app})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"%d" % len(environ["wsgi.input"].read())]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


class Greeter(Service):
    framing = Delimited(b"\n")

    def connected(self) -> bytes:
        return b"hello" * 100

    def request(self, data: bytes) -> bytes:
        return data
