"""start_response: status and headers of a WSGI app's response, before its body or together with it (PEP 3333).

This file knows what is allowed, and when. `app` and the connection send the response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from allcomers.connection.base import HIGH_WATER
from allcomers.connection.http.spool import SPOOL_MOST
from allcomers.errors import AnswerError
from allcomers.protocol import compiled
from allcomers.protocol.body import Body
from allcomers.protocol.encode import encode_fields, known_blocks, named_status
from allcomers.protocol.head import remember
from allcomers.protocol.message import Request, Response

_PLAIN, _LENGTH, _DROPPED, _HOP = range(4)
"""The kinds of an app's headers: one like any other, or one with a rule of its own."""

_KINDS: Final = {
    "content-length": _LENGTH,
    "keep-alive": _DROPPED,
    "connection": _HOP,
    "proxy-authenticate": _HOP,
    "proxy-authorization": _HOP,
    "te": _HOP,
    "trailer": _HOP,
    "trailers": _HOP,
    "transfer-encoding": _HOP,
    "upgrade": _HOP,
}
"""The hop-by-hop headers of PEP 3333 ("Other HTTP Features": RFC 2616, 13.5.1) are an error, as in wsgiref. But
`Connection: close` is obeyed, and keep-alive dropped: apps that run under gunicorn, which drops both, send them, and
nothing is lost, for whether a connection stays open is the server's to decide."""

_LONGEST_KNOWN: Final = 64

_kinds: dict[str, int] = {}
_statuses: dict[str, int] = {}

_STATUS: Final = re.compile(r"([2-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")


def _kind(name: str) -> int:
    """Return the kind of a header of this name. Raises AnswerError for anything but a str."""
    if not isinstance(name, str):
        raise AnswerError(f"a header is a pair of str; its name is {name!r:.80}")
    kind = _KINDS.get(name.lower(), _PLAIN)
    if len(name) <= _LONGEST_KNOWN:
        remember(_kinds, name, kind)
    return kind


def _status(status: str) -> int:
    """Return `status` as a number, a NamedStatus if its reason is not the usual one. Raises AnswerError.

    A bare "404" is accepted, too, as by gunicorn: it is plain.
    """
    if not isinstance(status, str):
        raise AnswerError(f"a status is a str such as '200 OK', not {status!r:.80}")
    match = _STATUS.fullmatch(status)
    if match is None:
        raise AnswerError(f"{status!r:.80} is no status for a response: that is '200 OK', from 200 on")
    reason = (match[2] or "").strip(" \t").encode("latin-1")
    number = named_status(int(match[1]), reason)
    if len(status) <= _LONGEST_KNOWN:
        remember(_statuses, status, number)
    return number


if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.apps.wsgi._app import StartResponseState, use_memory

    use_memory(_statuses, _kinds, known_blocks)
else:

    class StartResponseState:
        """The slots of StartResponse."""

        __slots__ = ("fields", "length", "pushed", "request", "sent", "status", "written")

        def __init__(self) -> None:
            self.request: Request | None = None
            self.pushed: int | None = None
            self.status = 0
            self.fields: list[tuple[str, str]] = []
            self.length: int | None = None
            self.sent = False
            self.written: Body | None = None


class StartResponse(StartResponseState):
    """An app's response so far, as start_response and write() have it.

    request  the request
    status   0 until start_response was called
    fields   its headers, but for Content-Length
    length   Content-Length, if there is one
    sent     True once a block was pulled: it is sent with these headers
    pushed   bytes that write() has sent while the call runs; None where it has sent none
    written  data that write() could not send: under a loop whose own thread runs the call
    """

    __slots__ = ()

    @property
    def checked_status(self) -> int:
        """The status. Raises AnswerError: there is none."""
        if not self.status:
            raise AnswerError("the app returned, and gave its first block, without a call of start_response")
        return self.status

    def start(self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """Run start_response of PEP 3333. Raises AnswerError for a response that cannot be sent, and the exception of
        `exc_info` where it comes too late."""
        if exc_info:
            try:
                if self.sent or self.written is not None or self.pushed is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self.status:
            raise AnswerError("start_response was called a second time, without exc_info")
        number = _statuses.get(status) or _status(status)
        self.fields, self.length = _checked(headers)
        self.status = number
        return self.write

    def write(self, data: bytes) -> None:
        """Take `data` over, to be sent while the app goes on: the write() of PEP 3333, which start_response returns.

        Where the loop's own thread runs the call, it is kept, in memory or in a temporary file, until the app has
        returned, and sent before the first block of the result. Raises AnswerError, ClientGone, and OSError where
        there is no room to keep it.
        """
        if self.sent:
            raise AnswerError("write() was called after the first block of the app's iterable")
        if not isinstance(data, bytes):
            raise AnswerError(f"write() takes bytes, not {type(data).__name__}")
        if not data:
            return
        size = (self.written.size if self.written is not None else self.pushed or 0) + len(data)
        if self.length is not None and size > self.length:
            raise AnswerError(f"Content-Length is {self.length}, and write() was given more")
        if self._push(data):
            self.pushed = size
        elif size > SPOOL_MOST:
            raise AnswerError(f"write() was given more than {SPOOL_MOST} bytes where none can be sent before the end")
        else:
            if self.written is None:
                self.written = Body()
            self.written.write(data)

    def _push(self, data: bytes) -> bool:
        """Send `data` now, if possible; return False if not."""
        request = self.request
        if request is None or request.driver is None or self.written is not None:
            return False
        if request.outflow is None:
            return self._begin(request, data)
        request.outflow.write(data if request.compression is None else request.compression.encode(data))
        return True

    def _begin(self, request: Request, data: bytes) -> bool:
        """Begin the response, if that may be sent now; return False if not."""
        outflow = request.driver.outflow()
        if outflow is None:
            return False
        beginning = self.partial_response(b"")
        if request.compression is not None:
            request.compression.begin(beginning)
            data = request.compression.encode(data)
        beginning.body = first = data[:HIGH_WATER]
        outflow.begin(beginning, len(first))
        request.outflow, self.pushed = outflow, len(first)
        outflow.write(data[HIGH_WATER:])
        return True

    def partial_response(self, body: Any) -> Response:
        """Return a response with a part of its body, or with an iterable of the parts."""
        length = () if self.length is None else (("Content-Length", str(self.length)),)
        return Response(body, status=self.checked_status, headers=[*self.fields, *length])


def _checked(headers: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], int | None]:
    """Return (the headers, but for Content-Length; Content-Length). Raises AnswerError."""
    fields = []
    length: int | None = None
    try:
        for field in headers:
            name, value = field
            kind = _kinds.get(name)
            if kind is None:
                kind = _kind(name)
            if kind is _PLAIN:
                fields.append(field)
            elif kind is _LENGTH:
                length = _length(value, length)
            elif kind is _HOP and _closes(name, value):
                fields.append(field)
    except (TypeError, ValueError):
        raise AnswerError(f"headers are a list of pairs of str, not {headers!r:.200}") from None
    # PERF: 0.2 µs for fields that it knows, as it will for the response (bench/request/micro.py).
    encode_fields(fields)
    return fields, length


def _length(value: str, before: int | None) -> int:
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19):
        raise AnswerError(f"Content-Length is not a number: {value!r:.80}")
    if before is not None and before != int(value):
        raise AnswerError(f"two headers Content-Length: {before} and {value}")
    return int(value)


def _closes(name: str, value: str) -> bool:
    """Return True for `Connection: close`, False for keep-alive. Raises AnswerError for any other hop-by-hop header."""
    options = {option.strip(" \t") for option in str(value).lower().split(",")}
    if name.lower() != "connection" or not options <= {"close", "keep-alive"}:
        raise AnswerError(f"the header {name!r} is the server's own (hop-by-hop, PEP 3333): leave it out")
    return "close" in options
