"""Request and Response as a handler sees them, and FileSlice, a part of a file to be sent.

This file has the app's side of messages. Their bytes are read and written by `head` and `encode` (the first lines) and
`http1` (the bodies); the connection knows the peer and the time.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

from allcomers.config.limits import InputLimits
from allcomers.errors import AnswerError, HttpError
from allcomers.protocol import compiled
from allcomers.protocol.body import Body
from allcomers.protocol.head import Fields, Headers, RequestHead
from allcomers.protocol.multidict import MultiDict

if TYPE_CHECKING:
    from allcomers.protocol.multipart import Form, Upload

PREFIX: Final = "allcomers.prefix"
"""The key of a request's prefix in the scope of an ASGI app, which has it changed in root_path."""

TLS: Final = "allcomers.tls"
"""The key of its `tls` there."""

SMALL = 16 * 1024
"""Bytes up to which a file is read and closed at once, and sent together with its head.

PERF: one joined send against a send and a sendfile, over the loopback, in µs: 1 KiB 5.0 against 8.0, 8 KiB 5.6 against
7.7, 16 KiB 8.8 against 11.4, 1 MiB 1,435 against 207; in between they are even (python bench/request/site.py)."""


class File(Protocol):
    """An open file, as far as FileSlice needs it."""

    def fileno(self) -> int: ...


class FileSlice:
    """`count` bytes of an open file from `offset` on: sent with sendfile(2) where nothing encrypts them.

    Where no open file has them, the response is a 500; cut, if some of it has gone out.

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

    def check(self) -> None:
        """Raise AnswerError unless this is a part of a file that is open: with another, no head may go out."""
        try:
            status = os.fstat(self.file.fileno())
            is_part = self.offset >= 0 and self.count >= 0
            is_part = is_part and (stat.S_ISBLK(status.st_mode) or self.offset + self.count <= status.st_size)
        except Exception as error:  # its object may be anything
            raise AnswerError(f"a FileSlice is of an open file, not of {self.file!r:.80}: {error}") from None
        if not is_part or not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise AnswerError(f"no file has {self.count} bytes from {self.offset} on: {self.file!r:.80}")

    def skip(self, count: int) -> None:
        """Drop `count` bytes from the start: they are sent."""
        self.offset += count
        self.count -= count


Segment: TypeAlias = bytes | memoryview | FileSlice
"""Data that one call sends to a socket."""

Piece: TypeAlias = bytes | FileSlice
"""A part of an app's body."""


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
    tls       TlsInfo of the connection: version, cipher, client_name, client_chain …; None without TLS
    ready_at  float, seconds of the monotonic clock: its first byte was there by then; 0.0 where that is unknown

    args, form, files, cookies and json() read a client's input; for bad input they raise HttpError.
    """

    _body: Body | None = None
    _trailer_fields: Fields = []  # noqa: RUF012 - of all requests that have none

    input_limits: ClassVar[InputLimits] = InputLimits()
    """The limits of args, form, files and json(), of all requests of a process: set as it starts."""

    outflow: Any = None
    """A connection.call.ResponseOutflow, once the call that runs has sent a part of its response; None before."""

    compression: Any = None
    """The apps.compression.response.ResponseCompression of its response; None where none is compressed."""

    prefix = ""
    """The part of the path that `routes` removed: a handler below "/api/" sees `prefix` "/api"."""

    params: Mapping[str, Any] = MappingProxyType({})
    """The parameters of the path, by the names in the keys of `routes`: {"id": 7} below "/users/{id:int}"."""

    _form: Form | None = None
    route = ""  # the template that its path has matched, "/users/{id:int}", where the app has told it

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
            from urllib.parse import unquote_to_bytes  # late: with ipaddress it takes 4 ms, and few requests need it

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
        """The whole body as bytes; `stream` reads a large one in parts, and goes on where it was."""
        if self._body is None:
            return self.content or b""
        file = self._body.file
        at = file.tell()
        file.seek(0)
        whole = file.read()
        file.seek(at)
        return whole

    @cached_property
    def args(self) -> MultiDict[str]:
        """The query's fields, decoded: a dict of the last of each name, whose all(name) lists repeated ones. Raises
        HttpError(400) for bytes that are no UTF-8 and for more fields than --max-form-fields."""
        return MultiDict(_urlencoded(self.query, self.input_limits.form_fields, 400))

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The cookies, by name (RFC 6265, section 5.4); of several of one name the first, whose path is the longest."""
        from allcomers.protocol.fields import cookies  # late: most requests of most apps need none

        return cookies.parse(self.headers.get("cookie", ""))

    @cached_property
    def form(self) -> MultiDict[str]:
        """The fields of an HTML form, decoded; empty where the body is. Of repeated ones the last wins, as in `args`:
        a checkbox beats the hidden field before it. Of multipart/form-data (extra `forms`) it has all but the files.
        Raises HttpError: 400 for what is malformed, 413 for what is above --max-form-size, --max-form-fields or
        --max-form-parts, 415 for a body of another type."""
        if not self._size:
            return MultiDict()
        kind = self._media_type
        if kind == "multipart/form-data":
            return MultiDict(self._parts.fields)
        if kind != "application/x-www-form-urlencoded":
            raise HttpError(415, "A form is sent as application/x-www-form-urlencoded or multipart/form-data.")
        self._check_size(self.input_limits.form_size, "form")
        return MultiDict(_urlencoded(self.body, self.input_limits.form_fields, 413))

    @cached_property
    def files(self) -> MultiDict[Upload]:
        """The files of a form of multipart/form-data, by the names of their fields; empty for another. They can be read
        until the call is over, and its response. Raises HttpError as `form`, and 413 for one above --max-file-size."""
        is_multipart = self._size and self._media_type == "multipart/form-data"
        return MultiDict(self._parts.files if is_multipart else ())

    @property
    def _media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def _parts(self) -> Form:
        """The parts of a form with files, read once."""
        if self._form is None:
            from allcomers.protocol import multipart  # late: few requests have files

            self.stream.seek(0)
            self._form = multipart.read(self.stream, self.headers["content-type"], self.input_limits)
            self.stream.seek(0)
        return self._form

    def json(self) -> Any:  # Any, as json.loads: a handler would else have to cast each level
        """Return the body read as JSON (RFC 8259), whatever its Content-Type. Raises HttpError(400) if it is none, and
        HttpError(413) if it is above --max-json-size."""
        import json

        self._check_size(self.input_limits.json_size, "JSON")
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise HttpError(400, "The body is not valid JSON.") from None

    @property
    def _size(self) -> int:
        """The bytes of the body."""
        return self._body.size if self._body is not None else len(self.content or b"")

    def _check_size(self, most: int, noun: str) -> None:
        """Refuse a body that would take many times its size in memory, before a byte of it is read."""
        if self._size > most:
            raise HttpError(413, f"The {noun} is larger than {most} bytes.")

    def disconnected(self) -> bool:
        """Return whether the client has closed its side of the connection, or is gone: for a call that lasts. A client
        that has closed its sending side alone may still read (RFC 9112, 9.6), and TCP shows no difference."""
        return self.driver is not None and self.driver.disconnected()

    def drop(self) -> None:
        """Close the body and the files of its form, which are no longer needed: for the server."""
        if self._body is not None:
            self._body.close()
        if self._form is not None:
            self._form.spool.close()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!r}>"


def title(request: Request) -> str:
    """Return a request for a line of the log, escaped, so that a client cannot write lines of its own there."""
    return f"{request.method} {request.target!a} of {request.peer or 'a local peer'}"


def _urlencoded(text: str | bytes, most: int, status: int) -> list[tuple[str, str]]:
    """Return the fields. Raises HttpError: `status` for more than `most`, 400 for bytes that are no UTF-8."""
    from urllib.parse import parse_qsl  # late, as above

    try:
        if isinstance(text, bytes):
            text = text.decode()
        if text.count("&") >= most:
            raise HttpError(status, f"The form or the query has more than {most} fields.")
        return parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise HttpError(400, "The form or the query is not valid.") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # NaN and Infinity, which Python would accept


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

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str = "",
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str = "Lax",
    ) -> None:
        """Add a Set-Cookie field (RFC 6265, section 4.1).

        max_age  seconds; None until the browser is closed
        domain   "" is this host alone
        secure   for TLS alone; None: where the request came by TLS, to this server or to a proxy that it trusts

        Raises AnswerError for what such a field cannot carry: a value with a space, for one.
        """
        from allcomers.protocol.fields import cookies

        attributes = cookies.attributes(max_age, path, domain, httponly, samesite)
        self.headers = [*self.headers, ("Set-Cookie", cookies.encode(name, value, attributes, secure))]

    def delete_cookie(self, name: str, *, path: str = "/", domain: str = "") -> None:
        """Have the browser drop a cookie that was set with this path and domain. Raises AnswerError."""
        self.set_cookie(name, "", max_age=0, path=path, domain=domain)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


Handler: TypeAlias = Callable[[Request], Response]
"""A callable that responds to HTTP requests: called once a request, in a thread that `--calls` chooses."""
