"""The streams of an HTTP/2 connection: what each leaves behind until all of it is over (RFC 9113, 5).

One that is closed stays among the exchanges as long as its call runs: so the calls that run for a peer have a limit,
whatever it resets (CVE-2023-44487).
"""

from __future__ import annotations

import math
from typing import Any

from allcomers.connection.base import BODY, CALLED, CLOSED, CLOSING, DUE, IDLE, Connection
from allcomers.connection.call import PENDING, Call, CallStatus
from allcomers.connection.http.base import HttpConnection
from allcomers.connection.http.http2.exchange import StreamExchange
from allcomers.connection.http.http2.scheduler import StreamScheduler
from allcomers.connection.http.log_record import GONE
from allcomers.connection.progress import Progress
from allcomers.protocol.http2.session import Session
from allcomers.protocol.message import Response
from allcomers.system.counters import ABORTED


class Http2Streams(HttpConnection):
    """The part of an Http2Connection that has the streams, and ends them."""

    __slots__ = (
        "_bodies", "_due", "_exchanges", "_look_at", "_piece_end", "_ready", "_session", "_stored", "taken",
    )  # fmt: skip
    multiplexes = True

    def __init__(self, before: Any, now: float) -> None:
        endpoint = before.endpoint
        Connection.__init__(
            self, endpoint.limits, before.address, None, now, endpoint.counters, endpoint.ledger
        )  # fmt: skip
        self.endpoint = endpoint
        self._exchanges: dict[int, StreamExchange] = {}
        self._due: list[StreamExchange] = []  # of which a call may be taken; a deque takes 0.7 KB of an idle peer
        self._ready: StreamScheduler[StreamExchange] = StreamScheduler()  # of which something can be framed
        self._look_at = math.inf  # when the deadlines of exchanges are looked at; no later than the first of them
        self._stored = 0  # bytes of the bodies of handlers
        self._piece_end = 0  # where in all bytes queued the last piece ends of a response that is not whole
        self._bodies = 0  # bytes of bodies in memory, both ways, but for those
        self.taken: Any = None
        self._session = Session(is_server=True, limits=endpoint.limits, connect=endpoint.async_call is not None)

    @property
    def session(self) -> Session:
        return self._session

    def _push(self) -> None:
        """Queue the frames that the session has made."""
        if output := self._session.output():
            self.codec.push(output)

    def respond(self, exchange: StreamExchange, response: Response, now: float) -> None:
        """Queue a whole response, as Outlet has it."""
        raise NotImplementedError

    def flow(self, exchange: StreamExchange, now: float) -> None:
        """Go on with a tunnel: have what it sends framed, and its call taken."""
        raise NotImplementedError

    def _await_body(self, exchange: StreamExchange, now: float) -> None:
        exchange.progress = Progress(now, False)
        self._look_at = min(self._look_at, exchange.progress.deadline)

    def enter_phase(self, now: float) -> None:
        """Enter the phase that the exchanges have together: BODY where all of them wait for the peer."""
        if self.phase is CLOSING or self.phase is CLOSED:
            return
        if self._due:
            self.phase = DUE
        elif self._exchanges:
            self.phase = BODY
            for exchange in self._exchanges.values():  # PERF: any() of a generator costs five times as much
                if exchange.running:
                    self.phase = CALLED
                    break
        elif self.phase is not IDLE:
            self.enter(IDLE, now)

    # ------------------------------------------------------------ windows of the peer

    def _open_window(self, exchange: StreamExchange) -> None:
        """Let the peer send as much more as was consumed of the body."""
        ahead = exchange.ahead
        if exchange.unconsumed > ahead:
            self._session.consumed(exchange.id, exchange.unconsumed - ahead)
            self._bodies -= exchange.unconsumed - ahead
            exchange.unconsumed = ahead

    def _open_windows(self) -> None:
        """Open the windows of stored bodies: of all while they hold no more than one may; else of the oldest alone, so
        that one at a time becomes whole."""
        for exchange in self._exchanges.values():
            if exchange.body is not None and not exchange.complete:
                if exchange.shut:
                    self._session.reopen(exchange.id, exchange.shut)
                    exchange.shut = 0
                if self._stored > self._limits.max_body:
                    return

    # ------------------------------------------------------------ the end of a stream

    def _close_stream(self, exchange: StreamExchange) -> None:
        """Note that nothing of a stream is sent or received any more."""
        exchange.over = True
        exchange.progress = None
        self._bodies -= exchange.unconsumed + exchange.memory
        exchange.unconsumed = exchange.memory = 0
        self._session.lingering += 1
        self.forget(exchange)

    def forget(self, exchange: StreamExchange) -> None:
        """Forget an exchange whose stream is closed, once its call is over, and what it has open is closed."""
        if exchange.running:
            return
        if exchange.response_body is not None:
            if exchange not in self._due:
                self._due.append(exchange)
            return
        if exchange.body is not None or exchange.stored:
            self._drop_body(exchange)
        exchange.part_with_call()
        if self._exchanges.get(exchange.id) is exchange:
            del self._exchanges[exchange.id]
            self._session.lingering -= 1

    def _drop_body(self, exchange: StreamExchange) -> None:
        if not exchange.running:  # else the call reads it
            exchange.drop_body()
            if exchange.stored:
                self._stored -= exchange.stored
                exchange.stored = 0
                self._open_windows()

    def _withdraw(self, exchange: StreamExchange) -> None:
        """Have no call of this exchange taken, if one is due."""
        if exchange in self._due:
            self._due.remove(exchange)

    def drop(self, exchange: StreamExchange, now: float) -> None:
        """End an exchange whose stream was reset, by either side, or is lost."""
        if exchange.over:
            return
        self._withdraw(exchange)
        if exchange.tunnel is not None:  # which was logged when it began
            exchange.tunnel.conn.lost(now)
            exchange.tunnel = None
        else:
            self.counters.add(ABORTED)
            self._log_dropped(exchange, now)
        exchange.end_parts()
        exchange.leave()
        exchange.segments, exchange.waiting = [], 0
        self._close_stream(exchange)

    def _log_dropped(self, exchange: StreamExchange, now: float) -> None:
        line, started, request = exchange.request_line, exchange.started, exchange.whole()
        if exchange.record is not None:
            _, record = exchange.record
            if record is not None:
                record.sent -= min(exchange.waiting, record.sent)
                self._deliver_later(None, started, record, now)
        elif (body := exchange.response_body) is not None:
            response, sent = body.response, body.sent - exchange.waiting
            self._log_aborted(request, line, response.status, sent, started, response.headers, now)
        else:
            self._log_aborted(request, line, GONE, 0, started, (), now)

    def close_call(self) -> Call | CallStatus | None:
        exchanges = list(self._exchanges.values())
        if any(exchange.running for exchange in exchanges):
            return PENDING
        bodies = [exchange.response_body for exchange in exchanges if exchange.response_body is not None]
        self._exchanges.clear()
        if not bodies:
            return None

        def close() -> None:
            for body in bodies:
                body.close()

        return close

    # ------------------------------------------------------------ memory

    def _memory(self) -> int:
        return self._bodies + self._session.buffered

    def _buffered(self) -> int:
        return 0

    @property
    def _has_request(self) -> bool:
        return False  # drop() counts each
