"""Web classes for tests over sockets: forms with files, cookies, async methods."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from allcomers import FileSlice, HttpError, Request, Response, Web, routes


class Forms(Web):
    def post(self, request: Request) -> dict[str, object]:
        files = [
            [name, upload.filename, upload.content_type, upload.size, hashlib.sha256(upload.read()).hexdigest()]
            for name, upload in request.files.pairs
        ]
        return {"fields": request.form.pairs, "files": files}

    def put(self, request: Request) -> Iterator[bytes]:
        """Stream a file back: it can be read until the response is over."""
        yield from iter(lambda: request.files["f"].file.read(50_000), b"")


class AsyncForms(Web):
    async def post(self, request: Request) -> dict[str, object]:
        await asyncio.sleep(0)
        return Forms().post(request)

    async def put(self, request: Request) -> AsyncIterator[bytes]:
        while piece := request.files["f"].file.read(50_000):
            yield piece


class Cookies(Web):
    def get(self, request: Request) -> Response:
        response = Response(repr(request.cookies).encode())
        response.set_cookie("seen", "yes")
        response.delete_cookie("old")
        return response


class Async(Web):
    """The results of async methods, and of plain ones beside them."""

    running = 0

    async def get(self, request: Request) -> object:
        kind = request.args.get("kind", "text")
        if kind == "slow":
            self.running += 1
            while self.running < 2:  # until there is another
                await asyncio.sleep(0.01)
            return "both"
        if kind == "file":
            file = Path(__file__).open("rb")
            size = os.fstat(file.fileno()).st_size
            return Response(FileSlice(file, 0, size), close=file.close)
        if kind == "missing":
            raise HttpError(404, "not there")
        if kind == "fault":
            raise RuntimeError("a fault")
        if kind == "trailers":
            return Response([b"a", b"b"], trailers=[("X-End", "1")])
        if kind == "stream":
            return self.pieces(request), 201, {"X-Kind": kind}
        if kind == "nothing":
            return None
        return {"params": dict(request.params), "body": request.body.decode()} if kind == "dict" else "text"

    async def pieces(self, request: Request) -> AsyncIterator[str]:
        yield "one "
        await asyncio.sleep(0.01)
        yield "two"

    async def patch(self, request: Request) -> AsyncIterator[str]:
        if "missing" in request.args:
            raise HttpError(404, "not there")
        yield "patched"

    def post(self, request: Request) -> str:
        return f"plain {len(request.body)}"

    def put(self, request: Request) -> Iterator[str]:
        yield "plain "
        yield "stream"


class Plain(Web):
    def get(self, request: Request) -> str:
        return "plain beside"


forms = routes({"/": Forms, "/cookies": Cookies})
asynchronous = routes({"/": Async, "/{id:int}": Async, "/forms": AsyncForms, "/cookies": Cookies, "/plain": Plain})
