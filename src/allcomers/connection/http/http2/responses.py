"""The responses of an HTTP/2 connection, a frame of one stream after a frame of another (RFC 9113, 8.1)."""

from __future__ import annotations

from collections.abc import Iterable

from allcomers.connection.base import CALL, HIGH_WATER
from allcomers.connection.call import PartialResponse
from allcomers.connection.http.async_call import Upgrade
from allcomers.connection.http.handler_call import report_length
from allcomers.connection.http.http2 import tunnel
from allcomers.connection.http.http2.driver import StreamDriver
from allcomers.connection.http.http2.exchange import StreamExchange
from allcomers.connection.http.http2.head import head
from allcomers.connection.http.http2.streams import Http2Streams
from allcomers.connection.http.log_record import AccessRecord
from allcomers.connection.http.response_body import WHOLE, StreamingBody, cut
from allcomers.connection.progress import Progress
from allcomers.errors import PeerError
from allcomers.protocol.head import Fields
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.frames import DATA_SIZE, HEAD_SIZE, ErrorCode
from allcomers.protocol.message import FileSlice, Response, Segment


class Http2Responses(Http2Streams):
    """The part of an Http2Connection that sends responses: the Outlet of its StreamExchanges."""

    __slots__ = ()

    # ------------------------------------------------------------ the Outlet

    def due(self, exchange: StreamExchange) -> None:
        if exchange.segments:
            exchange.waits = True
        else:
            self._due.append(exchange)

    def trailers(self, exchange: StreamExchange) -> Fields:
        return exchange.trailers

    def respond(self, exchange: StreamExchange, response: Response, now: float) -> None:
        body = response.body
        assert isinstance(body, WHOLE)
        if type(body) is FileSlice:
            body.check()
        size = len(body)
        block, most = self._head(exchange, response, size, now)
        if size != most:
            report_length(exchange, response, most, size)
        if size > most:
            size = len(body := cut(body, most))
        is_whole = size == most
        if is_whole and type(body) is bytes and not self._ready and self.codec.unsent < HIGH_WATER:
            exchange.ended = self._session.answer(exchange.id, block, body)
        if not exchange.ended:
            exchange.ended = is_whole and not size
            self._session.respond(exchange.id, block, exchange.ended)
        if size and not exchange.ended:
            self._bodies += exchange.put((body,))
        self._finish(exchange, response, size, is_whole, now)

    def begin(self, exchange: StreamExchange, body: StreamingBody, now: float) -> None:
        block, body.most = self._head(exchange, body.response, None, now)
        body.persists = True
        self._session.respond(exchange.id, block)

    def send(self, exchange: StreamExchange, segments: Iterable[Segment]) -> None:
        self._bodies += exchange.put(segments)
        self._ready.add(exchange)

    def send_tail(self, exchange: StreamExchange, body: StreamingBody) -> None:
        if exchange.trailer is None:
            exchange.trailer = body.trailers(exchange.request, self.endpoint.report, blocks.fields_block)
            self._ready.add(exchange)

    def notify(self, exchange: StreamExchange, part: PartialResponse, now: float) -> None:
        exchange.parts.append(part)
        self._fill(now)
        if not exchange.segments:
            self._end_parts(exchange, now)

    def end(self, exchange: StreamExchange, body: StreamingBody, is_whole: bool, now: float) -> None:
        self._finish(exchange, body.response, body.sent, is_whole, now)

    def inform(self, exchange: StreamExchange, links: Iterable[bytes]) -> None:
        fields, _ = blocks.fields_block([("Link", link.decode("latin-1")) for link in links])
        is_open = not exchange.over and exchange.response_body is None and exchange.record is None
        if is_open and self.codec.unsent < HIGH_WATER:
            self._session.inform(exchange.id, blocks.status_block(103) + fields)

    def upgrade(self, exchange: StreamExchange, upgrade: Upgrade, now: float) -> None:
        self._session.respond(exchange.id, tunnel.head(upgrade))
        self._push()
        record = None
        if self.endpoint.log is not None:
            record = AccessRecord(exchange.request, exchange.request_line, 200, 0, exchange.started)
        self._deliver_later(200, exchange.started, record, now)
        exchange.async_call = None
        driver = StreamDriver(self.driver, exchange) if self.driver is not None else None
        exchange.tunnel = tunnel.Tunnel(upgrade, self.address, self._ledger, self.leaving, driver, now)
        self.flow(exchange, now)

    def flow(self, exchange: StreamExchange, now: float) -> None:
        found = exchange.tunnel
        if found is None or exchange.over:
            return
        if not exchange.segments:
            data = found.take(now)
            if data:
                self.send(exchange, (data,))
            elif data is not None:
                self._end_tunnel(exchange, found, now)
                return
        if found.conn.wants & CALL and not exchange.running and exchange not in self._due:
            self._due.append(exchange)
        self._look_at = min(self._look_at, found.conn.deadline)

    def _end_tunnel(self, exchange: StreamExchange, found: tunnel.Tunnel, now: float) -> None:
        exchange.tunnel = None
        found.conn.lost(now)
        found.conn.driver = None
        self._session.send(exchange.id, b"", True)
        self._session.reset(exchange.id)
        self._push()
        self._close_stream(exchange)

    def abort(self, exchange: StreamExchange, now: float) -> None:
        self._session.reset(exchange.id, ErrorCode.INTERNAL_ERROR)
        self.drop(exchange, now)

    def _head(self, exchange: StreamExchange, response: Response, size: int | None, now: float) -> tuple[bytes, int]:
        own = self.endpoint.own_fields(exchange.request, now)
        return head(exchange.request_line[0], response, size, own, self.endpoint.server)

    def _finish(
        self, exchange: StreamExchange, response: Response, size: int, is_whole: bool, now: float
    ) -> None:  # fmt: skip
        """Note that all of the response is here, with a body of `size` bytes."""
        record = None
        if self.endpoint.log is not None or response.close is not None:
            line, started, headers = exchange.request_line, exchange.started, response.headers
            record = AccessRecord(exchange.request, line, response.status, size, started, headers, response.close)
        exchange.record = response.status, record
        exchange.is_whole = is_whole
        if exchange.async_call is not None:
            exchange.async_call = None
            if exchange.request.times is not None:
                exchange.request.times.end(now)
        if exchange.body is not None or exchange.stored:
            self._drop_body(exchange)
        if exchange.ended and not exchange.segments:
            self._finished(exchange, now)
        else:
            self._ready.add(exchange)
            self._fill(now)

    # ------------------------------------------------------------ frames

    def _resume(self, stream: int) -> None:
        """Go on with what has waited for this stream's window; for any, where it is that of all, 0."""
        for exchange in (self._exchanges.get(stream),) if stream else self._exchanges.values():
            if exchange is not None and exchange.segments:
                self._ready.add(exchange)

    def _fill(self, now: float) -> None:
        """Frame what can be framed, a frame of each stream in turn, until the socket has enough to do."""
        ready, session = self._ready, self._session
        room = HIGH_WATER - self.codec.unsent
        while ready and room > 0:
            exchange = ready.next()
            if exchange.over:
                continue
            most = DATA_SIZE
            if not ready or not exchange.takes_turns:  # PERF: frames that come in a row are read, made, sealed at once
                most = max(most, room + room // -session.max_frame * HEAD_SIZE)
            size = min(most, session.room(exchange.id)) if exchange.segments else 0
            if size <= 0 and exchange.segments:
                self._await_window(exchange, now)
                continue
            room -= size - size // -session.max_frame * HEAD_SIZE
            try:
                self._frame(exchange, size, now)
            except (OSError, PeerError):  # of a file
                self.abort(exchange, now)
        self._push()

    def _await_window(self, exchange: StreamExchange, now: float) -> None:
        """Note that the peer has opened no window for what is here: its slowness counts from now on. End the stream of
        one that sends no more: its window stays shut."""
        if self._ended:
            self._session.reset(exchange.id, ErrorCode.CANCEL)
            self.drop(exchange, now)
            return
        if exchange.progress is None or not exchange.progress.writing:
            exchange.progress = Progress(now, True)
            self._look_at = min(self._look_at, exchange.progress.deadline)

    def _frame(self, exchange: StreamExchange, size: int, now: float) -> None:
        """Frame up to `size` bytes of a stream, and its end behind the last. Raises OSError, PeerError."""
        session = self._session
        memory = exchange.memory
        data = exchange.take_bytes(size)
        self._bodies -= memory - exchange.memory
        if (progress := exchange.progress) is not None and progress.writing:
            progress.moved += size
        if exchange.segments:
            session.send(exchange.id, data, False)
            self._ready.add(exchange, again=True)
            return
        exchange.progress = None if progress is not None and progress.writing else progress
        trailer = exchange.trailer
        ends = (trailer is not None or exchange.record is not None) and exchange.is_whole and not exchange.ended
        if data or (ends and not trailer):
            session.send(exchange.id, data, ends and not trailer)
        if ends and trailer:
            session.trailers(exchange.id, trailer)
        exchange.ended = exchange.ended or ends
        self._end_parts(exchange, now)
        if exchange.record is not None:
            self._finished(exchange, now)
        elif exchange.waits:
            exchange.waits = False
            self._due.append(exchange)
            self._push()
            self._piece_end = self.codec.queued
        elif exchange.tunnel is not None:
            self.flow(exchange, now)

    def _end_parts(self, exchange: StreamExchange, now: float) -> None:
        """Have the parts notified once what is framed has gone out."""
        if exchange.parts:
            self._push()
            parts, exchange.parts = exchange.parts, []
            for part in parts:
                self._deliver_later(None, 0.0, part, now)

    def _finished(self, exchange: StreamExchange, now: float) -> None:
        """Note that all of a response is framed, or all there is of it."""
        assert exchange.record is not None
        (status, record), exchange.record = exchange.record, None
        if not exchange.is_whole:
            self._session.reset(exchange.id, ErrorCode.INTERNAL_ERROR)
        elif not exchange.complete:
            self._session.reset(exchange.id)
        self._push()
        self._idle_for = self._limits.keep_alive
        self._deliver_later(status, exchange.started, record, now)
        self._close_stream(exchange)
