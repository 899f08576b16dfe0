"""The requests of an HTTP/1.1 peer, in order, one call each (RFC 9112).

The next request is looked at only when the response to the one before is queued whole: nothing is shared between two
requests, and what follows a refused one is never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from allcomers.connection import base
from allcomers.connection.base import BODY, CALLED, CLOSING, DUE, HEAD, IDLE
from allcomers.connection.call import PENDING, Address, Call, CallStatus, PartialResponse
from allcomers.connection.http import handler_call
from allcomers.connection.http.async_call import AsyncCall
from allcomers.connection.http.base import HttpConnection
from allcomers.connection.http.endpoint import HttpEndpoint, Taken
from allcomers.connection.http.exchange import Exchange
from allcomers.connection.http.log_record import AccessRecord
from allcomers.connection.http.response_body import PulledBody, StreamingBody
from allcomers.connection.progress import Progress
from allcomers.errors import ClientGone, Refusal
from allcomers.protocol import http1
from allcomers.protocol.body import FULL, UNCOUNTED, Body
from allcomers.protocol.encode import CONTINUE
from allcomers.protocol.message import Request
from allcomers.system.counters import REQUESTS


class Http1Requests(HttpConnection):
    """The part of an Http1Connection that reads requests, has their calls run, and knows what waits for what."""

    __slots__ = ("_exchange", "_reader", "_started", "_unwanted")

    def __init__(self, endpoint: HttpEndpoint, address: Address, now: float) -> None:
        super().__init__(endpoint, address, now)
        self._reader = http1.SILENT
        self._exchange: Exchange | None = None  # None while idle: an idle peer costs none
        self._unwanted = 0  # bytes that may still come of a body that nobody wants
        self._started = now  # when the first byte of this request came

    # ------------------------------------------------------------ requests

    def received(self, data: bytes, now: float) -> None:
        """PERF: a piece of a body that more follows changes neither what this wants nor its deadline: no step."""
        progress = self._progress if self.phase is BODY and self.wants == base.READ and not self._held else None
        self._receive(data, now)
        is_piece = progress is not None and self._progress is progress and self.phase is BODY and not self._ended
        if not is_piece or self.codec.pending or len(self._reader.buffer) > UNCOUNTED:
            self._settle(now)

    def _receive_plain(self, data: bytes, now: float) -> None:
        if self.phase is IDLE:
            self._started = now
        self._reader = http1.fed(self._reader, data, self._limits)
        if self.phase is IDLE or self.phase is HEAD:
            self._read_head(now)
        else:
            self._read_body(now)

    def _read_head(self, now: float) -> None:
        """Go on as far as the bytes at hand allow, between two requests. Raises Refusal."""
        reader = self._reader
        request = reader.head()
        if request is None:
            if reader.begun and self.phase is IDLE:
                # The time for the first head counts from accept: sending nothing must buy none.
                since = now if self.served else self.since
                self.enter(HEAD, now)
                self.since = since
            return
        if request.length and len(reader.buffer) >= request.length:
            request.content = reader.body()
        if self._ledger.refuses():
            raise Refusal(503, FULL)
        line = (request.method, request.target, request.version)
        outlet: Any = self  # Http1Connection is one
        self._exchange = exchange = Exchange(outlet, request, line, self._started)
        self.counters.add(REQUESTS)
        if self.endpoint.async_call is not None and exchange.open_async(self.endpoint.async_call):
            self.phase = DUE
        elif reader.complete:
            self.phase = DUE
            return
        else:
            exchange.body = Body()
            if request.expects and not reader.buffer:
                self.codec.push(CONTINUE)
            self.enter(BODY, now)
        self._read_body(now)

    def _read_body(self, now: float) -> None:
        """Go on as far as the bytes at hand allow, behind a head. Raises Refusal."""
        reader, exchange = self._reader, self._exchange
        if exchange is None:
            self._skip(now)
        elif exchange.async_call is not None:
            if not reader.complete:
                piece = reader.body()
                exchange.feed(piece, reader.complete, now)
        elif self.phase is BODY:
            piece = reader.body()
            exchange.store(piece, reader.complete)
            if reader.complete:
                self.phase = DUE

    def _skip(self, now: float) -> None:
        """Drop the rest of a body whose request is answered: what follows it is the next request."""
        self._unwanted -= len(self._reader.body())
        if self._reader.complete:
            self._next_request(now)
        elif self._unwanted < 0:
            self.close(now, linger=True)

    def _receive_end(self, now: float) -> None:
        if self.phase is HEAD or not self._reader.complete:
            raise Refusal(400, "the connection ended in the middle of a request")
        if self._exchange is not None and self._exchange.async_call is not None:
            self._exchange.async_call.end()

    def _next_request(self, now: float) -> None:
        """Go on between two requests. Raises Refusal."""
        self.enter(IDLE, now)
        if self._reader.buffer:  # the next is here already
            self._started = now
            self._read_head(now)
            if self._ended:
                self._receive_end(now)

    def _buffered(self) -> int:
        # Behind a body that is here whole the end of the connection must be received, consumed or not.
        return len(self._reader.buffer) if self._reader.complete else self._memory()

    def _memory(self) -> int:
        exchange = self._exchange
        ahead = exchange.async_call.ahead if exchange is not None and exchange.async_call is not None else 0
        return len(self._reader.buffer) + ahead

    @property
    def _has_request(self) -> bool:
        return self._exchange is not None and self.phase is not CLOSING

    # ------------------------------------------------------------ for a driver

    def count_served(self, count: int, now: float) -> None:
        self._reader.restart()
        super().count_served(count, now)

    @property
    def is_idle(self) -> bool:
        if self.wants != base.READ or self.phase is not IDLE or self.leaving:
            return False
        is_ready = not self._reader.buffer and not self.codec.leads and not self.codec.ended
        # A deadline that nobody looks at may only move later.
        return is_ready and self._idle_for <= self._limits.keep_alive

    @property
    def stream(self) -> StreamingBody | None:
        return None if self._exchange is None else self._exchange.response_body

    def adopt(
        self,
        unsent: bytes,
        records: Sequence[AccessRecord] | None,
        request: Taken | None,
        begun: AsyncCall | StreamingBody | None,
        received: bytes,
        requested_at: float,
        now: float,
    ) -> None:
        self.codec.push(unsent)
        if records:
            self._deliver_adopted(records, now)
        if request is not None:
            outlet: Any = self  # as above
            self._exchange = exchange = Exchange(outlet, *request, requested_at)
            exchange.running = True
            if isinstance(begun, StreamingBody):
                exchange.response_body = begun
            else:
                exchange.async_call = begun
            self.phase, self._reader = CALLED, http1.fed(self._reader, received, self._limits)
        self._settle(now)

    def adopt_beginning(self, received: bytes, now: float) -> None:
        """Go on with a request of which a driver has `received` the beginning; where that expects 100 Continue, it has
        sent it."""
        self._opened(received, now)
        if self.phase is BODY and self.codec.pending:
            self.codec.sent(len(CONTINUE))
        self._settle(now)

    def hint(self, links: Iterable[bytes]) -> None:
        if self._exchange is not None:
            self._exchange.hint(links)

    def release_body(self) -> PulledBody | None:
        body = self._exchange.release_body() if self.phase is DUE and self._exchange is not None else None
        if body is not None:
            self.phase = CALLED
        return body

    def close_call(self) -> Call | CallStatus | None:
        exchange = self._exchange
        if exchange is not None and exchange.running and exchange.async_call is None:
            return PENDING
        if exchange is None or exchange.running or exchange.response_body is None:
            return None
        body, exchange.response_body = exchange.response_body, None
        self._exchange = None
        return body.close

    # ------------------------------------------------------------ calls

    def _take_call(self) -> Call:
        assert self._exchange is not None
        self.phase = CALLED
        return self._exchange.take()

    def _may_call(self) -> bool:  # a piece waits until the one before has gone out
        return self.stream is None and super()._may_call()

    def _answered(self, call: object, reply: Any, now: float) -> None:
        exchange = self._exchange
        if exchange is None or self.phase is not CALLED:  # the peer has gone, or broken TLS, meanwhile
            exchange = exchange or (call if isinstance(call, Exchange) else getattr(call, "exchange", None))
            if exchange is not None:
                exchange.discard(reply)
                if not exchange.running and exchange.response_body is None:
                    self._exchange = None  # as in lost()
            elif isinstance(reply, PartialResponse):  # of a call that was given up, and runs on
                reply.end(ClientGone("the client has gone"))
            else:  # of an AsyncCall that was given up
                handler_call.forget(reply, self.endpoint, Request(method="", target="", peer=self.peer))
            return
        try:
            exchange.answered(reply, now)
        except Refusal as refusal:  # the next request is here already, and malformed
            self._refuse(refusal, now)

    def _consumed(self, call: object, now: float) -> None:
        exchange = self._exchange
        if exchange is None or not self._awaits_body:
            return
        request = exchange.request
        if request.expects and not self._reader.buffer and exchange.response_body is None:
            self.codec.push(CONTINUE)
        request.expects = False
        if self._progress is None:
            self._progress = Progress(now, False)
        elif not self._progress.writing:
            # Its slowness counts while it is waited for: the time that the app took is not the client's.
            self._progress.pause(now, exchange.resumed_at)
        exchange.resumed_at = 0.0

    @property
    def _awaits_body(self) -> bool:
        return self._exchange is not None and self._exchange.awaits_body and not self._reader.complete

    def _call_deadline(self) -> float:
        if self._progress is None or not self._awaits_body:
            return math.inf
        return self._progress.deadline
