"""An HTTP/1.1 peer: its requests in order, one call each, the responses in the same order (RFC 9112).

`Http1Requests` reads the requests. Here their responses are framed and queued, and a connection ends. Of a response
that is an iterable, a piece is pulled when the one before has gone out; or its call gives them, as parts, from a thread
of its own (calls/producer.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from allcomers.connection import base
from allcomers.connection.base import BODY, CALLED, CLOSED, DUE, HEAD, IDLE
from allcomers.connection.call import PartialResponse
from allcomers.connection.codec import JOIN
from allcomers.connection.http.async_call import Upgrade
from allcomers.connection.http.endpoint import SKIP
from allcomers.connection.http.exchange import Exchange
from allcomers.connection.http.http1_requests import Http1Requests
from allcomers.connection.http.log_record import GONE, AccessRecord
from allcomers.connection.http.response_body import WHOLE, StreamingBody, cut
from allcomers.connection.http.response_head import Plan, hints, plan, refused
from allcomers.errors import Refusal
from allcomers.protocol.head import Fields
from allcomers.protocol.message import Request, Response, Segment
from allcomers.system.counters import REQUESTS

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
        complete = self._reader.complete
        size = len(body)
        block, most, _, persists = self._plan(exchange, response, size, complete, now)
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
        persists = request.persists and (self._reader.buffer != b"" or not (self._ended or self._leaving))
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
        self._exchange = None
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
            exchange.leave()
            exchange.drop_body()
        head, body = refused(refusal, self.endpoint.date(now), self.endpoint.server)
        self.codec.push(head + body)
        self._deliver_later(refusal.status, started, None, now)
        self._log_aborted(request, line, refusal.status, len(body), started, (), now)
        if exchange is not None and not exchange.running:
            self._exchange = None
        self.close(now, linger=True)

    def drain(self, now: float, patience: float = base.FAREWELL) -> None:
        exchange = self._exchange
        is_async = exchange is not None and exchange.async_call is not None
        if is_async and patience == base.FAREWELL:  # not where others wait for the place
            assert exchange is not None and exchange.async_call is not None  # noqa: PT018
            exchange.async_call.drain()
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
        if self.phase is not CLOSED:
            if exchange is not None:
                self._log_lost(exchange, now)
            self._finish_undelivered(now)
            if exchange is not None:
                exchange.leave()
        if exchange is not None and not exchange.running:
            exchange.drop_body()
        super().lost(now)

    def _log_lost(self, exchange: Exchange, now: float) -> None:
        """Log the response that was on its way, or that there is none."""
        line, started = exchange.request_line, exchange.started
        if (body := exchange.response_body) is not None:
            response = body.response
            self._log_aborted(exchange.whole(), line, response.status, body.sent, started, response.headers, now)
        elif self.phase in (BODY, DUE, CALLED):
            self._log_aborted(exchange.whole(), line, GONE, 0, started, (), now)
