"""The apps of the soak: what they give is checked by the client, so each gives back what only its asker has sent."""

import hashlib
from collections.abc import Iterable
from typing import Any

BLOCK = 64 * 1024


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with the query; with the checksum of a body; with 16 pieces for /pieces. /fail raises."""
    path, mark = environ["PATH_INFO"], environ["QUERY_STRING"].encode()
    if path == "/fail":
        raise RuntimeError("asked to fail")
    if path == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (mark + b"." * 1000 for _ in range(16))
    digest = hashlib.sha256(mark)
    while piece := environ["wsgi.input"].read(BLOCK):
        digest.update(piece)
    body = digest.hexdigest().encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Do the same, and echo the messages of a WebSocket."""
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
        raise RuntimeError("asked to fail")
    headers = [(b"content-type", b"text/plain")]
    if path == "/pieces":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(16):
            await send({"type": "http.response.body", "body": mark + b"." * 1000, "more_body": True})
        await send({"type": "http.response.body"})
        return
    digest, more = hashlib.sha256(mark), True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    body = digest.hexdigest().encode()
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})
