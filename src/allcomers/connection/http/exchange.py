"""One request and its response, whatever the HTTP version (RFC 9110, 3.4).

An exchange knows the order of things: the request comes, a call runs, its reply begins, continues or ends the response.
It knows neither the wire, nor the clock, nor the socket: those are its connection's, which it knows as an `Outlet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from allcomers.connection.base import CALLED, Phase
from allcomers.connection.call import DROPPED, FAILED, OVERLOADED, TIMED_OUT, CallStatus, PartialResponse
from allcomers.connection.http import handler_call
from allcomers.connection.http.async_call import AsyncCall, Upgrade
from allcomers.connection.http.endpoint import HttpEndpoint, Reply
from allcomers.connection.http.handler_call import HandlerCall
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, PulledBody, StreamingBody, WrittenBody
from allcomers.errors import AnswerError, ClientGone, Refusal, SpoolFull
from allcomers.protocol.body import FULL, Body
from allcomers.protocol.message import FileSlice, Piece, Request, Response, Segment

if TYPE_CHECKING:
    from allcomers.connection.call import Address, Driver
    from allcomers.connection.codec import Clear
    from allcomers.protocol.head import Fields

_Failed: TypeAlias = Literal[CallStatus.FAILED, CallStatus.DROPPED]

Ended: TypeAlias = Literal[CallStatus.TIMED_OUT, CallStatus.OVERLOADED, CallStatus.DROPPED, CallStatus.FAILED]
"""What stands for the reply of a call that has none."""

RequestLine = tuple[str, str, str]
"""A request's method, target and version as they came, whatever the app makes of them."""


class Outlet(Protocol):
    """The connection of an exchange, as the exchange knows it."""

    endpoint: HttpEndpoint
    codec: Clear
    driver: Driver | None
    phase: Phase

    @property
    def address(self) -> Address: ...

    def due(self, exchange: Exchange) -> None:
        """Note that a call is due: it is taken as soon as there is room for what it returns."""
        ...

    def trailers(self, exchange: Exchange) -> Fields:
        """Return the fields that came after the request's body."""
        ...

    def respond(self, exchange: Exchange, response: Response, now: float) -> None:
        """Queue a whole response. Raises AnswerError before it queues a byte, and Refusal of the next request."""
        ...

    def begin(self, exchange: Exchange, body: StreamingBody, now: float) -> None:
        """Queue the head of a response that comes in pieces. Raises AnswerError."""
        ...

    def send(self, exchange: Exchange, segments: Iterable[Segment]) -> None:
        """Queue bytes of the body, framed."""
        ...

    def send_tail(self, exchange: Exchange, body: StreamingBody) -> None:
        """Queue what ends a body that is whole, once."""
        ...

    def notify(self, exchange: Exchange, part: PartialResponse, now: float) -> None:
        """Notify `part` once all that is queued has gone out."""
        ...

    def end(self, exchange: Exchange, body: StreamingBody, is_whole: bool, now: float) -> None:
        """End a response that came in pieces. Raises Refusal of the next request."""
        ...

    def inform(self, exchange: Exchange, links: Iterable[bytes]) -> None:
        """Send an interim response 103 (RFC 8297). Raises AnswerError for what no Link field can carry."""
        ...

    def upgrade(self, exchange: Exchange, upgrade: Upgrade, now: float) -> None:
        """Switch to another protocol."""
        ...

    def abort(self, exchange: Exchange, now: float) -> None:
        """End an exchange that has no response."""
        ...


class StepCall(partial[Any]):
    """A call of a method, of the StreamingBody or the AsyncCall that is its `owner`: a call.Call of `exchange`."""

    __slots__ = ("exchange",)
    exchange: Exchange

    @property
    def owner(self) -> Any:
        return self.func.__self__  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        return str(getattr(self.owner, "name", "a call"))

    def forget(self, reply: object) -> None:
        """Close what is open: the call returned `reply` too late, or was TIMED_OUT before it started."""
        forget = getattr(self.owner, "forget", None)
        if forget is not None:
            forget(reply)


class Exchange:
    """One request and its response.

    request        as it came, then as the app has changed it
    request_line   RequestLine
    started        float: when its first byte came
    body           what has come of the request's body, for a handler; None for one that is short, or an async app's
    async_call     the call of an async app
    response_body  of a response that comes in pieces, once it has begun
    running        bool: a call runs; also when the connection has ended meanwhile
    resumed_at     float: when an AsyncCall last got bytes of the body that it waited for; 0.0 for never
    """

    __slots__ = (
        "async_call", "body", "outlet", "request", "request_line", "response_body", "resumed_at", "running", "started",
    )  # fmt: skip

    def __init__(self, outlet: Outlet, request: Request, line: RequestLine, started: float) -> None:
        self.outlet = outlet
        self.request = request
        self.request_line = line
        self.started = started
        self.body: Body | None = None
        self.async_call: AsyncCall | None = None
        self.response_body: StreamingBody | None = None
        self.running = False
        self.resumed_at = 0.0

    # ------------------------------------------------------------ the request

    def whole(self) -> Request:
        """Return the request, with the address of its client, and its body if that has come."""
        request, outlet = self.request, self.outlet
        if request.server is None:
            trailers = outlet.trailers(self) if self.body is not None else []
            outlet.endpoint.whole(request, outlet.address, trailers, self.body)
            request.tls = outlet.codec.tls
        return request

    def open_async(self, make: Callable[[Request, Any], AsyncCall | None]) -> bool:
        """Make the call of an async app, whose body is yet to come, perhaps. Return False where this request is a
        handler's."""
        self.async_call = make(self.whole(), self)
        if self.async_call is None:
            self.request.server = None  # it becomes whole once its body has come
        return self.async_call is not None

    def store(self, piece: bytes, complete: bool) -> None:
        """Keep a piece of the body for the handler. Raises Refusal where it cannot be stored."""
        assert self.body is not None
        try:
            self.body.write(piece, last=complete)
        except SpoolFull:  # which the ledger has reported
            raise Refusal(503, FULL) from None
        except OSError as error:  # no descriptor, or no room on the disk, for its temporary file
            self.outlet.endpoint.report(error, self.whole())
            raise Refusal(503, "the body cannot be stored now") from None

    def feed(self, piece: bytes, complete: bool, now: float) -> None:
        """Give a piece of the body to the AsyncCall, which may run."""
        assert self.async_call is not None
        if self.async_call.hungry:
            self.resumed_at = now
        if piece:
            self.request.expects = False  # the client does not wait for 100 Continue
        self.async_call.hear(piece, not complete)

    def leave(self) -> None:
        """Give the AsyncCall up: its client is gone, or gets another response."""
        if self.async_call is not None:
            self.async_call.leave()
            self.async_call = None  # which knows the exchange: a circle is garbage for the collector alone
            self.running = False  # it has been told, and may never reply: nobody waits for that

    def drain(self, now: float) -> None:
        """End a response that never ends by itself: the server leaves."""
        body = self.response_body
        if self.async_call is not None:
            self.async_call.drain()
        elif body is not None and body.is_endless:
            body.stop()
            if self.running:  # in another thread: its call runs on, and learns of the end with its next piece
                if self.request.outflow is not None:
                    self.request.outflow.stop()
                self.body = None  # the call may read it still
                self._end(body.stand_in(), EndOfBody.COMPLETE, None, now)

    @property
    def awaits_body(self) -> bool:
        """Whether the call that runs waits for more of the body."""
        return self.async_call is not None and self.async_call.hungry

    def drop_body(self) -> None:
        """Close the body: its temporary file goes now, not when it is collected."""
        if self.body is not None:
            self.body.close()
            self.body = None
            self.request.drop()  # also the files of a form, which a handler has made of it

    # ------------------------------------------------------------ calls

    def take(self) -> HandlerCall | StepCall:
        """Return the call that is due; it runs from here on."""
        call: HandlerCall | StepCall
        if self.response_body is not None:
            call = StepCall(self.response_body.step)
        elif self.async_call is not None:
            if times := self.request.times:
                times.__enter__()  # until the response is queued
            call = StepCall(self.async_call.start)
        else:
            request, outlet = self.whole(), self.outlet
            request.driver = outlet.driver
            endpoint = outlet.endpoint
            function = handler_call.call if endpoint.clock is None else handler_call.timed_call
            call = HandlerCall(function, endpoint, request)
        call.exchange = self
        self.running = True  # not before: it may lack memory
        return call

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the result of the call that was taken: its response was not given up, nor is its
        client known to be gone. In any thread."""
        driver = self.request.driver
        return self.running and self.outlet.phase is CALLED and not (driver and driver.disconnected(both=True))

    @property
    def driver(self) -> Exchange | None:
        """The recipient of an AsyncCall's replies; None where nobody is there any more (async_call.Asker)."""
        return None if self.outlet.driver is None else self

    def said(self, reply: Any) -> bool:
        """Report a reply of the AsyncCall, later than in its start(). Return what post() does."""
        driver = self.outlet.driver
        return driver is not None and driver.post(self, reply)

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (async_call.Asker). Raises AnswerError."""
        self.outlet.inform(self, links)

    def release_body(self) -> PulledBody | None:
        """Return the body whose next piece is due, if one thread is to give all of them, which then runs; else None."""
        body = self.response_body
        if not isinstance(body, PulledBody) or not body.is_bound:
            return None
        self.running = True
        return body

    # ------------------------------------------------------------ its result

    def answered(self, reply: Reply | PartialResponse | Ended, now: float) -> None:
        """Queue what `reply` has of the response. Raises Refusal of the next request."""
        if isinstance(reply, PartialResponse):
            self._answered_partly(reply, now)
            return
        self.running = False
        if reply is TIMED_OUT or reply is OVERLOADED:
            reply = self._time_out() if reply is TIMED_OUT else self._refuse()
        try:
            if isinstance(reply, Response) and self.response_body is None:
                self.outlet.respond(self, reply, now)
            elif isinstance(reply, Response):  # of a call that has sent a part of another
                self._forget(reply)
                self._continue(EndOfBody.ABORTED, now)
            elif isinstance(reply, StreamingBody):
                self._begin(reply, now)
            elif isinstance(reply, Upgrade):
                self.outlet.upgrade(self, reply, now)
            else:
                self._continue(reply, now)
        except AnswerError as error:
            self._forget(reply)
            response = handler_call.failed(self.outlet.endpoint, error, self.request)
            if self.response_body is None:
                self.outlet.respond(self, response, now)
            else:
                self.response_body.close()
                self._continue(EndOfBody.ABORTED, now)

    def _answered_partly(self, part: PartialResponse, now: float) -> None:
        """Queue a part of the response, whose call runs on."""
        try:
            if isinstance(data := part.data, Response | StreamingBody):
                self._begin_with(WrittenBody(data) if isinstance(data, Response) else data, now)
                if part.on_begun is not None:
                    part.on_begun(self.response_body)
            elif self.response_body is None:  # the head, which came before it, could not be sent
                raise ClientGone("the client has gone")
            elif data is EndOfBody.COMPLETE:
                self.outlet.send_tail(self, self.response_body)
            else:
                self.outlet.send(self, self.response_body.framed(data))
        except (AnswerError, ClientGone) as error:
            part.end(error)
            return
        self.outlet.notify(self, part, now)

    def discard(self, reply: Reply | PartialResponse | Ended) -> None:
        """Close what `reply` has open: the connection has ended meanwhile."""
        if isinstance(reply, PartialResponse):
            reply.end(ClientGone("the client has gone"))
            return
        self.running = False
        if reply is TIMED_OUT or reply is OVERLOADED:
            reply = self._time_out() if reply is TIMED_OUT else self._refuse()
        self._forget(reply)
        self.drop_body()

    def _time_out(self) -> Response | EndOfBody:
        self.body = None  # the call runs on; what it has open, it closes: nothing of that is ours any more
        if self.response_body is None:
            return handler_call.overdue()
        self.response_body = self.response_body.stand_in()
        return EndOfBody.ABORTED

    def _refuse(self) -> Response:
        if self.async_call is not None:
            self.async_call.leave()
        return handler_call.overloaded()

    def _forget(self, reply: Reply | _Failed) -> None:
        handler_call.forget(reply, self.outlet.endpoint, self.request)
        if isinstance(reply, EndOfBody):
            self.response_body = None

    def _begin_with(self, body: StreamingBody, now: float) -> None:
        """Queue the head and the first piece of a response; or of the rest of one. Raises AnswerError."""
        beginning = body.first.piece if isinstance(body.first, FinalPiece) else body.first
        if isinstance(beginning, FileSlice):
            beginning.check()  # before the head is queued
        if self.response_body is None:
            self.outlet.begin(self, body, now)
        else:
            body.follow(self.response_body)
        self.response_body = body
        first = body.first
        if not isinstance(first, FinalPiece | EndOfBody):
            self.outlet.send(self, body.framed(first))

    def _begin(self, body: StreamingBody, now: float) -> None:
        """Queue the beginning of a response, as _begin_with(), and go on after it. Raises AnswerError."""
        self._begin_with(body, now)
        if isinstance(body.first, FinalPiece | EndOfBody):
            self._continue(body.first, now)
        else:
            self.outlet.due(self)

    def _continue(self, piece: Piece | FinalPiece | EndOfBody | _Failed, now: float) -> None:
        """Queue a further piece, or end the response."""
        body = self.response_body
        if body is None or piece is FAILED or piece is DROPPED:  # no app responds: its client has left, most often
            self.outlet.abort(self, now)
        elif isinstance(piece, EndOfBody):
            self._end(body, piece, None, now)
        elif isinstance(piece, FinalPiece):
            self.outlet.send(self, body.framed(piece.piece))
            self._end(body, EndOfBody.COMPLETE, body.response.close, now)
        else:
            self.outlet.send(self, body.framed(piece))
            self.outlet.due(self)

    def _end(
        self, body: StreamingBody, end: EndOfBody, close: Callable[[], object] | None, now: float
    ) -> None:  # fmt: skip
        """End the response. What is to be closed was closed by the call that found the end, but for `close`."""
        is_whole = end is EndOfBody.COMPLETE and body.is_whole
        if end is EndOfBody.COMPLETE and (body.excess or not is_whole):
            handler_call.report_length(self, body.response, body.most, body.sent + body.excess)
        if is_whole:
            self.outlet.send_tail(self, body)
        self.response_body = None
        body.response.close = close
        self.outlet.end(self, body, is_whole, now)
