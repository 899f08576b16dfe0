"""Apps that do what their request tells them, for a comparison of two servers: a WSGI app, a Web class, an ASGI app.

The query is a program, JSON in base64. What an app noticed, such as a close(), is the body of a request for /seen.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import allcomers
from support.apps.served import Deliberate

Program = dict[str, Any]

PLAIN = "/plain"
SEEN = "/seen"

_noted: list[str] = []


def encoded(program: Program) -> str:
    """Return the target of a request with this program."""
    return "/?" + base64.urlsafe_b64encode(json.dumps(program).encode()).decode().replace("=", "")


def _program(query: str) -> Program:
    return json.loads(base64.urlsafe_b64decode(query + "==="))  # type: ignore[no-any-return]


def _take_notes() -> bytes:
    text = "".join(f"{line}\n" for line in _noted)
    _noted.clear()
    return text.encode()


def _pairs(headers: list[list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers]


def _fail_where(program: Program, place: str) -> None:
    if program["raises"] == place:
        raise Deliberate(place)


# ---------------------------------------------------------------- bodies


class Blocks:
    """Blocks of a body, and a close() that is noted."""

    def __init__(self, program: Program, each: Callable[[int], object]) -> None:
        self._program = program
        self._blocks = iter(program["blocks"])
        self._count = 0
        self._each = each

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._each(self._count)
        self._count += 1
        if self._count == 2:
            _fail_where(self._program, "iterating")
        return next(self._blocks).encode()  # type: ignore[no-any-return]

    def close(self) -> None:
        _noted.append("close")
        _fail_where(self._program, "close")


class Sized(Blocks):
    """The same, with a length."""

    def __len__(self) -> int:
        return len(self._program["blocks"])


class Closing(list[bytes]):
    """A list with a close()."""

    program: Program

    def close(self) -> None:
        _noted.append("close")
        _fail_where(self.program, "close")


def _generator(blocks: Blocks) -> Iterator[bytes]:
    try:
        yield from blocks
    finally:
        blocks.close()


def _file(program: Program) -> io.BufferedRandom:
    file = tempfile.TemporaryFile()
    file.write("".join(program["blocks"]).encode())
    file.seek(0)
    return file  # type: ignore[return-value]


def _shaped(program: Program, each: Callable[[int], object], wrap: Callable[[Any], Any]) -> Any:
    """Return the blocks in the shape that is told."""
    blocks = [block.encode() for block in program["blocks"]]
    match program["shape"]:
        case "list":
            return blocks
        case "tuple":
            return tuple(blocks)
        case "closing":
            closing = Closing(blocks)
            closing.program = program
            return closing
        case "iterator":
            return Blocks(program, each)
        case "sized":
            return Sized(program, each)
        case "generator":
            return _generator(Blocks(program, each))
        case "file":
            return wrap(_file(program))
        case "filelike":
            return wrap(io.BytesIO(b"".join(blocks)))
        case "bytes":
            return b"".join(blocks)
        case "text":
            return program["blocks"]
    return None


# ---------------------------------------------------------------- WSGI


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] in (PLAIN, SEEN):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [_take_notes() if environ["PATH_INFO"] == SEEN else b"plain\n"]
    program = _program(environ["QUERY_STRING"])

    def start() -> Callable[[bytes], object]:
        headers = _pairs(program["headers"])
        write = start_response(program["status"], headers)
        headers.append(("X-Late", "after start_response"))
        return write  # type: ignore[no-any-return]

    def again(place: str) -> None:
        if program["again"] != place:
            return
        try:
            raise Deliberate("again")
        except Deliberate:
            try:
                start_response("500 Sorry", [("X-Second", "2")], sys.exc_info() if program["exc_info"] else None)
            except Exception as error:
                _noted.append(type(error).__name__)
                if not program["swallows"]:
                    raise

    def each(number: int) -> None:
        if number == 0 and program["late"]:
            start()
        if number == 1:
            again("iterating")

    if not program["late"]:
        write = start()
        again("started")
        for data in program["writes"]:
            write(data.encode())
        again("written")
    _fail_where(program, "call")
    return _shaped(program, each, environ["wsgi.file_wrapper"])  # type: ignore[no-any-return]


# ---------------------------------------------------------------- Web


class Web(allcomers.Web):
    def get(self, request: allcomers.Request) -> Any:
        if request.path in (PLAIN, SEEN):
            return _take_notes() if request.path == SEEN else b"plain\n"
        program = _program(request.query)
        _fail_where(program, "call")
        body = _shaped(program, lambda number: None, lambda file: file.read())
        status, headers = int(program["status"][:3]), _pairs(program["headers"])
        if not program["late"]:
            return body, status, headers
        response = allcomers.Response(body, status=status, headers=headers, close=lambda: _noted.append("closed"))
        if program["again"]:
            response.headers[:] = [("X-Second", "2")]
        return response

    post = get


# ---------------------------------------------------------------- ASGI


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] in (PLAIN, SEEN):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": _take_notes() if scope["path"] == SEEN else b"plain\n"})
        return
    program = _program(scope["query_string"].decode())
    _fail_where(program, "call")
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _pairs(program["headers"])]
    message: dict[str, Any] = {"type": "http.response.start", "status": int(program["status"][:3]), "headers": headers}
    try:
        await send(message)
        headers.append((b"x-late", b"after the start"))
        if program["again"]:
            await send(message)
        *blocks, last = [block.encode() for block in [*program["writes"], *program["blocks"], ""]]
        for block in blocks:
            await send({"type": "http.response.body", "body": block, "more_body": program["shape"] != "list"})
        _fail_where(program, "iterating")
        await send({"type": "http.response.body", "body": last})
    except OSError:
        _noted.append("OSError")
    _fail_where(program, "close")
