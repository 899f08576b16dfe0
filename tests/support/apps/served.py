"""What the conformance suite has served: a web app and three TCP services.

Nothing here is kept in memory from one call to the next, for another worker or process may get it. What a test wants
to know of a call, or tell it, goes through a file that the request names.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import allcomers
from allcomers import Request, Response, Site, Web, routes

FILES = os.environ.get("CONFORMANCE_FILES", "examples/site")
"""The folder that is served below /files/."""

PATIENCE = 20.0
"""Seconds after which a call gives up waiting for a file; the tests are shorter or broken."""

_BLOCK = bytes(range(251))  # a prime: what is lost, doubled or moved shows, for buffers are of other sizes


def pattern(size: int, begin: int = 0) -> bytes:
    """`size` bytes of an endless pattern from `begin` on."""
    begin %= len(_BLOCK)
    return (_BLOCK * ((begin + size) // len(_BLOCK) + 1))[begin : begin + size]


def pieces(size: int, piece: int) -> Iterator[bytes]:
    """The same, piece by piece."""
    for begin in range(0, size, piece):
        yield pattern(min(piece, size - begin), begin)


class Deliberate(Exception):
    """An app fails. The only traceback that a server under test may log."""


def note(path: str, word: str) -> None:
    """Add a line to the file at `path`, whole, whoever else does."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, word.encode() + b"\n")
    os.close(fd)


def await_file(path: str) -> None:
    """Return once there is a file at `path`: how a test tells a call to go on."""
    until = time.monotonic() + PATIENCE
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.005)


def number(request: Request, name: str, default: int = 0) -> int:
    return int(request.args.get(name, default))


# ---------------------------------------------------------------- HTTP


class Hello(Web):
    def get(self, request: Request) -> bytes:
        return b"Hello, all comers"


class Bytes(Web):
    """n bytes of the pattern, at once."""

    def get(self, request: Request) -> bytes:
        return pattern(number(request, "n"))


class Stream(Web):
    """n bytes of the pattern in pieces; with `length`, a Content-Length that is `length` bytes too large."""

    def get(self, request: Request) -> Response:
        size = number(request, "n")
        headers = {"Content-Length": str(size + number(request, "length"))} if "length" in request.args else {}
        return Response(pieces(size, number(request, "piece", 65536)), headers=headers)


class Trailers(Web):
    """A stream, and its digest in a trailer."""

    def get(self, request: Request) -> Response:
        trailers: list[tuple[str, str]] = []

        def body() -> Iterator[bytes]:
            digest = hashlib.sha256()
            for piece in pieces(number(request, "n"), 65536):
                digest.update(piece)
                yield piece
            trailers.append(("X-Digest", digest.hexdigest()))

        return Response(body(), trailers=trailers)


class Echo(Web):
    """The body, as it came."""

    def post(self, request: Request) -> bytes:
        return request.body

    put = post


class Digest(Web):
    """What came of the body, read in pieces, and the fields behind it."""

    def post(self, request: Request) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        while piece := request.stream.read(100_003):
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest(), "trailers": dict(request.trailers)}


class Seen(Web):
    """What the request looked like to its handler."""

    def get(self, request: Request) -> dict[str, Any]:
        return {
            "method": request.method,
            "target": request.target,
            "path": request.prefix + request.path,
            "query": request.query,
            "host": request.host,
            "version": request.version,
            "scheme": request.scheme,
            "peer": request.peer,
        }


class Fail(Web):
    def get(self, request: Request) -> bytes:
        raise Deliberate("before the answer")


class Break(Web):
    """A stream that fails after n bytes; with `length`, one of a declared length."""

    def get(self, request: Request) -> Response:
        size = number(request, "n")

        def body() -> Iterator[bytes]:
            yield from pieces(size, 1000)
            raise Deliberate("in the middle of the answer")

        headers = {"Content-Length": str(2 * size)} if "length" in request.args else {}
        return Response(body(), headers=headers)


class Gate(Web):
    """A piece; another once `file` is there."""

    def get(self, request: Request) -> Iterator[bytes]:
        yield b"first,"
        await_file(request.args["file"])
        yield b"second"


class Wait(Web):
    """An answer once `file` is there; that the call has begun is noted in `begun`."""

    def get(self, request: Request) -> bytes:
        note(request.args["begun"], "begun")
        await_file(request.args["file"])
        return pattern(number(request, "n", 10))


class Touch(Web):
    """Open the gate: from another connection, where a test wants to see that one is served."""

    def post(self, request: Request) -> None:
        Path(request.args["file"]).touch()


class Endless(Web):
    """A stream that only its client's leaving ends, noted in `file`."""

    def get(self, request: Request) -> Iterator[bytes]:
        try:
            while True:
                yield pattern(65536)
        finally:
            note(request.args["file"], "closed")


class Closes(Web):
    """An answer with a close callback, noted in `file`: n bytes, at once or as a stream."""

    def get(self, request: Request) -> Response:
        path = request.args["file"]
        size = number(request, "n")
        body = pieces(size, 65536) if "stream" in request.args else pattern(size)
        return Response(body, close=lambda: note(path, "closed"))


app: Callable[[Request], Response] = routes(
    {
        "/hello": Hello,
        "/bytes": Bytes,
        "/stream": Stream,
        "/trailers": Trailers,
        "/echo": Echo,
        "/digest": Digest,
        "/seen": Seen,
        "/fail": Fail,
        "/break": Break,
        "/gate": Gate,
        "/wait": Wait,
        "/touch": Touch,
        "/endless": Endless,
        "/closes": Closes,
        "/files/": Site(FILES),
    }
)


# ---------------------------------------------------------------- plain TCP


class EchoService(allcomers.Service):
    """What comes goes out again."""

    def request(self, data: bytes) -> bytes:
        return data


class LineService(allcomers.Service):
    """A greeting, then each line reversed.

    mark PATH   note in the file when the connection is lost
    silence     no answer
    fail        an exception
    quit        an answer, and the end
    """

    framing = allcomers.Delimited(b"\r\n")
    mark = ""

    def connected(self) -> bytes:
        return b"hello " + self.peer.encode()

    def request(self, data: bytes) -> bytes | None:
        word, _, rest = data.partition(b" ")
        match word:
            case b"mark":
                self.mark = rest.decode()
            case b"silence":
                return None
            case b"fail":
                raise Deliberate("in a service")
            case b"quit":
                self.close()
                return b"bye"
        return data[::-1]

    def lost(self) -> None:
        if self.mark:
            note(self.mark, "lost")


class LengthService(allcomers.Service):
    """Each message reversed."""

    framing = allcomers.LengthPrefixed(4)

    def request(self, data: bytes) -> bytes:
        return data[::-1]
