"""The apps of the benchmarks: the smallest response of each kind."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import allcomers


class Hello(allcomers.Web):
    """13 bytes of text."""

    def get(self, request: allcomers.Request) -> str:
        return "Hello, World!"


class Posted(allcomers.Web):
    """The same, once the body of 4 KB is read."""

    def post(self, request: allcomers.Request) -> str:
        return "Hello, World!" if len(request.stream.read()) == 4096 else "the body is not whole"


class Pieces(allcomers.Web):
    """16 pieces of 1 KB, without a Content-Length."""

    def get(self, request: allcomers.Request) -> Iterator[bytes]:
        return (b"x" * 1024 for _ in range(16))


class Who(allcomers.Web):
    """The process that answers, and its parent: under the process model the parent is the worker."""

    def get(self, request: allcomers.Request) -> str:
        return f"{os.getpid()} {os.getppid()}"

    def post(self, request: allcomers.Request) -> str:
        return f"{os.getpid()} {os.getppid()} {len(request.stream.read())}"


class Echo(allcomers.Service):
    """Each piece of data is echoed as it came."""

    framing = allcomers.Raw()

    def request(self, data: bytes) -> bytes | None:
        return data


BLOCK = bytes(64 * 1024)


def blocks(size: int) -> Iterator[bytes]:
    """Yield `size` bytes, 64 KiB at a time."""
    for begin in range(0, size, len(BLOCK)):
        yield BLOCK[: size - begin]


class Bulk(allcomers.Web):
    """As many bytes as the query asks for, or 13; the number of bytes received for an upload."""

    def get(self, request: allcomers.Request) -> str | Iterator[bytes]:
        return blocks(int(request.query)) if request.query else "Hello, World!"

    def post(self, request: allcomers.Request) -> str:
        return str(sum(map(len, iter(lambda: request.stream.read(len(BLOCK)), b""))))


def bulk_wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The same, as a WSGI app."""
    if environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return blocks(int(environ["QUERY_STRING"]))
    count = str(sum(map(len, iter(lambda: environ["wsgi.input"].read(len(BLOCK)), b"")))).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(count)))])
    return [count]


async def bulk_asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """The same, as an ASGI app."""
    if scope["type"] != "http":
        raise ValueError(f"not for {scope['type']}")
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for block in blocks(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def held_wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """8 MB for /large; for an upload, which is not read, nothing."""
    body = bytes(8_000_000) if environ["PATH_INFO"] == "/large" else b""
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


async def held_asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """The same as an ASGI app, whose uploads wait; a WebSocket receives until its end."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["type"] == "http":
        body = bytes(8_000_000) if scope["path"] == "/large" else b""
        while scope["path"] != "/large" and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    else:
        raise ValueError(f"not for {scope['type']}")
