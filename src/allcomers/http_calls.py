"""What HTTP connections share, and what they have run: the app's calls.

A call runs wherever `--calls` says: in the connection's own thread or in another. It touches no connection: it gets a
Request and returns an answer, or the next piece of one, and it never raises. So an app's failure is one client's 500.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from allcomers.config import Limits
from allcomers.errors import AnswerError, HttpError
from allcomers.protocol.message import FileSlice, Handler, Piece, Request, Response

if TYPE_CHECKING:
    import ssl

ENDLESS: Final = 1 << 62
"""The length of a body that nothing limits."""

WHOLE: Final = (bytes, FileSlice)  # a tuple: `bytes | FileSlice` would make a new union for each question
"""A body that is at hand; any other is an iterable of these."""

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class Log(Protocol):
    """Where answers are noted: an AccessLog."""

    def log(
        self, *, when: float, peer: str, method: str, target: str, version: str, status: int, sent: int,
        seconds: float, host: str, referer: str, agent: str,
    ) -> None: ...  # fmt: skip

    def refused(self, *, when: float, peer: str, line: bytes, status: int, sent: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """What all HTTP connections of a server share.

    handler  Request to Response
    date     now to the Date field's line, with its CRLF
    wall     seconds since the epoch: the access log's clock
    report   called with an app's exception and the request that met it
    log      where answers are noted, or None
    tls      None for plain HTTP
    """

    handler: Handler
    limits: Limits
    date: Callable[[float], bytes]
    wall: Callable[[], float]
    report: Callable[[BaseException, Request], object]
    log: Log | None = None
    tls: ssl.SSLContext | None = None


Plan: TypeAlias = tuple[bytes, int, bool, bool]
"""How an answer goes out: its head; how many bytes its body has at most; does it go in chunks; does the connection
stay open after it."""


class End(enum.Enum):
    """How an iterable ended."""

    WHOLE = enum.auto()
    BROKEN = enum.auto()


class Stream:
    """An answer whose body is an iterable, pulled by calls of one step each, wherever calls run.

    most, chunked, persists  as its Plan has them
    sent                     bytes of its body so far
    """

    __slots__ = ("_endpoint", "_pieces", "_request", "chunked", "first", "most", "persists", "response", "sent")

    def __init__(self, response: Response, pieces: Iterator[Piece], endpoint: HttpEndpoint, request: Request) -> None:
        self.response = response
        self.most = ENDLESS
        self.chunked = False
        self.persists = False
        self.sent = 0
        self.first: Piece | End = b""
        self._pieces = pieces
        self._endpoint = endpoint
        self._request = request

    @property
    def left(self) -> int:
        return self.most - self.sent

    def pull(self) -> Piece | End:
        """The next piece; End.WHOLE after the last, and then it is closed. Raises what the app raises."""
        for piece in self._pieces:
            if not isinstance(piece, WHOLE):
                raise AnswerError(f"a piece of a body is bytes or a FileSlice, not {type(piece).__name__}")
            return piece
        self.close()
        return End.WHOLE

    def step(self) -> Piece | End:
        """A call: pull, or close where the client has all that it was promised."""
        try:
            if self.left > 0:
                return self.pull()
            self.close()
        except BaseException as error:
            self._endpoint.report(error, self._request)
            self.close()
            return End.BROKEN
        return End.WHOLE

    def close(self) -> None:
        """Run the app's close, once."""
        close, self.response.close = self.response.close, None
        if close is None:
            close = getattr(self._pieces, "close", None)  # a generator runs its finally now, not when collected
        if close is not None:
            try:
                close()
            except BaseException as error:
                self._endpoint.report(error, self._request)


def call(endpoint: HttpEndpoint, request: Request) -> Response | Stream:
    """Call the handler, and pull the first piece of its answer: what fails by then is still a 500."""
    try:
        response = endpoint.handler(request)
        if not isinstance(response, Response):
            raise AnswerError(f"a handler returns a Response, not {type(response).__name__}")
        body = response.body
        if isinstance(body, WHOLE):
            return response
        try:
            pieces = iter(body)
        except TypeError:
            Stream(response, iter(()), endpoint, request).close()
            raise
        stream = Stream(response, pieces, endpoint, request)
        try:
            stream.first = stream.pull()
        except BaseException:
            stream.close()
            raise
        return stream
    except HttpError as error:
        text = (error.message or "refused") + "\n"
        return Response(text.encode("utf-8", "replace"), status=error.status, headers=[_TEXT, *error.headers])
    except BaseException as error:  # SystemExit too: one request does not stop a server
        return failed(endpoint, error, request)


def failed(endpoint: HttpEndpoint, error: BaseException, request: Request) -> Response:
    endpoint.report(error, request)
    return Response(b"Internal Server Error\n", status=500, headers=[_TEXT])
