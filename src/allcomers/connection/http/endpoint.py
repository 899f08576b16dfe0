"""What the HTTP connections of a server share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from allcomers.config.limits import Limits
from allcomers.connection.base import Address
from allcomers.connection.http.async_call import Asker, AsyncCall, Upgrade
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, StreamingBody
from allcomers.connection.http.response_head import SERVER
from allcomers.errors import Refusal
from allcomers.protocol.head import Fields
from allcomers.protocol.http1 import Requests
from allcomers.protocol.message import Body, Handler, Piece, Request, Response
from allcomers.protocol.timing import Times
from allcomers.system.counters import CounterRow

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


class Log(Protocol):
    """Where answers are noted: an AccessLog."""

    def log(self, entry: Entry) -> None: ...


class HttpEndpoint(NamedTuple):
    """What all HTTP connections of a server share.

    handler  Request to Response
    async_call     a request's head and its connection to the AsyncCall that answers it; None where `handler` does
    begin    has a AsyncCall start: gives its answer, if that is whole at once, or the AsyncCall and what it says first
    date     now to the Date field's line, with its CRLF
    wall     seconds since the epoch: the access log's clock
    report   called with an app's exception and the request that met it
    counters     where what is done is counted
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
    counters: CounterRow
    log: Log | None = None
    client: Callable[[Origin, RequestHead], Origin] | None = None
    clock: Callable[[], float] | None = None
    server_timing: bool = False
    server: bytes = SERVER
    async_call: Callable[[Request, Asker], AsyncCall] | None = None
    begin: Callable[[Request, Asker], Response | tuple[AsyncCall, Any]] | None = None
    tls: ssl.SSLContext | None = None
    sends_in_call: bool = True

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


Reply: TypeAlias = Response | StreamingBody | Upgrade | Piece | FinalPiece | EndOfBody
"""What a call returns, or says."""
