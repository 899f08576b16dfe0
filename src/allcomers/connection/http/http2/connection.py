"""An HTTP/2 peer (RFC 9113): what it sends, its time, and its end.

`Http2Streams` has the streams, `Http2Responses` what is sent in them, `Http2Requests` the requests and their calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from allcomers.connection import base
from allcomers.connection.base import BODY, CLOSED, CLOSING, IDLE, READ, count_held, run_due
from allcomers.connection.call import Call
from allcomers.connection.http.http2.exchange import StreamExchange
from allcomers.connection.http.http2.requests import Http2Requests
from allcomers.connection.http.http2.responses import Http2Responses
from allcomers.connection.progress import Progress
from allcomers.errors import PeerError, Refusal
from allcomers.protocol.body import UNCOUNTED
from allcomers.protocol.fields import priority
from allcomers.protocol.http2.events import (
    DataReceived,
    PriorityUpdated,
    RequestReceived,
    RequestRefused,
    SessionFailed,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.system.counters import BYTES_OUT, HTTP2_CONNECTIONS, ONE_LESS

if TYPE_CHECKING:
    from allcomers.connection.http.async_call import AsyncCall
    from allcomers.connection.http.endpoint import Taken
    from allcomers.connection.http.exchange import RequestLine
    from allcomers.connection.http.log_record import AccessRecord
    from allcomers.protocol.message import Request


class Http2Connection(Http2Requests, Http2Responses):
    """One client that uses HTTP/2."""

    __slots__ = ("_goaways", "_is_counted", "_leave_at", "_partial", "_sends_now", "_until")

    def __init__(self, before: Any, early: bytes, now: float) -> None:
        super().__init__(before, now)
        self._until = math.inf  # the deadline of the connection itself
        self._partial: Progress | None = None  # of one that has begun, and is not whole
        self._sends_now = False  # in this step: nothing waited before it
        self._goaways = 0  # sent: a notice, then the last stream that is answered
        self._leave_at = math.inf  # when the next of them is due, once the server leaves
        self.since = before.since
        before.replace_with(self, now)
        self.counters.add(HTTP2_CONNECTIONS)
        self._is_counted = True
        ended, self._ended = self._ended, False
        self.opened(early, now)
        if ended:
            self.opened(b"", now)
        if self.leaving:
            self.leaving = False
            self.drain(now)

    def received(self, data: bytes, now: float) -> None:
        """PERF: a piece of a body that more follows changes neither what this wants nor its deadline: no step."""
        is_body = self.phase is BODY and self.wants == READ
        self._receive(data, now)
        has_step = self._session.queue or self._ready or self.codec.pending or self._ended or self.leaving
        if is_body and self.phase is BODY and not has_step and self._look_at >= self.deadline:
            if self._memory() > self._held + UNCOUNTED:  # less is counted with the next step
                count_held(self)
        else:
            self._settle(now)

    def received_and_called(
        self, data: bytes, now: float, run: Callable[[Call], Any], clock: Callable[[], float]
    ) -> float:
        self._sends_now = not self.codec.pending
        return super().received_and_called(data, now, run, clock)

    def opened_and_called(
        self, plain: bytes | PeerError, now: float, run: Callable[[Call], Any], clock: Callable[[], float]
    ) -> float:
        """Do what received_and_called() does, with what opened() takes."""
        self._sends_now = not self.codec.pending
        self._opened(plain, now)
        return run_due(self, now, run, clock)

    def _receive_plain(self, data: bytes, now: float) -> None:
        for event in (events := self._session.receive(data, now)):
            self._act(event, now)
        if not self._session.is_partial:
            self._partial = None
        elif self._partial is not None:
            self._partial.moved += len(data)
        else:
            self._partial = Progress(now, False)
            self._look_at = min(self._look_at, self._partial.deadline)
        if events:
            self.enter_phase(now)

    def _act(self, event: object, now: float) -> None:
        match event:
            case RequestReceived():
                self._requested(event, now)
            case DataReceived():
                self._got_data(event, now)
            case WindowOpened():
                self._resume(event.stream)
            case TrailersReceived():
                self._got_trailers(event, now)
            case StreamReset():
                if (exchange := self._exchanges.get(event.stream)) is not None:
                    self.drop(exchange, now)
            case RequestRefused():
                self._refuse_head(event, now)
            case PriorityUpdated():
                if (exchange := self._exchanges.get(event.stream)) is not None:
                    self._ready.move(exchange, event.urgency, event.incremental)
            case SessionFailed():
                self.give_up(now)
                self.close(now, linger=True)

    # ------------------------------------------------------------ for a driver

    @property
    def is_idle(self) -> bool:
        if self.wants != READ or self.phase is not IDLE or self.leaving or self.endpoint.server_timing:
            return False
        is_sealed, codec = self.endpoint.tls is not None, self.codec
        is_at_rest = self._session.is_at_rest and not self._session.is_partial
        is_ready = is_at_rest and codec.is_clear is not is_sealed and not codec.leads and not codec.ended
        return is_ready and self._idle_for <= self._limits.keep_alive  # as Http1Connection has it

    def adopt(
        self,
        unsent: bytes,
        records: Sequence[AccessRecord] | None,
        request: Taken | None,
        begun: AsyncCall | None,
        received: bytes,
        requested_at: float,
        now: float,
    ) -> None:
        if not (unsent or request):
            return
        self.codec.push(unsent)
        if records:
            self._deliver_adopted(records, now)
        if request is not None:
            self._adopt_call(*request, begun, requested_at)
        if received:
            self._opened(received, now)
        self.enter_phase(now)
        self._settle(now)

    def _adopt_call(
        self, request: Request, line: RequestLine, begun: AsyncCall | None, requested_at: float
    ) -> None:  # fmt: skip
        """Go on with an exchange whose call runs."""
        outlet: Any = self  # it is one
        exchange = StreamExchange(outlet, request, line, requested_at, self._session.reopen_last())
        exchange.complete = exchange.running = True
        exchange.async_call = begun
        if (value := request.value(b"priority")) is not None:
            exchange.urgency, exchange.takes_turns = priority.parse(value)
        if self._limits.request_timeout:
            self._look_at = min(self._look_at, requested_at + self._limits.request_timeout)
        request.driver.exchange = exchange
        self._exchanges[exchange.id] = self.taken = exchange

    def hint(self, links: Iterable[bytes]) -> None:
        self.taken.hint(links)

    # ------------------------------------------------------------ time

    def _settle(self, now: float) -> None:
        if self.phase is not CLOSING and self.phase is not CLOSED:
            if self._ready or self._session.queue:
                self._fill(now)
            if self._sends_now:
                self._send_now(now)
            if self.leaving:
                self._leave(now)
        self.enter_phase(now)
        super()._settle(now)
        self._until = self.deadline
        self.deadline = min(self._until, self._look_at, self._leave_at)
        if not self._held and self._memory() > UNCOUNTED:
            count_held(self)
        if self.phase is CLOSED and self._is_counted:
            self._is_counted = False
            self.counters.add(HTTP2_CONNECTIONS, ONE_LESS)

    def _send_now(self, now: float) -> None:
        """Send what answers the bytes just read, and queue more in its place.

        PERF: `wants` and the deadline are decided once for a small request that comes alone, not twice.
        """
        self._sends_now = False
        codec, driver = self.codec, self.driver
        if not codec.pending or driver is None:
            return
        segment: Any = codec.output()  # never a file: each frame was read
        if count := driver.send_now(bytes(segment)):
            codec.sent(count)
            self.counters.add(BYTES_OUT, count)
            if self._ready:
                self._fill(now)

    def _settle_end(self, now: float) -> None:
        self.give_up(now)  # what waits for the peer, which has closed
        super()._settle_end(now)

    def _end_writing(self, now: float) -> None:
        self._progress = None  # each exchange has one of its own

    def expired(self, now: float, held: int = 0) -> None:
        if now >= self._look_at:
            self._look_at = math.inf
            for exchange in list(self._exchanges.values()):
                if not exchange.over:
                    self._look_at = min(self._look_at, self._expire_exchange(exchange, now))
            self._look_at = min(self._look_at, self._expire_partial(now))
        if now >= self._until:
            super().expired(now, held)
        else:
            self._settle(now)

    def _expire_exchange(self, exchange: StreamExchange, now: float) -> float:
        """End an exchange whose time is over. Return when it is to be looked at next."""
        if exchange.tunnel is not None:
            if now >= exchange.tunnel.conn.deadline:
                exchange.tunnel.conn.expired(now)
            self.flow(exchange, now)
            return exchange.tunnel.conn.deadline if exchange.tunnel is not None else math.inf
        until = exchange.started + self._limits.request_timeout if self._limits.request_timeout else math.inf
        if now >= until:
            self._end_late(exchange, now)
            return math.inf
        if (progress := exchange.progress) is None:
            return until
        if now >= progress.deadline:
            if self._session.room(exchange.id) > 0 if progress.writing else self._partial is not None:
                progress.pause(now, 0.0)  # it waits for others, or the socket; or a frame comes, at a rate of its own
            elif not progress.keeps(self._limits.min_rate, now, 0):
                self._end_late(exchange, now)
                return math.inf
        return min(until, progress.deadline)

    def _end_late(self, exchange: StreamExchange, now: float) -> None:
        """End an exchange that takes too long (--request-timeout), or of which too little comes or goes."""
        if exchange.response_body is not None or exchange.record is not None:
            self._session.reset(exchange.id, ErrorCode.CANCEL)
            self.drop(exchange, now)
        elif exchange.complete:
            self.refuse(exchange, Refusal(503, "the application did not answer in time"), now)
        else:
            self.refuse(exchange, Refusal(408, "the request did not come in time"), now)

    def _expire_partial(self, now: float) -> float:
        """End a peer of which a frame comes too slowly. Return when it is to be looked at next."""
        if self._partial is None:
            return math.inf
        if now >= self._partial.deadline and not self._partial.keeps(self._limits.min_rate, now, 0):
            self._fail(now)
            return math.inf
        return self._partial.deadline

    def _expire(self, now: float) -> None:
        if self.codec.pending or self.phase is not IDLE:
            self.lost(now)
        else:
            self._session.goaway()
            self._push()
            self.close(now)

    # ------------------------------------------------------------ the end of the connection

    def drain(self, now: float, patience: float = base.FAREWELL) -> None:
        if patience == base.FAREWELL:  # not where others wait for the place
            for exchange in list(self._exchanges.values()):
                exchange.drain(now)
                self.flow(exchange, now)
        super().drain(now, patience)

    def _leave(self, now: float) -> None:
        """Send what is due of the two GOAWAYs (RFC 9113, 6.8), once the server leaves; close behind the last response.

        The first waits for a moment without requests, though not for long: the package h2 takes no frame after it, and
        the clients that are built on it would lose what is on its way.
        """
        if not self.leaving:
            return
        if self._goaways == 0:
            self._leave_at = self._left + self._farewell if self._exchanges else now
        if now >= self._leave_at and self._goaways < 2:
            self._goaways += 1
            if self._goaways == 1:
                self._session.notice()
            else:
                self._session.goaway()
            self._push()
            self._leave_at = now + self._farewell if self._goaways == 1 else math.inf
        if self._goaways == 2 and not self._exchanges:
            self.close(now)

    def give_up(self, now: float) -> None:
        """End all exchanges: the peer has broken the protocol, or is gone."""
        for exchange in list(self._exchanges.values()):
            self.drop(exchange, now)
        self._push()

    def lost(self, now: float) -> None:
        try:
            if self.phase is not CLOSED:
                self.give_up(now)
                self._finish_undelivered(now)
        finally:
            super().lost(now)

    def cut(self, now: float) -> None:
        if self.codec.pending:
            self.lost(now)
        else:
            self._fail(now)
            self._settle(now)

    def _fail(self, now: float) -> None:
        """End a peer that is too slow, or holds too much, and report that."""
        self._session.goaway(ErrorCode.ENHANCE_YOUR_CALM)
        self.give_up(now)
        self.close(now, linger=True)
