"""The apps under chaos, and what each answer must be: it holds the mark of its request, so that it fits no other."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator
from typing import Any

BLOCK = 64 * 1024


def expected(path: str, mark: bytes, body: bytes = b"") -> bytes:
    """Return the body of the answer to a request of this path whose query is `mark`."""
    if path == "/pieces":
        return b"".join(pieces(mark))
    if path in ("/big", "/file", "/written"):
        return (mark + b";") * ((1_000_000 if path == "/big" else 100_000) // (len(mark) + 1))
    return mark + b" " + hashlib.sha256(mark + body).hexdigest().encode()


def pieces(mark: bytes) -> Iterator[bytes]:
    return (b"%b:%d;" % (mark, number) * 100 for number in range(8))


def short_of_memory(mark: bytes) -> None:
    """Let allocations of this process fail for a moment, from one on that the mark chooses (CPython's own tests do)."""
    import _testcapi

    start = int(hashlib.sha256(mark).hexdigest()[:4], 16) % 400
    try:
        _testcapi.set_nomemory(start, start + 3)
        for number in range(300):
            str(number).encode() + mark
    finally:
        _testcapi.remove_mem_hooks()


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path, mark = environ["PATH_INFO"], environ["QUERY_STRING"].encode()
    if path == "/fail":
        raise RuntimeError(f"asked to fail\r\nby {mark!r}")
    if path == "/nomemory":
        short_of_memory(mark)
    if path == "/slow":
        time.sleep(0.05)
    received = bytearray()
    while piece := environ["wsgi.input"].read(BLOCK):
        received += piece
    body = expected(path, mark, bytes(received))
    headers = [("Content-Type", "application/octet-stream")]
    if path == "/pieces":
        start_response("200 OK", headers)
        return pieces(mark)
    if path == "/written":
        write = start_response("200 OK", headers)
        write(body[:30_000])
        return [body[30_000:]]
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    if path == "/file":
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(body))
        return wrapped
    return [body]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})


async def answer(scope: Any, receive: Any, send: Any) -> None:
    path, mark = scope["path"], scope["query_string"]
    if path == "/fail":
        raise RuntimeError(f"asked to fail\r\nby {mark!r}")
    if path == "/nomemory":
        short_of_memory(mark)
    received, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        received += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = [expected(path, mark, bytes(received))] if path != "/pieces" else [*pieces(mark)]
    for piece in body[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": body[-1]})


async def echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})
