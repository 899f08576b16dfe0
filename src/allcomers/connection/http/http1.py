"""An HTTP/1.1 peer: its requests in order, one call each, the answers in the same order (RFC 9112).

The next request is looked at only when the answer to the one before is queued whole: nothing is shared between two
requests, and what follows a refused one is never looked at. Of an answer that is an iterable, a piece is asked for when
the one before has gone out; or its call gives them, as Parts, from a thread of its own (calls/producer.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal

from allcomers.connection import base
from allcomers.connection.base import BODY, CALLED, CLOSED, DUE, GRACE, HEAD, IDLE, Address, Connection, Work
from allcomers.connection.call import TIMED_OUT, CallStatus, PartialResponse
from allcomers.connection.codec import JOIN
from allcomers.connection.http import endpoint as http_calls
from allcomers.connection.http import handler_call
from allcomers.connection.http.async_call import AsyncCall, Upgrade
from allcomers.connection.http.endpoint import HttpEndpoint, Reply, Taken
from allcomers.connection.http.handler_call import HandlerCall
from allcomers.connection.http.log_record import GONE, AccessRecord, note_all
from allcomers.connection.http.response_body import (
    WHOLE,
    EndOfBody,
    FinalPiece,
    PulledBody,
    StreamingBody,
    WrittenBody,
    cut,
)
from allcomers.connection.http.response_head import Plan, hints, plan, refused
from allcomers.errors import AnswerError, ClientGone, Refusal
from allcomers.protocol import http1
from allcomers.protocol.encode import CONTINUE
from allcomers.protocol.message import Body, Piece, Request, Response

_NOTHING: Final = ("", "", 1)


class HttpConnection(Connection):
    """One client of an HttpEndpoint."""

    __slots__ = (
        "_async_call",
        "_body",
        "_endpoint",
        "_fed",
        "_head",
        "_inbound",
        "_request_line",
        "_started",
        "_stream",
        "_unwanted",
    )  # fmt: skip

    def __init__(self, endpoint: HttpEndpoint, address: Address, now: float) -> None:
        super().__init__(endpoint.limits, address, endpoint.tls, now, endpoint.counters)
        self._endpoint = endpoint
        self._inbound = http1.SILENT
        self._head: Request | None = None
        self._request_line = (
            _NOTHING  # its method, target and minor version as they came, whatever the app makes of them
        )
        self._body: Body | None = None
        self._stream: StreamingBody | None = None  # the answer that comes in pieces
        self._async_call: AsyncCall | None = None  # the call of an async app
        self._fed = 0.0  # when it last had of the body what it waited for
        self._unwanted = 0  # bytes that may still come of a body that nobody wants
        self._started = now  # when the first byte of this request came
        self._queued: list[AccessRecord | PartialResponse] | None  # answers and parts that have not gone out

    # ------------------------------------------------------------ requests

    def _receive_plain(self, data: bytes, now: float) -> None:
        if self.phase is IDLE:
            self._started = now
        self._inbound = http1.fed(self._inbound, data, self._limits)
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Go on as far as the bytes at hand allow. Raises Refusal."""
        inbound = self._inbound
        if self.phase is IDLE or self.phase is HEAD:
            self._head = head = inbound.head()
            if head is None:
                if inbound.begun and self.phase is IDLE:
                    self._enter_head(now)
                return
            self._request_line = (head.method, head.target, head.minor)
            if head.length and len(inbound.buffer) >= head.length:
                head.content = inbound.body()
            self._request_started()
            if self._endpoint.async_call is not None:
                self._async_call = self._endpoint.async_call(self._request(), self)
                self.phase = DUE
            elif inbound.complete:
                self.phase = DUE
            else:
                self._body = Body()
                if head.expects and not inbound.buffer:
                    self.codec.push(CONTINUE)
                self.enter(BODY, now)
        if self._async_call is not None:
            if not inbound.complete:
                self._feed(self._async_call, now)
        elif self.phase is BODY and self._head is None:
            self._skip(now)
        elif self.phase is BODY:
            http_calls.store(self._endpoint, self._body, inbound, self._request)
            if inbound.complete:
                self.phase = DUE

    def _feed(self, async_call: AsyncCall, now: float) -> None:
        """A call that runs gets the body as it comes."""
        if async_call.hungry:
            self._fed = now
        piece = self._inbound.body()
        if piece and self._head is not None:
            self._head.expects = False  # it does not wait to be told to go on
        async_call.hear(piece, not self._inbound.complete)

    def _skip(self, now: float) -> None:
        """The rest of a body whose request is answered: what follows it is the next request."""
        self._unwanted -= len(self._inbound.body())
        if self._inbound.complete:
            self._next_request(now)
        elif self._unwanted < 0:
            self.close(now, linger=True)

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()  # its temporary file goes now, not when it is collected
            self._body = None

    def _enter_head(self, now: float) -> None:
        """The time for the first head counts from accept: sending nothing must buy none."""
        since = now if self.served else self._since
        self.enter(HEAD, now)
        self._since = since

    def _receive_end(self, now: float) -> None:
        if self.phase is HEAD or not self._inbound.complete:
            raise Refusal(400, "the connection ended in the middle of a request")
        if self._async_call is not None:
            self._async_call.end()

    def _buffered(self) -> int:
        # Behind a body that is here whole the end of the connection must be heard, taken or not.
        return len(self._inbound.buffer) + (
            0 if self._async_call is None or self._inbound.complete else self._async_call.ahead
        )

    # ------------------------------------------------------------ what a driver does itself

    @property
    def is_idle(self) -> bool:
        is_idle = self.wants == base.READ and self.phase is IDLE
        is_heard = not self._leaving and not self._inbound.buffer and self.codec.ready and not self.codec.ended
        # A deadline that nobody is told of may only move later.
        return is_idle and is_heard and self._patience <= self._limits.keep_alive

    def adopt(
        self,
        unsent: bytes,
        taken: Taken | None,
        async_call: AsyncCall | None,
        heard: bytes,
        requested_at: float,
        now: float,
    ) -> None:
        self.codec.push(unsent)
        if taken is not None:
            self._head, self._request_line = taken
            self._called, self._async_call, self._started = True, async_call, requested_at
            self._request_pending = True
            self.phase, self._inbound = CALLED, http1.fed(self._inbound, heard, self._limits)
        self._settle(now)

    # ------------------------------------------------------------ calls

    def _take_work(self) -> Work:
        self._called = True
        self.phase = CALLED
        if self._stream is not None:
            return self._stream.step
        if self._async_call is not None:
            if times := self._request().times:
                times.__enter__()  # until _finish
            return self._async_call.start
        request = self._request()
        request.driver = self.driver
        function = handler_call.call if self._endpoint.clock is None else handler_call.timed_call
        return HandlerCall(function, self._endpoint, request)

    def _may_call(self) -> bool:
        return self._stream is None and super()._may_call()  # a piece waits until the one before has gone out

    def _consumed(self, now: float) -> None:
        if (head := self._head) is None or not self._awaits_body():
            return
        if head.expects and not self._inbound.buffer and self._stream is None:
            self.codec.push(CONTINUE)
        head.expects = False
        # Its slowness counts while it is waited for: what the app took in between is not the client's.
        self._rate_since = min(now, self._rate_since + now - self._fed) if self._fed else now
        self._fed = 0.0

    def _awaits_body(self) -> bool:
        return self._async_call is not None and self._async_call.hungry and not self._inbound.complete

    def _call_deadline(self) -> float:
        return self._rate_since + GRACE if self._awaits_body() else math.inf

    def hint(self, links: Iterable[bytes]) -> None:
        """Tell the client of these links before the answer (RFC 8297); the driver is to look at what is wanted then.

        Raises AnswerError for what no Link field can carry."""
        room = self.codec.unsent < base.HIGH_WATER  # an app may hint without end
        if self.phase is CALLED and self._stream is None and self._request_line[2] == 1 and room:
            self.codec.push(hints(links))

    def _request(self) -> Request:
        assert self._head is not None
        return self._endpoint.whole(self._head, self.address, self._inbound.trailers, self._body)

    def _answered(self, reply: Reply | PartialResponse | Literal[CallStatus.TIMED_OUT], now: float) -> None:
        """What `call` or a StreamingBody's step returned, or a AsyncCall said."""
        if isinstance(reply, PartialResponse):
            self._push(reply, now)
            return
        self._called = False
        if reply is TIMED_OUT:
            reply = self._give_up()
        try:
            if self.phase is CALLED:
                self._handle_result(reply, now)
            else:  # the peer has gone, or broken TLS, meanwhile
                self._forget(reply)
                self._drop_body()
        except Refusal as refusal:  # the next request is here already, and malformed
            self._refuse(refusal, now)

    def _give_up(self) -> Response | EndOfBody:
        self._body = None  # the call runs on; what it has open, it closes: nothing of that is ours any more
        if self._stream is None:
            return handler_call.overdue()
        self._stream = self._stream.stand_in()
        return EndOfBody.ABORTED

    def _handle_result(self, reply: Reply, now: float) -> None:
        """Queue what `reply` has of an answer. Raises Refusal."""
        try:
            if isinstance(reply, Response):
                if self._stream is None:
                    self._answer(reply, now)
                else:  # the call has said a part of another
                    self._forget(reply)
                    self._continue(EndOfBody.ABORTED, now)
            elif isinstance(reply, StreamingBody):
                self._begin(reply, now)
            elif isinstance(reply, Upgrade):
                self._upgrade(reply, now)
            else:
                self._continue(reply, now)
        except AnswerError as error:
            self._forget(reply)
            self._answer(handler_call.failed(self._endpoint, error, self._request()), now)

    def _forget(self, reply: Reply) -> None:
        handler_call.forget(reply, self._endpoint, self._request())
        if isinstance(reply, EndOfBody):
            self._stream = None

    # ------------------------------------------------------------ answers

    def _answer(self, response: Response, now: float) -> None:
        """Queue an answer whose body is at hand: bytes or a FileSlice. Raises AnswerError before it queues a byte."""
        body = response.body
        assert isinstance(body, WHOLE)
        block, most, _, persists = self._plan(response, len(body), now)
        size = len(body := cut(body, most))
        if size <= JOIN and isinstance(body, bytes):
            self.codec.push(block + body)
        else:
            self.codec.push(block)
            self.codec.push(body)
        self._finish(response, size, persists and size == most, now)

    def _begin(self, stream: StreamingBody, now: float) -> None:
        """Queue the first piece of an answer in pieces, behind its head; or of the rest of one. Raises AnswerError."""
        if self._stream is None:
            block, stream.most, stream.chunked, stream.persists = self._plan(stream.response, None, now)
            self.codec.push(block)
        else:
            stream.follow(self._stream)
        self._stream = stream
        self._continue(stream.first, now)

    def _push(self, part: PartialResponse, now: float) -> None:
        """Queue a part of an answer whose call runs on."""
        before = self.codec.unsent
        try:
            if self.phase is not CALLED:
                raise ClientGone("the client has gone")
            if isinstance(said := part.said, Response | StreamingBody):
                self._begin(WrittenBody(said) if isinstance(said, Response) else said, now)
            elif said is EndOfBody.COMPLETE and self._stream is not None:
                self.codec.push(self._stream.tail(self._request(), self._endpoint.report))
            else:
                self._continue(said, now)
        except (AnswerError, ClientGone) as error:
            part.end(error)
            return
        self.phase = CALLED  # and none is due
        part.sent = self.codec.unsent - before
        self.note(part)
        if not self.codec.pending:  # a HEAD request's has no body
            self._flush_done(now)

    def _upgrade(self, upgrade: Upgrade, now: float) -> None:
        """Another connection goes on with what this one has of the peer."""
        self.codec.push(upgrade.head)
        self._response_queued(101, self._started, now)
        self._count_outgoing(now)  # what follows is another's to send
        if self._endpoint.log is not None:
            AccessRecord(self._head, self._request_line, 101, 0, self._started).note(self._endpoint, self.peer, now)
        early, self._inbound.buffer = self._inbound.buffer, b""
        self.successor = upgrade.connect(self, early, now)
        self._async_call = None
        self.phase = CLOSED

    def _continue(self, piece: Piece | FinalPiece | EndOfBody, now: float) -> None:
        """Queue a further piece, or end the answer."""
        stream = self._stream
        if stream is None:  # an app that has heard its client leave, and so answers nothing
            self.lost(now)
            return
        if isinstance(piece, EndOfBody):
            self._end_stream(stream, piece, now)
            return
        last = isinstance(piece, FinalPiece)
        if isinstance(piece, FinalPiece):
            piece = piece.piece
        for segment in stream.framed(piece):
            self.codec.push(segment)
        if last:
            self._end_stream(stream, EndOfBody.COMPLETE, now, stream.response.close)
        else:
            self.phase = DUE

    def _end_stream(
        self, stream: StreamingBody, end: EndOfBody, now: float, close: Callable[[], object] | None = None
    ) -> None:
        """No piece follows. What is to be closed was closed by the call that found the end, but for `close`."""
        whole = end is EndOfBody.COMPLETE and stream.is_whole
        if whole:
            self.codec.push(stream.tail(self._request(), self._endpoint.report))
        self._stream = None
        stream.response.close = close
        self._finish(stream.response, stream.sent, stream.persists and whole, now)

    def _finish(self, response: Response, size: int, persists: bool, now: float) -> None:
        """The answer is queued whole, with a body of `size` bytes: on to the next request."""
        head = self._head
        assert head is not None
        if self._endpoint.log is not None or response.close is not None:
            self.note(
                AccessRecord(
                    head, self._request_line, response.status, size, self._started, response.headers, response.close
                )
            )
            if not self.codec.pending:  # the last piece has gone out before the end was known
                self._flush_done(now)
        self._response_queued(response.status, self._started, now)
        self._patience = self._endpoint.limits.keep_alive
        self._head = None
        if self._async_call is not None:
            self._async_call = None
            if head.times is not None:
                head.times.end(now)  # not when this is reached: the app's time is a part of the whole
        self._request_line = _NOTHING
        if self._body is not None:
            self._drop_body()
        if not persists or (not self._inbound.complete and (head.expects or (head.length or 0) > http_calls.SKIP)):
            # A client that did not expect the end may have sent more: it must read the answer, not a reset.
            self.close(now, linger=head.persists or self._inbound.buffer != b"")
        elif self._inbound.complete:
            self._next_request(now)
        else:
            self._unwanted = http_calls.SKIP
            self.enter(BODY, now)
            self._skip(now)

    def _next_request(self, now: float) -> None:
        """Between two requests. Raises Refusal."""
        self.enter(IDLE, now)
        if self._inbound.buffer:  # the next is here already
            self._started = now
            self._advance(now)
            if self._ended:
                self._receive_end(now)

    def _plan(self, response: Response, size: int | None, now: float) -> Plan:
        head = self._head
        assert head is not None
        persists = head.persists and (self._inbound.buffer != b"" or not (self._ended or self._leaving))
        if not self._inbound.complete:  # as _finish has it; the body of a stream may yet be heard to its end
            persists = persists and not head.expects and (size is None or (head.length or 0) <= http_calls.SKIP)
        return plan(
            self._request_line, response, size, persists, self._endpoint.own_fields(head, now), self._endpoint.server
        )

    # ------------------------------------------------------------ refusals and ends

    def _refuse(self, refusal: Refusal, now: float) -> None:
        if self._stream is not None:  # its answer is on its way already
            self.lost(now)
            return
        if self._async_call is not None:
            self._async_call.leave()
            self._async_call = None
        if self.phase is BODY and self._head is None:  # what it asked is answered
            self.close(now, linger=True)
            return
        head, body = refused(refusal, self._endpoint.date(now), self._endpoint.server)
        self.codec.push(head + body)
        self._response_queued(refusal.status, self._started, now)
        self._log_aborted(refusal.status, len(body))
        self._drop_body()
        self.close(now, linger=True)

    def drain(self, now: float, patience: float = base.FAREWELL) -> None:
        if self._async_call is not None and patience == base.FAREWELL:  # not where others wait for the place
            self._async_call.drain()
        super().drain(now, patience)

    def _expire(self, now: float) -> None:
        if not self._writing and (self.phase in (HEAD, BODY) or self._awaits_body()):
            self._refuse(Refusal(408, "the request did not come in time"), now)
        elif not self._writing and self.phase is IDLE and self.codec.ready:
            self.close(now)
        else:
            self.lost(now)

    def lost(self, now: float) -> None:
        stream = self._stream
        if stream is not None and self.phase is not CLOSED:
            self._log_aborted(stream.response.status, stream.sent, stream.response.headers)
        elif self._head is not None and self.phase in (BODY, DUE, CALLED):
            self._log_aborted(GONE, 0)
        if self._queued is not None:
            self._flush_done(now, self.codec.unsent)
        if self._async_call is not None:
            self._async_call.leave()
        if not self._called:
            self._drop_body()
        super().lost(now)

    def note(self, *records: AccessRecord | PartialResponse) -> None:
        """Answers are queued whole, or a part: to be noted, and their files closed, once they have gone out."""
        self._queued = self._queued or []
        self._queued += records

    def _log_aborted(self, status: int, sent: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """The same of one after which nothing comes: the request may not even be whole."""
        if self._endpoint.log is not None:
            self.note(
                AccessRecord(self._head and self._request(), self._request_line, status, sent, self._started, headers)
            )

    def _flush_done(self, now: float, unsent: int = 0) -> None:
        records, self._queued = self._queued or [], None
        note_all(self._endpoint, records, unsent, self.peer, now)

    @property
    def is_streaming(self) -> bool:
        return self._stream is not None

    def release_stream(self) -> PulledBody | None:
        """Have the thread that drives this give all further pieces; None where any thread may, or none is due."""
        if self.phase is not DUE or not isinstance(self._stream, PulledBody) or not self._stream.is_bound:
            return None
        self.phase, self._called = CALLED, True
        return self._stream

    def close_call(self) -> Work | None:
        if self._called or self._stream is None:
            return None
        stream, self._stream = self._stream, None
        return stream.close
