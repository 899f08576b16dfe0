"""One exchange of an HTTP/2 connection, and what waits in its stream (RFC 9113, 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from allcomers.connection.http.exchange import Exchange, StepCall
from allcomers.connection.http.http2.driver import StreamDriver
from allcomers.errors import ClientGone, PeerError
from allcomers.protocol.message import FileSlice, Segment

if TYPE_CHECKING:
    from allcomers.connection.call import PartialResponse
    from allcomers.connection.http.exchange import Outlet, RequestLine
    from allcomers.connection.http.handler_call import HandlerCall
    from allcomers.connection.http.http2.tunnel import Tunnel
    from allcomers.connection.http.log_record import AccessRecord
    from allcomers.connection.progress import Progress
    from allcomers.protocol.head import Fields
    from allcomers.protocol.message import Request


class StreamExchange(Exchange):
    """An exchange beside others of its connection.

    id          int: the stream's
    complete    bool: the request has come whole
    trailers    the fields that came behind its body
    unconsumed  int: bytes of its body that the call has not consumed, so that the peer's windows are shut
    shut        int: bytes that are stored, and for which the window of this stream is shut, not that of the connection
    stored      int: bytes of its body that are kept for a handler
    segments    of the response's body, which no frame has yet; `waiting` is their size, `memory` without files
    trailer     the block of fields behind them, b"" for none; None as long as more of the body may follow
    parts       to be notified when no segment is left
    waits       bool: the next step is due when no segment is left
    record      of the response, once all of it is here: its status and the AccessRecord, if any
    progress    of the body, while it is awaited; of the response, while the peer opens no window; else None
    tunnel      the connection of another protocol, once that was accepted
    urgency, takes_turns, is_ready  as the scheduler has them
    over        bool: the stream is closed, and nothing more of it is sent
    is_whole    bool: the response has all that its head promises
    ended       bool: the end of its body was sent
    """

    __slots__ = (
        "complete",
        "ended",
        "id",
        "is_ready",
        "is_whole",
        "memory",
        "over",
        "parts",
        "progress",
        "record",
        "segments",
        "shut",
        "stored",
        "takes_turns",
        "trailer",
        "trailers",
        "tunnel",
        "unconsumed",
        "urgency",
        "waiting",
        "waits",
    )  # fmt: skip

    def __init__(self, outlet: Outlet, request: Request, line: RequestLine, started: float, stream: int) -> None:
        super().__init__(outlet, request, line, started)
        self.id = stream
        self.complete = self.ended = self.over = self.waits = self.is_ready = False
        self.is_whole = self.takes_turns = True
        self.urgency = 3
        self.trailers: Fields = []
        self.unconsumed = self.shut = self.stored = self.waiting = self.memory = 0
        self.segments: list[Segment] = []
        self.trailer: bytes | None = None
        self.parts: list[PartialResponse] = []
        self.record: tuple[int, AccessRecord | None] | None = None
        self.progress: Progress | None = None
        self.tunnel: Tunnel | None = None

    # ------------------------------------------------------------ as Exchange has them

    def take(self) -> HandlerCall | StepCall:
        call = super().take()
        if (driver := self.request.driver) is not None and type(driver) is not StreamDriver:
            self.request.driver = StreamDriver(driver, self)
        return call

    @property
    def is_awaited(self) -> bool:
        driver = self.request.driver
        return self.running and not self.over and not (driver and driver.disconnected(both=True))

    def drain(self, now: float) -> None:
        if self.tunnel is not None:
            self.tunnel.conn.drain(now)
        else:
            super().drain(now)

    @property
    def ahead(self) -> int:
        """The bytes received that an app which runs has not consumed."""
        if self.tunnel is not None:
            return self.tunnel.ahead
        return self.async_call.ahead if self.async_call is not None else 0

    # ------------------------------------------------------------ what waits to be framed

    def put(self, segments: Iterable[Segment]) -> int:
        """Add segments behind the others. Return the bytes of memory that they take."""
        before = self.memory
        for segment in segments:
            if segment:
                self.segments.append(segment)
                self.waiting += len(segment)
                self.memory += 0 if isinstance(segment, FileSlice) else len(segment)
        return self.memory - before

    def take_bytes(self, most: int) -> bytes | memoryview:
        """Take up to `most` bytes off the segments. Raises OSError, and PeerError where a file became shorter."""
        pieces: list[bytes | memoryview] = []
        while self.segments and most:
            segment = self.segments[0]
            if isinstance(segment, FileSlice):
                piece: bytes | memoryview = segment.read(most)
                if not piece:
                    raise PeerError("a file became shorter while it was sent")
                segment.skip(len(piece))
            elif len(segment) <= most:
                piece, segment = segment, b""
            else:
                segment = memoryview(segment)  # PERF: no copy; output() joins them
                piece, segment = segment[:most], segment[most:]
            size = len(piece)
            self.waiting -= size
            most -= size
            pieces.append(piece)
            if not isinstance(segment, FileSlice):
                self.memory -= size
            self.segments[0] = segment
            if not segment:
                del self.segments[0]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end_parts(self) -> None:
        """Report to the call, which runs on, that its client takes no more."""
        parts, self.parts = self.parts, []
        for part in parts:
            part.end(ClientGone("the client has gone"))

    def part_with_call(self) -> None:
        """Forget what the call had of this, and that this has of it: circles are garbage for the collector alone."""
        request = self.request
        if isinstance(request.driver, StreamDriver):
            request.driver = None
        request.outflow = None
