"""An HTTP/1.1 peer: its requests in order, one call each, the responses in the same order (RFC 9112).

`Http1Requests` reads the requests. Here their responses are framed and queued, and a connection ends. Of a response
that is an iterable, a piece is pulled when the one before has gone out; or its call gives them, as parts, from a thread
of its own (calls/outflow.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, Final

from allcomers.connection import base
from allcomers.connection.base import BODY, CALLED, CLOSED, CLOSING, DUE, HEAD, IDLE
from allcomers.connection.call import TIMED_OUT, PartialResponse
from allcomers.connection.codec import JOIN
from allcomers.connection.http.async_call import Upgrade
from allcomers.connection.http.endpoint import SKIP
from allcomers.connection.http.exchange import Exchange
from allcomers.connection.http.handler_call import report_length
from allcomers.connection.http.http1_requests import Http1Requests
from allcomers.connection.http.log_record import GONE, AccessRecord
from allcomers.connection.http.response_body import WHOLE, StreamingBody, cut
from allcomers.connection.http.response_head import Plan, hints, plan, refused
from allcomers.errors import Refusal
from allcomers.protocol.body import FULL
from allcomers.protocol.head import Fields
from allcomers.protocol.message import FileSlice, Request, Response, Segment, title
from allcomers.system.counters import REQUESTS

_logger = logging.getLogger("allcomers.calls")

PREFACE_LINE: Final = b"PRI * HTTP/2.0\r\n"
"""The first line of what an HTTP/2 client begins with."""

_NOTHING: Final = ("", "", "1.1")
"""The request line of a request that was not understood."""


class Http1Connection(Http1Requests):
    """One client that uses HTTP/1.0 or HTTP/1.1: the Outlet of one Exchange at a time."""

    __slots__ = ()

    # ------------------------------------------------------------ the Outlet

    def due(self, exchange: Exchange) -> None:
        self.phase = DUE

    def trailers(self, exchange: Exchange) -> Fields:
        return self._reader.trailers

    def respond(self, exchange: Exchange, response: Response, now: float) -> None:
        body = response.body
        assert isinstance(body, WHOLE)
        if isinstance(body, FileSlice):
            body.check()
        complete = self._reader.complete
        size = len(body)
        block, most, _, persists = self._plan(exchange, response, size, complete, now)
        if size != most:
            report_length(exchange, response, most, size)
        if size > most:
            size = len(body := cut(body, most))
        if size <= JOIN and isinstance(body, bytes):
            self.codec.push(block + body)
        else:
            self.codec.push(block)
            self.codec.push(body)
        self._finish(exchange, response, size, persists and size == most, complete, now)

    def begin(self, exchange: Exchange, body: StreamingBody, now: float) -> None:
        planned = self._plan(exchange, body.response, None, self._reader.complete, now)
        block, body.most, body.chunked, body.persists = planned
        self.codec.push(block)

    def send(self, exchange: Exchange, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self.codec.push(segment)

    def send_tail(self, exchange: Exchange, body: StreamingBody) -> None:
        self.codec.push(body.tail(exchange.request, self.endpoint.report))

    def notify(self, exchange: Exchange, part: PartialResponse, now: float) -> None:
        self._deliver_later(None, 0.0, part, now)

    def end(self, exchange: Exchange, body: StreamingBody, is_whole: bool, now: float) -> None:
        persists = body.persists and is_whole
        self._finish(exchange, body.response, body.sent, persists, self._reader.complete, now)

    def inform(self, exchange: Exchange, links: Iterable[bytes]) -> None:
        has_room = self.codec.unsent < base.HIGH_WATER  # an app may hint without end
        is_open = self.phase is CALLED and exchange.response_body is None
        if is_open and has_room and exchange.request_line[2] == "1.1":
            self.codec.push(hints(links))

    def upgrade(self, exchange: Exchange, upgrade: Upgrade, now: float) -> None:
        self.codec.push(upgrade.head)
        record = None
        if self.endpoint.log is not None:
            record = AccessRecord(exchange.request, exchange.request_line, 101, 0, exchange.started)
        self._deliver_later(101, exchange.started, record, now)
        early, self._reader.buffer = self._reader.buffer, b""
        self._exchange = exchange.async_call = None
        upgrade.connect(self, early, now)  # which calls replace_with()

    def abort(self, exchange: Exchange, now: float) -> None:
        self.lost(now)

    def _plan(self, exchange: Exchange, response: Response, size: int | None, complete: bool, now: float) -> Plan:
        request, endpoint = exchange.request, self.endpoint
        persists = request.persists and (self._reader.buffer != b"" or not (self._ended or self.leaving))
        persists = persists and self.served + 1 < self._limits.max_requests
        if not complete:  # as in _finish; the body of a stream may yet be received to its end
            persists = persists and not request.expects and (size is None or (request.length or 0) <= SKIP)
        own = endpoint.own_fields(request, now)
        return plan(exchange.request_line, response, size, persists, own, endpoint.server)

    def _finish(
        self, exchange: Exchange, response: Response, size: int, persists: bool, complete: bool, now: float
    ) -> None:
        """Go on to the next request: the response is queued whole, with a body of `size` bytes."""
        request = exchange.request
        record = None
        if self.endpoint.log is not None or response.close is not None:
            line, started, fields = exchange.request_line, exchange.started, response.headers
            record = AccessRecord(request, line, response.status, size, started, fields, response.close)
        self._exchange = exchange if exchange.running else None  # its call runs on: as in lost()
        self._deliver_later(response.status, exchange.started, record, now)
        self._idle_for = self._limits.keep_alive
        if exchange.async_call is not None:
            exchange.async_call = None  # as in Exchange.leave()
            if request.times is not None:
                request.times.end(now)  # not when this is reached: the app's time is a part of the whole
        if exchange.body is not None:
            exchange.drop_body()
        if not persists or (not complete and (request.expects or (request.length or 0) > SKIP)):
            # A client that did not expect the end may have sent more: it must read the response, not a reset.
            self.close(now, linger=request.persists or self._reader.buffer != b"")
        elif complete:
            self._next_request(now)
        else:
            self._unwanted = SKIP
            self.enter(BODY, now)
            self._skip(now)

    # ------------------------------------------------------------ refusals and ends

    def _refuse(self, refusal: Refusal, now: float) -> None:
        exchange = self._exchange
        if exchange is None and self._speaks_http2(now):
            return
        if exchange is not None and exchange.response_body is not None:  # its response is on its way already
            self.lost(now)
            return
        if exchange is None and self.phase is BODY:  # what it requested is answered
            self.close(now, linger=True)
            return
        request: Request | None = None
        line, started = _NOTHING, self._started
        if exchange is None:
            self.counters.add(REQUESTS)  # a request that is refused before it is whole counts, too
        else:
            request, line, started = exchange.whole(), exchange.request_line, exchange.started
            is_running = exchange.running and exchange.async_call is None
            exchange.leave()
            if not is_running:  # else the call reads its body, and its result drops it
                exchange.drop_body()
                self._exchange = None  # as in lost()
        is_bare = self._reader.is_head_request if exchange is None else line[0] == "HEAD"
        head, body = refused(refusal, self.endpoint.date(now), self.endpoint.server, is_bare)
        self.codec.push(head + body)
        self._deliver_later(refusal.status, started, None, now)
        self._log_aborted(request, line, refusal.status, len(body), started, (), now)
        self.close(now, linger=True)

    def _speaks_http2(self, now: float) -> bool:
        """Give way to a connection of HTTP/2 if that is what the client has begun (RFC 9113, 3.4). Return whether it
        has."""
        early, connect = self._reader.buffer, self.endpoint.http2
        if connect is None or self.served or not early.startswith(PREFACE_LINE):
            return False
        self._reader.buffer = b""
        connect(self, early, now)
        return True

    def drain(self, now: float, patience: float = base.FAREWELL) -> None:
        if self._exchange is not None and patience == base.FAREWELL:  # not where others wait for the place
            self._exchange.drain(now)
            self._settle(now)
        super().drain(now, patience)

    def _expire(self, now: float) -> None:
        is_writing = self.codec.pending
        if not is_writing and (self.phase in (HEAD, BODY) or self._awaits_body):
            self._refuse(Refusal(408, "the request did not come in time"), now)
        elif not is_writing and self.phase is IDLE and self.codec.ready:
            self.close(now)
        else:
            self.lost(now)

    def lost(self, now: float) -> None:
        exchange = self._exchange
        is_async = exchange is not None and exchange.async_call is not None
        try:
            if self.phase is not CLOSED:
                if exchange is not None:
                    self._log_lost(exchange, now)
                self._finish_undelivered(now)
                if exchange is not None:
                    exchange.leave()
        finally:
            if exchange is not None and (is_async or not exchange.running):
                exchange.drop_body()
                if exchange.response_body is None:  # else close_call() closes that first
                    self._exchange = None  # a circle is garbage for the collector alone: with TLS, 30 KB of it
            super().lost(now)

    def cut(self, now: float) -> None:
        exchange = self._exchange
        has_begun = exchange is not None and exchange.response_body is not None
        if self.codec.pending or has_begun or self._reader.complete:
            self.lost(now)
        else:
            self._refuse(Refusal(503, FULL), now)
            self._settle(now)

    def _log_lost(self, exchange: Exchange, now: float) -> None:
        """Log the response that was on its way, or that there is none."""
        line, started = exchange.request_line, exchange.started
        if (body := exchange.response_body) is not None:
            response = body.response
            self._log_aborted(exchange.whole(), line, response.status, body.sent, started, response.headers, now)
        elif self.phase in (BODY, DUE, CALLED):
            self._log_aborted(exchange.whole(), line, GONE, 0, started, (), now)


class PlainBesideTls(Http1Connection):
    """One without TLS at a server that has it, whose fast path is made for that."""

    __slots__ = ()

    @property
    def is_idle(self) -> bool:
        return False


class BeforeHttp2(Http1Connection):
    """A client that must speak HTTP/2, before it has shown that it does (--http 2)."""

    __slots__ = ()

    @property
    def is_idle(self) -> bool:
        return False

    def _read_head(self, now: float) -> None:
        if self._reader.buffer[: len(PREFACE_LINE)] != PREFACE_LINE[: len(self._reader.buffer)]:
            raise Refusal(505, "only HTTP/2 is spoken here")
        super()._read_head(now)


class TimedHttp1Connection(Http1Connection):
    """An Http1Connection with limits.request_timeout: from the first byte of a request to the last of its response.

    A class of its own, so that a server without that limit has nothing of it in its way.

    A request that has not come whole by then gets 408; one whose response has not begun, 503; a response that has
    begun is cut off.
    """

    __slots__ = ()

    @property
    def request_deadline(self) -> float:
        started = math.inf
        for _, status, requested_at, _ in self._deliveries or ():
            if status is not None:
                started = requested_at
                break
        if self._exchange is not None and self.phase not in (CLOSING, CLOSED):
            started = min(started, self._exchange.started)
        elif self.phase is HEAD:
            started = min(started, self._started)
        return started + self._limits.request_timeout

    def _settle(self, now: float) -> None:
        super()._settle(now)
        self.deadline = min(self.deadline, self.request_deadline)

    def expired(self, now: float, held: int = 0) -> None:
        if now < self.request_deadline:
            super().expired(now, held)
        else:
            self._end_request(now)
            self._settle(now)

    def _answered(self, call: object, reply: Any, now: float) -> None:
        if reply is TIMED_OUT and self.phase is CALLED and now >= self.request_deadline:
            self._log_late()
        super()._answered(call, reply, now)

    def _end_request(self, now: float) -> None:
        """End the request that has taken too long."""
        exchange = self._exchange
        if self.codec.pending or self.stream is not None:  # its response has begun
            if exchange is not None:
                self._log_late()
            self.lost(now)
        elif self.phase in (DUE, CALLED) and exchange is not None and self._reader.complete:
            self._log_late()
            self._refuse(Refusal(503, "the application did not answer in time"), now)
        else:
            self._refuse(Refusal(408, "the request did not come in time"), now)

    def _log_late(self) -> None:
        assert self._exchange is not None
        text = "%s: after %g s (--request-timeout) its response is not whole"
        _logger.warning(text, title(self._exchange.whole()), self._limits.request_timeout)
