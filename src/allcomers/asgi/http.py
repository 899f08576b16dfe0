"""An HTTP request and its answer, as an ASGI app sees them (ASGI, HTTP & WebSocket Message Format, "HTTP").

An `Exchange` stands between the app's task and the connection. The connection gives it the body as it comes, takes its
answer piece by piece, and tells it when the client has gone; the app awaits receive() and send(). Back-pressure goes
through both: of the body no more is read than the connection's limit until the app has taken it, and send() returns
when its piece has gone out.

An answer whose first body message is its last is one Response, framed with its length and sent whole.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from allcomers.asgi.host import Host, Message
from allcomers.asgi.scope import Scope
from allcomers.connection import LATER, OVERDUE, TAKEN
from allcomers.errors import AnswerError
from allcomers.http_calls import Asker, End, Last, Stream, title
from allcomers.protocol.message import FileSlice, Piece, Request, Response

IN_A_ROW: Final = 32
"""Pieces that one app may send without waiting before the event loop has its turn: other clients have theirs then."""


class ClientGone(OSError):
    """What send() raises once the client is gone (specification 2.4)."""


class Filled(Stream):
    """A Stream that the app fills, rather than one that is pulled."""

    __slots__ = ("_exchange",)

    def __init__(self, response: Response, first: Piece, exchange: Exchange) -> None:
        super().__init__(response, first)
        self._exchange = exchange

    def step(self) -> Any:
        return self._exchange.go_on()

    def close(self) -> None:
        self._exchange.leave()


class Exchange:
    """One request and its answer: a Live for the connection, receive() and send() for the app.

    ahead, hungry  as Live has them
    began, thread  of the Host's limit
    task           the app's
    """

    __slots__ = (
        "_asker", "_begun", "_body", "_close", "_cut", "_done", "_ended", "_gone", "_held", "_host", "_in_a_row",
        "_more", "_reply", "_scope", "_start", "_starting", "_told", "_trailers", "_waiting", "ahead", "began",
        "coroutine", "hungry", "request", "task", "thread",
    )  # fmt: skip

    def __init__(self, host: Host, request: Request, asker: Asker, scope: Scope) -> None:
        self.request = request
        self.ahead = 0
        self.hungry = False
        self.task: asyncio.Task[None] | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.began = 0.0
        self.thread = 0
        self._host = host
        self._asker = asker
        self._scope = scope
        self._body: list[bytes] = []  # what of it has come and was not taken
        self._more = request.chunked or bool(request.length)  # is more of it to come?
        self._told = False  # does the app know that there is no more?
        self._ended = False  # the client says no more
        self._gone = False  # and hears no more
        self._waiting: list[asyncio.Future[None]] = []  # receive() and send() that wait for something to change
        self._start: Message | None = None
        self._begun = False  # has the connection heard of the answer?
        self._held = False  # does a piece wait to go out?
        self._done = False  # is the answer whole?
        self._trailers: list[tuple[str, str]] | None = None  # None where the app announced none
        self._close: Callable[[], object] | None = None  # the file of a pathsend
        self._cut = False  # is it to end with the piece that is on its way?
        self._in_a_row = 0
        self._starting = False
        self._reply: Any = LATER

    @property
    def name(self) -> str:
        return title(self.request)

    @property
    def done(self) -> bool:
        """Is its answer whole?"""
        return self._done

    # ------------------------------------------------------------ for the connection

    def start(self) -> Any:
        self._starting = True
        self.coroutine = self._run()
        if self._host.limit is not None:
            self.thread = threading.get_ident()
            self._host.limit.begin(self)
        self.task = self._host.spawn(self.coroutine)
        self._starting = False
        reply, self._reply = self._reply, LATER
        return reply

    def hear(self, piece: bytes, more: bool) -> None:
        if piece:
            self._body.append(piece)
            self.ahead += len(piece)
        self._more = more
        if piece or not more:
            self.hungry = False
            self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def leave(self) -> None:
        self._gone = True
        self.hungry = False
        if self._close is not None:
            self._close()
        self._wake()

    def drain(self) -> None:
        """The server leaves. What ends by itself may; a stream of events does not, and its client comes again."""
        if self._begun and not self._done and _is_event_stream(self._start):
            self._host.events.call_soon(self._end_events)

    def _end_events(self) -> None:
        if not self._done and not self._gone:
            self._done = self._gone = self._cut = True
            if not self._held:
                self._say(Last(b""))
            self._wake()

    def go_on(self) -> Any:
        """The piece that was said last has gone out (Work: a step of the stream)."""
        if self._cut:
            return Last(b"")
        if self.task is not None and self.task.done():  # it was cancelled while the piece was on its way
            return End.BROKEN
        self._held = False
        self._wake()
        return LATER

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def time_out(self) -> None:
        """It takes too long: the client is told so, the app is cancelled where it waits."""
        if not self._begun and self.task is not None and not self.task.done():
            self._begun = self._done = True
            self._say(OVERDUE)
            self.leave()
            self.task.cancel()

    def _say(self, reply: Any) -> None:
        if self._host.limit is not None:
            self._host.limit.end(self)  # the pace of an answer that has begun is the app's affair
        if self._starting:
            self._reply = reply
        elif self._asker.driver is not None:
            self._asker.driver.said(reply)
        else:
            self.leave()

    def _look(self) -> None:
        """Something of the request was taken, or is waited for; within start() the driver looks of itself."""
        if not self._starting and self._asker.driver is not None:
            self._asker.driver.said(TAKEN)

    # ------------------------------------------------------------ the app

    async def _run(self) -> None:
        try:
            await self._host.app(self._scope, self.receive, self.send)
            if not self._done and not self._gone:
                raise AnswerError("the app returned before its answer was whole")
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: one request does not stop a server
            if not (self._gone and is_of_leaving(error)):
                self._host.report(error, self.request)
            while self._held and not self._gone:
                await self._wait()
            self._fail()
        finally:
            if self._host.limit is not None:
                self._host.limit.end(self)

    def _fail(self) -> None:
        if self._done or self._gone:
            return
        self._done = True
        if self._begun:
            self._say(End.BROKEN)
        else:
            self._begun = True
            self._say(internal_error())

    async def _wait(self) -> None:
        future = self._host.events.create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    async def receive(self) -> Message:
        """http.request while there is something of the body; then http.disconnect, once the client or we are done."""
        while True:
            if self._gone or self._done:
                return {"type": "http.disconnect"}
            if self._body or not (self._more or self._told):
                return self._next_body()
            if self._ended:
                return {"type": "http.disconnect"}
            if self._more and not self.hungry:
                self.hungry = True
                self._look()
                if not self.hungry:  # what it waits for was there already
                    continue
            if self._more and self._host.limit is not None and not self._begun:
                self._host.limit.end(self)  # how long the client takes is not the app's fault
                await self._wait()
                self._host.limit.begin(self)
            else:
                await self._wait()

    def _next_body(self) -> Message:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.ahead = 0
        self._told = not self._more
        if self._more:
            self._look()
        return {"type": "http.request", "body": body, "more_body": self._more or bool(self._body)}

    async def send(self, message: Message) -> None:
        """Raises ClientGone; AnswerError for a message that has no place here."""
        while self._held and not self._gone:
            await self._wait()
        if self._gone:
            raise ClientGone("the client has gone")
        kind = message["type"]
        if kind == "http.response.early_hint" and not self._done:
            self._asker.hint(message["links"])
            self._look()
        elif self._start is None:
            if kind != "http.response.start":
                raise AnswerError(f"the first message of an answer is http.response.start, not {kind!r}")
            self._begin(message)
        elif self._done:
            return  # "any further messages on the channel will be ignored"
        elif kind == "http.response.body":
            await self._send_piece(bytes(message.get("body", b"")), message.get("more_body", False))
        elif kind == "http.response.zerocopysend":
            await self._send_slice(_slice(message), message.get("more_body", False))
        elif kind == "http.response.pathsend":
            self._send_file(message["path"])
        elif kind == "http.response.trailers" and self._trailers is not None:
            self._trailers += decoded(message["headers"])
            if not message.get("more_trailers", False):
                self._finish(b"")
        else:
            raise AnswerError(f"{kind!r} has no place in an answer that has begun")

    def _begin(self, message: Message) -> None:
        _check_status(message["status"])
        self._start = message
        if message.get("trailers", False):
            self._trailers = []

    def _response(self) -> Response:
        assert self._start is not None
        response = Response(status=self._start["status"], headers=decoded(self._start.get("headers", ())))
        response.close = self._close
        if self._trailers is not None:
            response.trailers = self._trailers
        return response

    async def _send_piece(self, piece: Piece, more: bool) -> None:
        """A piece of the body; the last one waits for the trailers, if there are to be any."""
        if more or self._trailers is not None:
            if self._begun and not len(piece):
                return
            await self._hold(piece)
        else:
            self._finish(piece)

    async def _hold(self, piece: Piece) -> None:
        """Have a piece go out, and wait until it has."""
        self._held = True
        if self._begun:
            self._say(piece)
        else:
            self._begun = True
            self._say(Filled(self._response(), piece, self))
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while self._held and not self._gone:
            self._in_a_row = 0
            await self._wait()

    def _finish(self, piece: Piece) -> None:
        """The last piece: the answer is whole."""
        self._done = True
        if self._begun:
            self._say(Last(piece))
        else:
            self._begun = True
            response = self._response()
            response.body = piece
            self._say(response)
        self._wake()  # receive() has no more to wait for

    async def _send_slice(self, piece: FileSlice, more: bool) -> None:
        """A part of a file that the app closes when this returns: so it has gone out by then, also the last one."""
        assert self._start is not None
        if not self._begun and not more and self._trailers is None:
            self._start = {**self._start, "headers": _with_length(self._start.get("headers", ()), len(piece))}
        if len(piece):
            await self._hold(piece)
        if not more and not self._gone:
            await self._send_piece(b"", False)

    def _send_file(self, path: str) -> None:
        if self._begun:
            raise AnswerError("http.response.pathsend is the whole body, and some has been sent already")
        file = Path(path).open("rb", buffering=0)
        self._close = file.close
        self._finish(FileSlice(file, 0, os.fstat(file.fileno()).st_size))


def _is_event_stream(start: Message | None) -> bool:
    """Server-sent events (HTML, 9.2)?"""
    headers = start.get("headers", ()) if start is not None else ()
    kinds = [bytes(value).lower() for name, value in headers if bytes(name).lower() == b"content-type"]
    return any(kind.startswith(b"text/event-stream") for kind in kinds)


def internal_error() -> Response:
    return Response(b"Internal Server Error\n", status=500, headers=[("Content-Type", "text/plain; charset=utf-8")])


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]


def _with_length(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    fields = [(bytes(name), bytes(value)) for name, value in headers]
    if not any(name.lower() == b"content-length" for name, _ in fields):
        fields.append((b"content-length", b"%d" % length))
    return fields


def is_of_leaving(error: BaseException | None) -> bool:
    """Does it only say that the client is gone, in the app's words perhaps?"""
    while error is not None:
        if isinstance(error, ClientGone | asyncio.CancelledError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_status(status: object) -> None:
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise AnswerError(f"{status!r} is no status for a final answer")


def _slice(message: Message) -> FileSlice:
    """The part of a file that an http.response.zerocopysend names."""
    file = message["file"]
    descriptor = file if isinstance(file, int) else file.fileno()
    offset = message.get("offset")
    if offset is None:
        offset = os.lseek(descriptor, 0, os.SEEK_CUR) if isinstance(file, int) else file.tell()
    left = os.fstat(descriptor).st_size - offset
    count = message.get("count")
    return FileSlice(file, offset, left if count is None else min(count, left))
