"""A WSGI app for the tests of real servers: what PEP 3333 lets an app do, a path each; below /plain/ without its judge.

What a test wants to know of a call goes through a file that the request names, for it may run in another process.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from support.apps.served import Deliberate, await_file, note, pattern, pieces

Environ = dict[str, Any]
Start = Callable[..., Any]

TEXT = [("Content-Type", "text/plain")]
FILE = Path(__file__)


def hello(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("200 Fine", TEXT)
    return [b"Hello"]


def echo(environ: Environ, start_response: Start) -> list[bytes]:
    stream = environ["wsgi.input"]
    lines = [stream.readline(), *stream.readlines(), stream.read(1)]
    start_response("200 OK", TEXT)
    return [b"".join(lines)]


def digest(environ: Environ, start_response: Start) -> list[bytes]:
    size, found = 0, hashlib.sha256()
    while data := environ["wsgi.input"].read(65536):
        size += len(data)
        found.update(data)
    start_response("200 OK", TEXT)
    return [f"{environ.get('CONTENT_LENGTH')} {size} {found.hexdigest()}".encode()]


def stream(environ: Environ, start_response: Start) -> Iterator[bytes]:
    """n bytes, with empty blocks between; start_response comes with the first next()."""
    asked = arguments(environ)
    headers = [*TEXT, ("Content-Length", asked["n"])] if "length" in asked else TEXT
    start_response("200 OK", headers)
    yield b""
    for piece in pieces(int(asked["n"]), 10_000):
        yield piece
        yield b""


def written(environ: Environ, start_response: Start) -> list[bytes]:
    write = start_response("200 OK", TEXT)
    for piece in pieces(int(arguments(environ)["n"]), 10_000):
        write(piece)
    return [b"", b"end"]


def writing(environ: Environ, start_response: Start) -> list[bytes]:
    """Writes blocks of so many bytes, and notes the number of each that is written.

    wait     it waits before the block of this number until there is a file at `gate`
    endless  it writes the last block again and again
    times    it writes all of them so often
    wrong    how it then goes wrong
    rest     bytes of what it returns
    """
    asked = arguments(environ)
    write = start_response("200 OK", [*TEXT, *([("Content-Length", asked["length"])] if "length" in asked else [])])
    blocks = [pattern(int(size)) for size in asked["blocks"].split(",")] * int(asked.get("times", 1))
    try:
        for number, block in enumerate(chain(blocks, repeat(blocks[-1]) if "endless" in asked else ())):
            if asked.get("wait") == str(number):
                await_file(asked["gate"])
            write(block)
            if "note" in asked:
                note(asked["note"], str(number))
    except Exception as error:
        if "note" in asked:
            note(asked["note"], f"{type(error).__name__}: {error}")
            return []
        raise
    if asked.get("wrong") == "raises":
        raise Deliberate
    if asked.get("wrong") == "again":
        try:
            raise Deliberate
        except Deliberate:
            start_response("503 Sorry", TEXT, sys.exc_info())
    return [b"", pattern(int(asked.get("rest", "0")))]


def replaced(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    yield b""
    try:
        raise Deliberate
    except Deliberate:
        start_response("503 Sorry", [*TEXT, ("X-Second", "2")], sys.exc_info())
    yield b"Sorry"


def late(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"Hello"
    try:
        raise Deliberate
    except Deliberate:
        start_response("503 Sorry", TEXT, sys.exc_info())
    yield b"Sorry"


def fails(environ: Environ, start_response: Start) -> list[bytes]:
    raise Deliberate


def not_modified(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


def file(environ: Environ, start_response: Start) -> Iterable[bytes]:
    opened = FILE.open("rb")
    opened.seek(5)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](opened)  # type: ignore[no-any-return]


def filelike(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(FILE.read_bytes()), 100)  # type: ignore[no-any-return]


class Noted:
    """Blocks, and a close() that leaves a line in a file. `endless`: the last one again and again."""

    def __init__(self, path: str, blocks: list[bytes], *, endless: bool = False) -> None:
        self.path = path
        self.blocks = blocks
        self.endless = endless

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        while self.endless:
            yield self.blocks[-1]

    def close(self) -> None:
        note(self.path, "closed")


def closed(environ: Environ, start_response: Start) -> Noted:
    asked = arguments(environ)
    headers = [*TEXT, ("Content-Length", asked["length"])] if "length" in asked else TEXT
    start_response("200 OK", headers)
    return Noted(asked["note"], [b"Hello", b" there"][: int(asked["blocks"])], endless="endless" in asked)


class Waiting(Noted):
    """Its close() notes that it has begun, at `path`, and waits until there is a file of that name and "-done"."""

    def close(self) -> None:
        if self.path:
            super().close()
            await_file(f"{self.path}-done")


def slow_to_close(environ: Environ, start_response: Start) -> Waiting:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Waiting(arguments(environ).get("note", ""), [b"Hello"])


def looped(environ: Environ, start_response: Start) -> list[bytes]:
    """Tell whether an event loop runs in the thread of this call: Django and Flask look, and refuse to work there."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"free" if asyncio._get_running_loop() is None else b"in a loop"]


def told(environ: Environ, start_response: Start) -> list[bytes]:
    """The environ, and a line on wsgi.errors."""
    environ["wsgi.errors"].write("a word\n")
    plain = {key: value for key, value in environ.items() if isinstance(value, str | bool)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(plain).encode()]


APPS = {
    f"/{app.__name__}": app
    for app in (
        hello, echo, digest, stream, written, replaced, late, fails, not_modified, file, filelike, closed, told,
    )
}  # fmt: skip
JUDGED = {path: validator(app) for path, app in APPS.items()}


def arguments(environ: Environ) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path.startswith("/plain/"):
        return APPS[path.removeprefix("/plain")](environ, start_response)
    return JUDGED[path](environ, start_response)
