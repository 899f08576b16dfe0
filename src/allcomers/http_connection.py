"""An HTTP/1.1 peer: its requests in order, one call each, the answers in the same order (RFC 9112).

The next request is looked at only when the answer to the one before is queued whole: nothing is shared between two
requests, and what follows a refused one is never looked at. An answer that is an iterable is pulled one piece a call,
and only once the piece before has gone out: no call ever waits for a slow client.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from allcomers.codec import JOIN
from allcomers.connection import BODY, CALLED, CLOSED, DUE, HEAD, IDLE, Address, Connection, Work
from allcomers.errors import AnswerError, Refusal
from allcomers.http_calls import ENDLESS, WHOLE, End, HttpEndpoint, Plan, Stream, call, failed
from allcomers.protocol import http1
from allcomers.protocol.head import CONTINUE, STATUS_LINES, encode_fields, status_line
from allcomers.protocol.message import Body, FileSlice, Piece, Request, Response
from allcomers.records import Record

SERVER: Final = b"Server: allcomers\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_NOTHING: Final = ("", "", 1)


class HttpConnection(Connection):
    """One client of an HttpEndpoint."""

    __slots__ = ("_asked", "_began", "_body", "_endpoint", "_head", "_inbound", "_stream")

    def __init__(self, endpoint: HttpEndpoint, address: Address, now: float) -> None:
        limits = endpoint.limits
        super().__init__(limits, address, endpoint.tls, now)
        self._endpoint = endpoint
        self._inbound = http1.Requests(limits)
        self._head: Request | None = None
        self._asked = _NOTHING  # its method, target and minor version as they came, whatever the app makes of them
        self._body: Body | None = None
        self._stream: Stream | None = None  # the answer that comes in pieces
        self._began = now  # when the first byte of this request came
        self._queued: list[Record] | None  # answers queued whole that have not gone out

    # ------------------------------------------------------------ requests

    def _heard(self, data: bytes, now: float) -> None:
        if self.phase is IDLE:
            self._began = now
        self._inbound.feed(data)
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
            self._asked = (head.method, head.target, head.minor)
            if not (head.chunked or head.length):
                self.phase = DUE
            else:
                self._body = Body()
                if head.expects and not inbound.buffer:
                    self.codec.push(CONTINUE)
                self.enter(BODY, now)
        if self.phase is BODY:
            self._store(inbound.body())
            if inbound.complete:
                self.phase = DUE

    def _store(self, piece: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            body.write(piece)
            if self._inbound.complete:
                body.rewind()
        except OSError as error:  # no descriptor, or no room on the disk, for its temporary file
            self._endpoint.report(error, self._request())
            raise Refusal(503, "the body cannot be stored now") from None

    def _drop_body(self) -> None:
        """The body is not needed any more: its temporary file goes now, not when it is collected."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _enter_head(self, now: float) -> None:
        """The time for the first head counts from accept: sending nothing must buy none."""
        since = now if self.served else self._since
        self.enter(HEAD, now)
        self._since = since

    def _heard_end(self, now: float) -> None:
        if self.phase is HEAD or self.phase is BODY:
            raise Refusal(400, "the connection ended in the middle of a request")

    def _ahead(self) -> int:
        return len(self._inbound.buffer)

    # ------------------------------------------------------------ calls

    def _take_work(self) -> Work:
        self._called = True
        self.phase = CALLED
        if self._stream is not None:
            return self._stream.step
        return partial(call, self._endpoint, self._request())

    def _may_call(self) -> bool:
        # The next piece of an answer waits until the one before has gone out; the next request need not.
        return self._stream is None and super()._may_call()

    def _request(self) -> Request:
        head = self._head
        assert head is not None
        scheme = "http" if self._endpoint.tls is None else "https"
        head.arrived(self._inbound.trailers, self._body, self.peer, self.port, scheme)
        return head

    def _answered(self, reply: Response | Stream | Piece | End, now: float) -> None:
        """What `call` or a Stream's step returned."""
        self._called = False
        try:
            if self.phase is CALLED:
                self._take(reply, now)
            else:  # the peer has gone, or broken TLS, meanwhile
                self._forget(reply)
                self._drop_body()
        except Refusal as refusal:  # the next request is here already, and malformed
            self._refuse(refusal, now)

    def _take(self, reply: Response | Stream | Piece | End, now: float) -> None:
        """Queue what `reply` has of an answer. Raises Refusal."""
        try:
            if isinstance(reply, Response):
                self._answer(reply, now)
            elif isinstance(reply, Stream):
                self._begin(reply, now)
            else:
                self._go_on(reply, now)
        except AnswerError as error:
            self._forget(reply)
            self._answer(failed(self._endpoint, error, self._request()), now)

    def _forget(self, reply: Response | Stream | Piece | End) -> None:
        """This answer cannot be sent, or nobody is there to take it: close what it has open."""
        if isinstance(reply, Stream):
            reply.close()
        elif isinstance(reply, Response):
            Stream(reply, iter(()), self._endpoint, self._request()).close()
        elif isinstance(reply, End):
            self._stream = None

    # ------------------------------------------------------------ answers

    def _answer(self, response: Response, now: float) -> None:
        """Queue an answer whose body is at hand: bytes or a FileSlice. Raises AnswerError before it queues a byte."""
        body = response.body
        assert isinstance(body, WHOLE)
        size = len(body)
        block, most, _, persists = self._plan(response, size, now)
        if size > most:
            size = most
            body = _first(body, size)
        if size <= JOIN and isinstance(body, bytes):
            self.codec.push(block + body)
        else:
            self.codec.push(block)
            self.codec.push(body)
        self._finish(response, size, persists and size == most, now)

    def _begin(self, stream: Stream, now: float) -> None:
        """Queue the head and the first piece of an answer whose body is an iterable. Raises AnswerError."""
        block, stream.most, stream.chunked, stream.persists = self._plan(stream.response, None, now)
        self._stream = stream
        self.codec.push(block)
        self._go_on(stream.first, now)

    def _go_on(self, piece: Piece | End, now: float) -> None:
        """Queue a further piece, or end the answer."""
        stream = self._stream
        assert stream is not None
        if isinstance(piece, End):
            self._end_stream(stream, piece, now)
            return
        size = min(len(piece), stream.left)
        if size < len(piece):  # longer than its Content-Length: cut (RFC 9112, 6.3)
            piece = _first(piece, size)
        stream.sent += size
        for segment in http1.chunk(piece) if stream.chunked else (piece,):
            self.codec.push(segment)
        self.phase = DUE

    def _end_stream(self, stream: Stream, end: End, now: float) -> None:
        """The iterable is at its end: closed already, by the call that found it."""
        whole = end is End.WHOLE and (stream.most == ENDLESS or stream.sent == stream.most)
        if whole and stream.chunked:
            self.codec.push(self._last_chunk(stream.response))
        self._stream = None
        stream.response.close = None
        self._finish(stream.response, stream.sent, stream.persists and whole, now)

    def _finish(self, response: Response, size: int, persists: bool, now: float) -> None:
        """The answer is queued whole, with a body of `size` bytes: on to the next request."""
        head = self._head
        assert head is not None
        if self._endpoint.log is not None or response.close is not None:
            self._note(Record(head, self._asked, response.status, size, self._began, response.close))
        self.served += 1
        self._patience = self._endpoint.limits.keep_alive
        self._head = None
        self._asked = _NOTHING
        if self._body is not None:
            self._drop_body()
        if not persists:
            # A client that did not expect the end may have sent more: it must read the answer, not a reset.
            self.close(now, linger=head.persists or self._inbound.buffer != b"")
            return
        self.enter(IDLE, now)
        if self._inbound.buffer:
            self._began = now
            self._advance(now)
            if self._ended:
                self._heard_end(now)

    def _plan(self, response: Response, size: int | None, now: float) -> Plan:
        """How an answer goes out whose body has `size` bytes, or nobody knows how many. Raises AnswerError."""
        head = self._head
        assert head is not None
        method, _, minor = self._asked
        more = self._inbound.buffer != b""
        persists = head.persists and (more or not (self._ended or self._leaving))
        fields, ours = encode_fields(response.headers)
        if ours is not None:
            if "content-length" in ours:
                size = _declared(ours["content-length"])
            persists = persists and "close" not in ours.get("connection", "").lower()
        status = response.status
        chunked = False
        if status == 204 or status == 304:
            framing, most = b"", 0  # RFC 9112, 6.3, rule 1: these have no body
        elif size is not None:
            framing, most = b"Content-Length: %d\r\n" % size, size
        else:
            most = ENDLESS
            chunked = minor == 1
            persists = persists and chunked
            framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if method == "HEAD":
            most, chunked = 0, False
        connection = (b"Connection: keep-alive\r\n" if minor == 0 else b"") if persists else _CLOSE
        date = self._endpoint.date(now)
        first = STATUS_LINES.get(status) or status_line(status)
        block = b"".join((first, fields, date, SERVER, framing, connection, http1.CRLF))
        return block, most, chunked, persists

    def _last_chunk(self, response: Response) -> bytes:
        """RFC 9110, 6.5.1: trailers go only to a client that says it takes them."""
        head = self._head
        assert head is not None
        if response.trailers and b"trailers" in head.named.get(b"te", b"").lower():
            try:
                return http1.last_chunk(response.trailers)
            except Exception as error:  # the app's iterable; the answer is out, all but these
                self._endpoint.report(error, self._request())
        return http1.last_chunk()

    # ------------------------------------------------------------ refusals and ends

    def _refuse(self, refusal: Refusal, now: float) -> None:
        body = refusal.reason.encode("ascii") + b".\n"
        length = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body)
        date = self._endpoint.date(now)
        self.codec.push(b"".join((status_line(refusal.status), length, date, SERVER, _CLOSE, http1.CRLF, body)))
        if self._endpoint.log is not None:
            self._note(Record(self._head, self._asked, refusal.status, len(body), self._began, None))
        self._drop_body()
        self.close(now, linger=True)

    def _expire(self, now: float) -> None:
        if not self._writing and self.phase in (HEAD, BODY):
            self._refuse(Refusal(408, "the request did not come in time"), now)
        elif not self._writing and self.phase is IDLE and self.codec.ready:
            self.close(now)
        else:
            self.lost(now)

    def _gone_out(self, now: float) -> None:
        self._note_all(0, now)

    def lost(self, now: float) -> None:
        stream = self._stream
        if stream is not None and self.phase is not CLOSED and self._endpoint.log is not None:
            self._note(Record(self._head, self._asked, stream.response.status, stream.sent, self._began, None))
        if self._queued is not None:
            self._note_all(self.codec.unsent, now)
        if not self._called:
            self._drop_body()
        super().lost(now)

    def _note(self, record: Record) -> None:
        """An answer is queued whole: to be noted, and its file closed, once it has gone out."""
        if self._queued is None:
            self._queued = []
        self._queued.append(record)

    def _note_all(self, unsent: int, now: float) -> None:
        """What was queued has gone out, but for `unsent` bytes at its end."""
        records, self._queued = self._queued or [], None
        for record in reversed(records):
            missing = min(unsent, record.sent)
            record.sent -= missing
            unsent -= missing
        for record in records:
            if record.close is not None:
                self._close_file(record.close, record.head)
            if self._endpoint.log is not None:
                record.write(self._endpoint, self.peer, now)

    def _close_file(self, close: Callable[[], object], head: Request | None) -> None:
        try:
            close()
        except BaseException as error:  # the app's: one request does not stop a server
            assert head is not None
            self._endpoint.report(error, Request(method=head.method, target=head.target, peer=self.peer))

    def farewell(self) -> Work | None:
        if self._called or self._stream is None:
            return None
        stream, self._stream = self._stream, None
        return stream.close


def _first(piece: Piece, size: int) -> Piece:
    return FileSlice(piece.file, piece.offset, size) if isinstance(piece, FileSlice) else piece[:size]


def _declared(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise AnswerError(f"Content-Length is not a number: {value!r}")
    return int(value)


def busy(date: bytes) -> bytes:
    """What a client is told for whom there is no place: 503, to be sent as it is (RFC 9110, 15.6.4)."""
    body = b"There is no place free; try again in a moment.\n"
    fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nRetry-After: 1\r\n" % len(body)
    return b"".join((status_line(503), fields, date, SERVER, _CLOSE, http1.CRLF, body))
