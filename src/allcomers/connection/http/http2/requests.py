"""The requests of an HTTP/2 peer, and their calls, of which several may run at once (RFC 9113, 8.1)."""

from __future__ import annotations

from typing import Any, Final

from allcomers.connection.base import CALL, CALLED, DUE, HIGH_WATER, PATIENCE, RUNNING
from allcomers.connection.call import Call
from allcomers.connection.http.exchange import StepCall
from allcomers.connection.http.http2.exchange import StreamExchange
from allcomers.connection.http.http2.head import head
from allcomers.connection.http.http2.streams import Http2Streams
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import Refusal
from allcomers.protocol.body import FULL, Body
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import DataReceived, RequestReceived, RequestRefused, TrailersReceived
from allcomers.protocol.message import Response
from allcomers.system.counters import REQUESTS
from allcomers.system.memory.ledger import RETRY_AFTER

_NOTHING: Final = ("", "", "2.0")
"""The request line of a request that was not understood."""


class Http2Requests(Http2Streams):
    """The part of an Http2Connection that gets requests, and has their calls run."""

    __slots__ = ()

    def _requested(self, event: RequestReceived, now: float) -> None:
        """Begin an exchange."""
        request, stream = event.head.request(), event.stream
        line = (request.method, request.target, "2.0")
        outlet: Any = self  # Http2Connection is one
        exchange = self._exchanges[stream] = StreamExchange(outlet, request, line, now, stream)
        exchange.complete = event.complete
        if event.head.has_priority:
            exchange.urgency, exchange.takes_turns = event.head.priority
        if event.head.protocol:
            request.upgrades, request.method = event.head.protocol == "websocket", "GET"  # as HTTP/1 has it
        else:
            request.chunked = not event.complete and request.length is None  # its length is known at its end
        self.counters.add(REQUESTS)
        limits = self._limits
        if self.served + len(self._exchanges) >= limits.max_requests:
            self.leaving, self._left, self._farewell = True, now, PATIENCE  # as in drain()
        if limits.request_timeout:
            self._look_at = min(self._look_at, now + limits.request_timeout)
        if self._ledger.refuses():
            self.refuse(exchange, Refusal(503, FULL), now)
        elif event.head.protocol not in ("", "websocket"):
            self.refuse(exchange, Refusal(501, "this protocol is not spoken here"), now)
        elif (self.endpoint.async_call is not None and exchange.open_async(self.endpoint.async_call)) or event.complete:
            self._due.append(exchange)
        elif event.head.protocol:
            self.refuse(exchange, Refusal(501, "no WebSocket is spoken here"), now)
        else:
            exchange.body = Body()
            if request.expects:
                self._session.inform(stream, blocks.status_block(100))
            self._await_body(exchange, now)

    def _got_data(self, event: DataReceived, now: float) -> None:
        """Take a piece of a body."""
        exchange = self._exchanges.get(event.stream)
        if exchange is None or exchange.over:
            return
        exchange.complete = event.complete
        exchange.unconsumed += len(event.data)
        self._bodies += len(event.data)
        if exchange.progress is not None and not exchange.progress.writing:
            exchange.progress.moved += len(event.data)
        if exchange.tunnel is not None:
            exchange.tunnel.receive(event.data, event.complete, now)
            self.flow(exchange, now)
            self._open_window(exchange)
        elif exchange.async_call is not None:
            exchange.feed(event.data, event.complete, now)
            self._open_window(exchange)
        elif exchange.body is not None:
            self._store(exchange, event.data, now)
        else:  # its response is here already
            self._open_window(exchange)

    def _got_trailers(self, event: TrailersReceived, now: float) -> None:
        """Take the fields behind a body."""
        exchange = self._exchanges.get(event.stream)
        if exchange is not None:
            exchange.trailers = event.fields
            self._got_data(DataReceived(event.stream, b"", True), now)

    def _store(self, exchange: StreamExchange, data: bytes, now: float) -> None:
        """Keep a piece of the body of a handler, which is called when that is whole."""
        assert exchange.body is not None
        size = exchange.body.size + len(data)
        try:
            if size > self._limits.max_body:
                raise Refusal(413, f"the body is larger than {self._limits.max_body} bytes")
            exchange.store(data, exchange.complete)
        except Refusal as refusal:
            self.refuse(exchange, refusal, now)
            return
        self._stored += len(data)
        exchange.stored += len(data)
        exchange.unconsumed -= len(data)
        self._bodies -= len(data)
        is_crowded = self._stored > self._limits.max_body
        self._session.consumed(exchange.id, len(data), shut=is_crowded)
        if exchange.complete:
            exchange.progress = None
            self._due.append(exchange)
        elif is_crowded:
            exchange.shut += len(data)
            self._open_windows()

    def _receive_end(self, now: float) -> None:
        for exchange in list(self._exchanges.values()):
            if not exchange.complete:
                self.drop(exchange, now)
                continue
            if exchange.async_call is not None:
                exchange.async_call.end()
            if exchange.segments:
                self._ready.add(exchange)  # perhaps it waits for a window that nobody opens now

    def refuse(self, exchange: StreamExchange, refusal: Refusal, now: float) -> None:
        """Respond to a request that is not served."""
        exchange.whole()
        exchange.leave()
        self._withdraw(exchange)
        self.respond(exchange, _response_of(refusal), now)

    def _refuse_head(self, event: RequestRefused, now: float) -> None:
        """Respond to a request whose head is refused."""
        response = _response_of(event.refusal)
        assert isinstance(response.body, bytes)
        endpoint, session, stream = self.endpoint, self._session, event.stream
        block, most = head(event.method, response, len(response.body), endpoint.date(now), endpoint.server)
        if not session.answer(stream, block, response.body[:most]):  # its windows are shut
            session.respond(stream, block)
        session.reset(stream)
        self._push()
        self.counters.add(REQUESTS)
        self._deliver_later(response.status, now, None, now)
        self._log_aborted(None, _NOTHING, response.status, most, now, (), now)

    # ------------------------------------------------------------ calls

    def take_call(self) -> Call:
        call = self._take_call()
        self.wants = self.wants | RUNNING if self._due else self.wants & ~CALL | RUNNING
        return call

    def _take_call(self) -> Call:
        exchange = self._due.pop(0)
        call: Call
        if exchange.over:  # what it has open is closed where calls run
            body, exchange.response_body = exchange.response_body, None
            assert body is not None
            call = StepCall(body.close)
            call.exchange, exchange.running = exchange, True
        elif exchange.tunnel is not None:
            call = StepCall(exchange.tunnel.conn.take_call())
            call.exchange, exchange.running = exchange, True
        else:
            exchange.progress = None
            call = exchange.take()
        self.taken = call
        self.phase = DUE if self._due else CALLED
        return call

    def _may_call(self) -> bool:  # a call may last: what goes before others of its response goes out first (PEP 3333)
        return self.codec.unsent < HIGH_WATER and self.codec.gone >= self._piece_end

    def _answered(self, call: Any, reply: Any, now: float) -> None:
        if self.taken is call:
            self.taken = None  # which knows this: a circle is garbage for the collector alone
        exchange = _exchange_of(call)
        if exchange.over or self._exchanges.get(exchange.id) is not exchange:
            exchange.discard(reply)
            self.forget(exchange)
        elif exchange.tunnel is not None:
            exchange.running = False
            exchange.tunnel.conn.answered(None, reply, now)
            self.flow(exchange, now)
            self._open_window(exchange)
        else:
            exchange.answered(reply, now)
            if exchange.unconsumed:
                self._open_window(exchange)
        self.enter_phase(now)

    def _consumed(self, call: Any, now: float) -> None:
        if call is None:
            return
        exchange = _exchange_of(call)
        if exchange.tunnel is not None:
            exchange.tunnel.conn.consumed(None, now)
            self.flow(exchange, now)
            self._open_window(exchange)
        if exchange.over or exchange.async_call is None:
            return
        self._open_window(exchange)
        if exchange.complete or not exchange.awaits_body:
            return
        request = exchange.request
        if request.expects and exchange.response_body is None:
            self._session.inform(exchange.id, blocks.status_block(100))
        request.expects = False
        if exchange.progress is None or exchange.progress.writing:
            self._await_body(exchange, now)
        else:
            exchange.progress.pause(now, exchange.resumed_at)
            self._look_at = min(self._look_at, exchange.progress.deadline)
        exchange.resumed_at = 0.0


def _exchange_of(call: Any) -> StreamExchange:
    """Return the exchange of a call, as answered() has it."""
    exchange: StreamExchange = (
        call if isinstance(call, StreamExchange) else call.exchange
    )  # a StreamDriver has one, too
    return exchange


def _response_of(refusal: Refusal) -> Response:
    """Return the response for a request that is refused."""
    retry = [("Retry-After", str(RETRY_AFTER))] if refusal.status == 503 else []
    return plain_response(refusal.status, f"{refusal.reason}.", retry)
