"""Request and Response as a handler sees them, and FileSlice, a part of a file to be sent.

This file has the app's side of messages. Their bytes are read and written by `head` and `encode` (the first lines) and
`http1` (the bodies); the connection knows the peer and the time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import IO, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

from allcomers.errors import HttpError
from allcomers.protocol import compiled
from allcomers.protocol.head import Fields, RequestHead
from allcomers.protocol.timing import Times

SPOOL_AT = 512 * 1024
"""Bytes of a request body that are held in memory; a longer one goes to a temporary file."""

SMALL = 16 * 1024
"""Bytes up to which a file is read and closed at once, and sent together with its head.

PERF: one joined send against a send and a sendfile, over the loopback, in µs: 1 KiB 5.0 against 8.0, 8 KiB 5.6 against
7.7, 16 KiB 8.8 against 11.4, 1 MiB 1,435 against 207; in between they are even (python bench/request/site.py)."""

FORM_FIELDS = 1000
"""Fields in one query or form; more is 400. Precedent: Django's DATA_UPLOAD_MAX_NUMBER_FIELDS."""


class File(Protocol):
    """An open file, as far as FileSlice needs it."""

    def fileno(self) -> int: ...


class FileSlice:
    """`count` bytes of an open file from `offset` on: sent with sendfile(2) where nothing encrypts them.

    The file stays open until the response's `close` runs; the slice never moves the file's own position.
    """

    __slots__ = ("count", "file", "offset")

    def __init__(self, file: File, offset: int, count: int) -> None:
        self.file = file
        self.offset = offset
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, most: int) -> bytes:
        """Return at most `most` bytes from the start of the slice; b"" where the file has become shorter."""
        return os.pread(self.file.fileno(), min(most, self.count), self.offset)

    def whole(self, most: int) -> bytes | None:
        """Return all of it; None where that is more than `most`, or the file has become shorter. Raises OSError."""
        if self.count > most:
            return None
        data = self.read(most)
        return data if len(data) == self.count else None

    def skip(self, count: int) -> None:
        """Drop `count` bytes from the start: they are sent."""
        self.offset += count
        self.count -= count


Segment: TypeAlias = bytes | memoryview | FileSlice
"""Data that one call sends to a socket."""

Piece: TypeAlias = bytes | FileSlice
"""A part of an app's body."""


class Headers(Mapping[str, str]):
    """The fields of a message: names without regard to case, values as str (Latin-1, RFC 9110 section 5.5).

    `headers["accept"]` joins the values of repeated fields with ", " (section 5.3); `all(name)` lists them.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.strip(b" \t").decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        values = self._values[name.lower()]
        return ("; " if name.lower() == "cookie" else ", ").join(values)  # RFC 6265 joins cookies with ";"

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def all(self, name: str) -> list[str]:
        """Return the values of the fields called `name`, in their order; empty where there is none."""
        return list(self._values.get(name.lower(), ()))


class Request(RequestHead):
    """One HTTP request, whole: its body was received before a handler is called.

    method    str, as sent: "GET"
    target    str, as sent: "/a%20b?c=d" (ASCII, RFC 9112 section 3.2); an absolute form keeps its path and query only
    path      str, percent-decoded once, UTF-8 with surrogateescape: "/a b"; "*" for OPTIONS *
    query     str, undecoded, without the "?": "c=d"
    host      str, the request's authority: "example.org:8000"; "" where an HTTP/1.0 request has none
    version   str, of HTTP: "1.0", "1.1" or "2"
    headers   Headers
    trailers  Headers that came after a chunked body
    stream    the body as a binary file at its start, in memory or in a temporary file
    peer      str, the client's address: "127.0.0.1"; "" on a Unix socket
    port      int, the client's port; 0 on a Unix socket
    scheme    "http" or "https"
    ready_at  float, seconds of the monotonic clock: its first byte was there by then; 0.0 where that is unknown

    args, form and json() read a client's input; for bad input they raise HttpError.
    """

    _body: Body | None = None
    _trailer_fields: Fields = []  # noqa: RUF012 - of all requests that have none

    times: Times | None = None
    """Its time waiting and in the app, where a log format or --server-timing needs it."""

    prefix = ""
    """The part of the path that `routes` removed: a handler below "/api/" sees `prefix` "/api"."""

    def __init__(
        self,
        *,
        method: str,
        target: str,
        host: str = "",
        version: str = "1.1",
        fields: Iterable[tuple[bytes, bytes]] = (),
        trailer_fields: Iterable[tuple[bytes, bytes]] = (),
        body: Body | None = None,
        peer: str = "",
        port: int = 0,
        scheme: str = "http",
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.version = version
        self.fields = list(fields)
        self.arrived(list(trailer_fields), body, peer, port, scheme)

    def arrived(self, trailer_fields: Fields, body: Body | None, peer: str, port: int, scheme: str) -> None:
        """Complete a parsed head to a whole request, with its body and its origin."""
        self.peer = peer
        self.port = port
        self.scheme = scheme
        if body is not None:
            self._body = body
            self._trailer_fields = trailer_fields

    @cached_property
    def headers(self) -> Headers:
        return Headers(self.fields)

    @cached_property
    def trailers(self) -> Headers:
        return Headers(self._trailer_fields)

    @cached_property
    def path(self) -> str:
        path = self.target.partition("?")[0]
        if "%" in path:
            return unquote_to_bytes(path).decode("utf-8", "surrogateescape")
        return path

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def stream(self) -> IO[bytes]:
        if self._body is None:
            if self.content is None:
                return io.BytesIO()
            self._body = Body(self.content)
        return self._body.file

    @cached_property
    def body(self) -> bytes:
        """The whole body as bytes; `stream` reads a large one in parts."""
        if self._body is None:
            return self.content or b""
        self._body.file.seek(0)
        return self._body.file.read()

    @cached_property
    def args(self) -> dict[str, str]:
        """The query's fields, decoded; the last of a repeated one wins. HttpError(400) as for `form`."""
        return _urlencoded(self.query)

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of an HTML form (application/x-www-form-urlencoded), decoded; {} where the body is empty.

        The last of a repeated field wins, so that a checkbox beats the hidden field before it. Raises HttpError(400)
        for bytes that are no UTF-8 and for over FORM_FIELDS fields, HttpError(415) for a body of another type:
        multipart/form-data, which uploads files, is not read here.
        """
        if not self.body:
            return {}
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise HttpError(415, "A form is sent as application/x-www-form-urlencoded.")
        return _urlencoded(self.body)

    def json(self) -> Any:  # Any, as json.loads: a handler would else have to cast each level
        """Return the body read as JSON (RFC 8259), whatever its Content-Type. Raises HttpError(400) if it is none."""
        import json

        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise HttpError(400, "The body is not valid JSON.") from None

    def drop(self) -> None:
        """Close the body, which is no longer needed: for the server."""
        if self._body is not None:
            self._body.close()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!r}>"


def title(request: Request) -> str:
    """Return a request for a line of the log, escaped, so that a client cannot write lines of its own there."""
    return f"{request.method} {request.target!a} of {request.peer or 'a local peer'}"


def _urlencoded(text: str | bytes) -> dict[str, str]:
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS))
    except ValueError:  # UnicodeDecodeError is one
        raise HttpError(400, "The form or the query is not valid.") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # NaN and Infinity, which Python would accept


class Body:
    """A request body while it is received: in memory up to SPOOL_AT, then in a temporary file (deleted once closed)."""

    __slots__ = ("file", "size")

    def __init__(self, whole: bytes = b"") -> None:
        self.file: IO[bytes] = io.BytesIO(whole)
        self.size = len(whole)

    def write(self, piece: bytes, last: bool = False) -> None:
        """Append `piece`; after the `last`, rewind. Raises OSError where the file cannot be written."""
        if self.size <= SPOOL_AT < self.size + len(piece):
            import tempfile  # late: it takes longer to load than the rest of a small server

            memory, self.file = self.file, tempfile.TemporaryFile(prefix="allcomers-")
            memory.seek(0)
            self.file.write(memory.read())
        self.file.write(piece)
        self.size += len(piece)
        if last:
            self.rewind()

    def rewind(self) -> None:
        """Move the file to its first byte, for the next read."""
        self.file.seek(0)

    def close(self) -> None:
        self.file.close()


class Response(compiled.Answer):
    """One response.

    body     bytes; a FileSlice; or an iterable of both, whose next piece is requested once the last one is sent
    status   int, 200 to 599
    headers  names and values as str: a mapping, or pairs where one repeats. Latin-1, with no CR, LF or NUL:
             else the client gets a 500. Connection and the framing fields are the server's to set, and Date and
             Server where they are not given; a Content-Length here stands for the length of an iterable.
    trailers fields after a chunked body, for a client that accepts them; read when the body has ended, so that the
             iterable may fill the list (RFC 9110, 6.5)
    close    called without arguments once the response is sent or its client has disconnected
    """

    __slots__ = ()

    def __init__(
        self,
        body: Piece | Iterable[Piece] = b"",
        *,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        trailers: Iterable[tuple[str, str]] = (),
        close: Callable[[], object] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        # PERF: a type test first, for a list's isinstance() of Mapping takes 0.25 µs (bench/request/micro.py).
        pairs = headers.items() if type(headers) is not list and isinstance(headers, Mapping) else headers
        self.headers = list(pairs)
        self.trailers = trailers
        self.close = close

    @classmethod
    def short(cls, body: Piece, fields: list[tuple[str, str]]) -> Response:
        """Return a 200 with this body and a copy of `fields`. PERF: a third of the cost of __init__ (callgrind)."""
        self = cls.__new__(cls)
        self.body = body
        self.status = 200
        self.headers = fields[:]
        self.trailers = ()
        self.close = None
        return self

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


Handler: TypeAlias = Callable[[Request], Response]
"""A callable that responds to HTTP requests: called once a request, in a thread that `--calls` chooses."""
