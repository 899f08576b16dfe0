"""What the HTTP connections of a server share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from allcomers.config.limits import Limits
from allcomers.connection.call import Address
from allcomers.connection.http.async_call import Asker, AsyncCall, Upgrade
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, GatheredBody, StreamingBody
from allcomers.protocol.body import Body
from allcomers.protocol.encode import SERVER
from allcomers.protocol.head import Fields
from allcomers.protocol.message import Handler, Piece, Request, Response
from allcomers.protocol.timing import Times
from allcomers.system.counters import CounterRow
from allcomers.system.memory.ledger import Ledger

if TYPE_CHECKING:
    import ssl

    from allcomers.config.log_format import Entry
    from allcomers.protocol.proxy.forwarded import Proxies

Begun: TypeAlias = Response | GatheredBody | tuple[AsyncCall, Any]
"""A call that has been started: its response, where that is whole at once; else its AsyncCall and its first reply."""

Begin: TypeAlias = Callable[[Request, Asker], Begun]
"""Starts a call."""

Taken: TypeAlias = tuple[Request, tuple[str, str, str]]
"""A request whose call a driver runs itself; its method, target and version as they came, whatever the app makes of
them."""

SKIP: Final = 256 * 1024
"""Bytes of a body that nobody wants that are received and dropped; of a longer one, closing costs less."""


class Log(Protocol):
    """The log of responses: an AccessLog."""

    def log(self, entry: Entry) -> None: ...


class HttpEndpoint(NamedTuple):
    """What all HTTP connections of a server share.

    handler        Request to Response
    async_call     a request's head and its Asker to the AsyncCall that responds; None where `handler` does, for all
                   requests or for this one
    begin          starts an AsyncCall
    date           now to the Date field's line, with its CRLF
    wall           seconds since the epoch: the access log's clock
    report         called with an app's exception and the request that met it; returns a response for its client to see
                   instead of the usual 500, or None
    counters       counts what is done
    ledger         counts what is held
    log            has a line for each response, or None
    proxies        those that are trusted, which report clients; None where none is
    clock          seconds, for the phases of a request; None where nobody wants these
    server_timing  bool: send clients the phases; needs `clock`
    server         the Server field's line, with its CRLF; b"" for none
    tls            None for plain HTTP
    sends_in_call  bool: the thread that runs a call sends its response, and closes it
    gathers        bool: pieces that a handler's iterable gives without a wait may go out together
    http2          (an HTTP/1 connection whose first bytes are HTTP/2's preface, these, now) to its successor, which it
                   replaces itself with; None where only HTTP/1 is spoken
    """

    handler: Handler
    limits: Limits
    date: Callable[[float], bytes]
    wall: Callable[[], float]
    report: Callable[[BaseException, Request], Response | None]
    counters: CounterRow
    ledger: Ledger
    log: Log | None = None
    proxies: Proxies | None = None
    clock: Callable[[], float] | None = None
    server_timing: bool = False
    server: bytes = SERVER
    async_call: Callable[[Request, Asker], AsyncCall | None] | None = None
    begin: Begin | None = None
    tls: ssl.SSLContext | None = None
    sends_in_call: bool = True
    gathers: bool = True
    http2: Callable[[Any, bytes, float], object] | None = None

    def own_fields(self, head: Request, now: float) -> bytes:
        """Return the lines of our own fields that change with time: Date, and Server-Timing where that is wanted."""
        date = self.date(now)
        return date + head.times.field() if self.server_timing and head.times is not None else date

    def whole(self, head: Request, address: Address, trailers: Fields, body: Body | None) -> Request:
        """Make `head` a whole request of the peer at `address`, or of the client behind that."""
        host, port, head.server = address
        scheme = "http" if self.tls is None else "https"
        if self.proxies is not None:
            host, port, scheme = self.proxies.client((host, port, scheme), head)
        head.arrived(trailers, body, host, port, scheme)
        if self.clock is not None and head.times is None:
            head.times = Times(self.clock)
        return head


Reply: TypeAlias = Response | StreamingBody | Upgrade | Piece | FinalPiece | EndOfBody
"""What a call returns, or sends to its driver."""
