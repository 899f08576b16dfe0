"""What HTTP connections share, and what they have run: the app's calls.

A call runs wherever `--calls` says: in the connection's own thread or in another. It touches no connection: it gets a
Request and returns an answer, or a Stream with its first piece, and it never raises. So an app's failure is one
client's 500.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from allcomers.config.options import Limits
from allcomers.connection.base import Address, Connection
from allcomers.connection.call import Driver, Sign
from allcomers.connection.http.response_body import WHOLE, End, Last, Pulled, Stream
from allcomers.connection.http.response_head import SERVER
from allcomers.errors import AnswerError, ClientGone, HttpError, Refusal
from allcomers.protocol.head import Fields
from allcomers.protocol.http1 import Requests
from allcomers.protocol.message import Body, FileSlice, Handler, Piece, Request, Response, title
from allcomers.protocol.timing import Times
from allcomers.system.counters import Page

if TYPE_CHECKING:
    import ssl

    from allcomers.config.log_format import Entry
    from allcomers.protocol.head import RequestHead

Origin: TypeAlias = tuple[str, int, str]
"""Whence a request comes: (host, port, scheme) of a peer or of the client behind it."""

Taken: TypeAlias = tuple[Request, tuple[str, str, int]]
"""A request whose call a driver has taken itself; its method, target and minor version as they came, whatever the app
makes of them."""

SKIP: Final = 256 * 1024
"""Bytes of a body that nobody wants that are heard and dropped; of a longer one, closing costs less."""

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class Asker(Protocol):
    """What a Live knows of the connection that it answers."""

    @property
    def driver(self) -> Driver | None: ...

    def hint(self, links: Iterable[bytes]) -> None:
        """Tell the client of these links before the answer (RFC 8297)."""
        ...


class Log(Protocol):
    """Where answers are noted: an AccessLog."""

    def log(self, entry: Entry) -> None: ...


class Live(Protocol):
    """The call of an async app: it goes on while its request still comes and while its answer goes out.

    It answers as any other call does: with a Response, or a Stream that it fills, and then its pieces; at the end with
    Last. `Upgrade` is an answer too. What it says later than in start() goes to the driver's said().

    ahead   int: bytes of the body that it was given and has not taken
    hungry  bool: it waits for more of the body
    """

    ahead: int
    hungry: bool

    def start(self) -> Any:
        """The call itself (Work): its answer, or LATER."""
        ...

    def hear(self, piece: bytes, more: bool) -> None:
        """The client said `piece` of the body; is there more to come?"""
        ...

    def end(self) -> None:
        """The client says no more; it may still read."""
        ...

    def drain(self) -> None:
        """The server leaves: an answer that never ends by itself is to end."""
        ...

    def leave(self) -> None:
        """The client is gone, or gets another answer."""
        ...


class HttpEndpoint(NamedTuple):
    """What all HTTP connections of a server share.

    handler  Request to Response
    live     a request's head and its connection to the Live that answers it; None where `handler` does
    begin    has a Live start: gives its answer, if that is whole at once, or the Live and what it says first
    date     now to the Date field's line, with its CRLF
    wall     seconds since the epoch: the access log's clock
    report   called with an app's exception and the request that met it
    page     where what is done is counted
    log      where answers are noted, or None
    client   of the (host, port, scheme) of a peer and a request's head, those of the client; None: the peer is that
    clock    seconds, for who wants to know how the time goes; None where nobody does
    server_timing  bool: tell clients; needs `clock`
    server   the Server field's line, with its CRLF; b"" for none
    tls      None for plain HTTP
    sends_in_call  bool: the thread that runs a call sends its answer, and closes it
    """

    handler: Handler
    limits: Limits
    date: Callable[[float], bytes]
    wall: Callable[[], float]
    report: Callable[[BaseException, Request], object]
    page: Page
    log: Log | None = None
    client: Callable[[Origin, RequestHead], Origin] | None = None
    clock: Callable[[], float] | None = None
    server_timing: bool = False
    server: bytes = SERVER
    live: Callable[[Request, Asker], Live] | None = None
    begin: Callable[[Request, Asker], Response | tuple[Live, Any]] | None = None
    tls: ssl.SSLContext | None = None
    sends_in_call: bool = True

    @property
    def call(self) -> Callable[[HttpEndpoint, Request], Response | Stream | End]:
        return call if self.clock is None else timed_call

    def own_fields(self, head: Request, now: float) -> bytes:
        """The lines of the server's own fields that change with time: Date, and Server-Timing where that is wanted."""
        date = self.date(now)
        return date + head.times.field() if self.server_timing and head.times is not None else date

    def whole(self, head: Request, address: Address, trailers: Fields, body: Body | None) -> Request:
        """`head` as a request that is all here, of the peer at `address`, or of the client for whom that speaks."""
        host, port, head.server = address
        scheme = "http" if self.tls is None else "https"
        if self.client is not None:
            host, port, scheme = self.client((host, port, scheme), head)
        head.arrived(trailers, body, host, port, scheme)
        if self.clock is not None and head.times is None:
            head.times = Times(self.clock)
        return head


def store(endpoint: HttpEndpoint, body: Body | None, inbound: Requests, request: Callable[[], Request]) -> None:
    """Keep what has come of a request's body until its call. Raises Refusal."""
    assert body is not None
    try:
        body.write(inbound.body(), last=inbound.complete)
    except OSError as error:  # no descriptor, or no room on the disk, for its temporary file
        endpoint.report(error, request())
        raise Refusal(503, "the body cannot be stored now") from None


class Upgrade:
    """The answer 101: from here on this connection speaks another protocol (RFC 9110, 7.8).

    head     the answer's bytes
    connect  (the HTTP connection, what the peer has said already, now) to its successor
    """

    __slots__ = ("connect", "head")

    def __init__(self, head: bytes, connect: Callable[[Connection, bytes, float], Connection]) -> None:
        self.head = head
        self.connect = connect


Reply: TypeAlias = Response | Stream | Upgrade | Piece | Last | End
"""What a call returns, or says."""


class Call(partial[Response | Stream | End]):
    """`call` with its arguments. Where calls have a time limit, it is asked its name, and to forget its answer."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return title(self.args[1])

    def forget(self, reply: Response | Stream | End | Sign) -> None:
        """It has returned `reply` too late for anybody, or is OVERDUE before it began: close what it has open."""
        endpoint, request = self.args
        forget(reply, endpoint, request)
        request.drop()


def forget(reply: object, endpoint: HttpEndpoint, request: Request) -> None:
    """This answer cannot be sent, or nobody is there to take it: close what it has open."""
    if isinstance(reply, Stream):
        reply.close()
    elif isinstance(reply, Response):
        Pulled(reply, iter(()), endpoint.report, request).close()


def overdue() -> Response:
    """What a client is told whose call takes too long. The call may read the request still, so the connection ends."""
    fields = [_TEXT, ("Connection", "close")]
    return Response(b"The application did not answer in time.\n", status=503, headers=fields)


def call(endpoint: HttpEndpoint, request: Request) -> Response | Stream | End:
    """Call the handler, and pull the first piece of its answer: what fails by then is still a 500."""
    try:
        return settled(endpoint, request, endpoint.handler(request))
    except BaseException as error:  # SystemExit too: one request does not stop a server
        return excuse(endpoint, request, error)


def settled(endpoint: HttpEndpoint, request: Request, response: object) -> Response | Stream:
    """What a handler returned, checked; an iterable with its first piece. Raises AnswerError, and what that raises."""
    if not isinstance(response, Response):
        raise AnswerError(f"a handler returns a Response, not {type(response).__name__}")
    body = response.body
    if isinstance(body, WHOLE):
        if endpoint.sends_in_call or response.close is None or _is_file_of(body, response.close):
            return response
        response, body = _with_length(response, body), (body,)
    try:
        pieces = iter(body)
    except TypeError:
        Pulled(response, iter(()), endpoint.report, request).close()
        raise
    stream = Pulled(_without_body(response), pieces, endpoint.report, request, _is_bound(response, body))
    try:
        stream.begin()
    except BaseException:
        stream.close()
        raise
    return stream


def _with_length(response: Response, body: Piece) -> Response:
    """`response`, whose body goes out as an iterable does, to be closed in the thread of its call after that."""
    response = _without_body(response)
    if all(name.lower() != "content-length" for name, _ in response.headers):
        response.headers = [*response.headers, ("Content-Length", str(len(body)))]
    return response


def _without_body(response: Response) -> Response:
    """A copy: an app may return one object again and again, and its iterable is to end with the stream."""
    copy = Response.__new__(Response)
    copy.body, copy.status, copy.headers = b"", response.status, response.headers
    copy.trailers, copy.close = response.trailers, response.close
    return copy


def _is_bound(response: Response, body: object) -> bool:
    """Whether it takes code of the app to go through `body`, or to close it."""
    if type(body) is not list and type(body) is not tuple:
        return True
    return response.close is not None and not any(_is_file_of(piece, response.close) for piece in body)


def _is_file_of(piece: object, close: Callable[[], object]) -> bool:
    """Whether `close` closes the file that is sent, and nothing else: any thread may do that."""
    return isinstance(piece, FileSlice) and getattr(close, "__self__", None) is piece.file


def excuse(endpoint: HttpEndpoint, request: Request, error: BaseException) -> Response | End:
    """The answer to a request whose call raised `error`."""
    if isinstance(error, ClientGone):
        return End.BROKEN
    if isinstance(error, HttpError):
        text = (error.message or "refused") + "\n"
        return Response(text.encode("utf-8", "replace"), status=error.status, headers=[_TEXT, *error.headers])
    return failed(endpoint, error, request)


def timed_call(endpoint: HttpEndpoint, request: Request) -> Response | Stream | End:
    """The same, and how long it takes."""
    assert request.times is not None
    with request.times:
        return call(endpoint, request)


def failed(endpoint: HttpEndpoint, error: BaseException, request: Request) -> Response:
    endpoint.report(error, request)
    return internal_error()


def internal_error() -> Response:
    return Response(b"Internal Server Error\n", status=500, headers=[_TEXT])
