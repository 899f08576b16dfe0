"""Apps that send what their query has: a Script, for WSGI, ASGI and as a handler."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from allcomers import FileSlice, Request, Response


@dataclass
class Script:
    """A response.

    how       whole, list, pieces, written (WSGI), file, late (ASGI: its head goes out by itself)
    pieces    texts, each so many times
    declared  bytes of the Content-Length beside those that there are; None for no Content-Length
    """

    how: str = "whole"
    pieces: list[tuple[str, int]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("Content-Type", "text/plain")])
    status: int = 200
    declared: int | None = None

    def target(self) -> str:
        return "/?" + base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def of(cls, query: str) -> Script:
        script = cls(**json.loads(base64.urlsafe_b64decode(query + "=" * (-len(query) % 4))))
        script.headers = [(name, value) for name, value in script.headers]
        return script

    def blocks(self) -> list[bytes]:
        return [text.encode() * times for text, times in self.pieces]

    def body(self) -> bytes:
        return b"".join(self.blocks())

    def fields(self) -> list[tuple[str, str]]:
        if self.declared is None:
            return self.headers
        return [*self.headers, ("Content-Length", str(len(self.body()) + self.declared))]


def _file(data: bytes) -> Any:
    file = tempfile.TemporaryFile()
    file.write(data)
    file.seek(0)
    return file


def app(environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], None]]) -> Iterable[bytes]:
    script = Script.of(environ["QUERY_STRING"])
    write = start_response(f"{script.status} Whatever", script.fields())
    blocks = script.blocks()
    if environ["REQUEST_METHOD"] == "HEAD":  # as frameworks do
        return []
    if script.how == "written":
        for block in blocks[: len(blocks) // 2 + 1]:
            write(block)
        return iter(blocks[len(blocks) // 2 + 1 :])
    if script.how == "file":
        return environ["wsgi.file_wrapper"](_file(script.body()))  # type: ignore[no-any-return]
    return {"whole": [script.body()], "list": blocks}.get(script.how) or iter(blocks)


def handler(request: Request) -> Response:
    script = Script.of(request.query)
    blocks = script.blocks()
    if script.how == "file":
        file = _file(script.body())
        part = FileSlice(file, 0, len(script.body()))
        return Response(part, status=script.status, headers=script.fields(), close=file.close)
    body: Any = {"whole": script.body(), "list": blocks}.get(script.how, _each(blocks))
    return Response(body, status=script.status, headers=script.fields())


def _each(blocks: list[bytes]) -> Iterator[bytes]:
    yield from blocks


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("http alone")
    script = Script.of(scope["query_string"].decode())
    headers = [(name.encode(), value.encode()) for name, value in script.fields()]
    await send({"type": "http.response.start", "status": script.status, "headers": headers})
    if script.how == "late":
        await asyncio.sleep(0.03)
    if script.how == "file":
        await _send_file(script.body(), send)
        return
    blocks = [script.body()] if script.how == "whole" else script.blocks()
    for block in blocks[:-1]:
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": blocks[-1] if blocks else b""})


async def _send_file(data: bytes, send: Any) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        await send({"type": "http.response.pathsend", "path": file.name})
