"""An HTTP request and its answer, as an ASGI app sees them (ASGI, HTTP & WebSocket Message Format, "HTTP").

An `HttpCall` stands between the app's task and the connection. The connection gives it the body as it comes, takes its
answer piece by piece, and tells it when the client has gone; the app awaits receive() and send(). Back-pressure goes
through both: of the body no more is read than the connection's limit until the app has taken it, and send() returns
when its piece has gone out.

An answer whose first body message is its last is one Response, framed with its length and sent whole.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import IO, Any, Final

from allcomers.apps.asgi.disconnect import HalfClosed
from allcomers.apps.asgi.messages import (
    as_bytes,
    check_status,
    decoded,
    file_part,
    internal_error,
    is_event_stream,
    is_of_leaving,
    promised,
)
from allcomers.apps.asgi.runtime import AsgiRuntime, Message
from allcomers.apps.asgi.scope import Scope
from allcomers.connection.call import CONSUMED, PENDING, TIMED_OUT
from allcomers.connection.http.async_call import Asker
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, PushedBody
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import FileSlice, Piece, Request, Response, title

_logger = logging.getLogger("allcomers.app")

IN_A_ROW: Final = 32
"""Pieces that one app may send without waiting before the event loop has its turn: other clients have theirs then."""

IGNORED: Final = 64
"""Messages after the end that are ignored. An app that sends more is told to stop: the answer to a HEAD request is
complete with its head, whatever a stream has still to say."""


class HttpCall:
    """One request and its answer: a Live for the connection, receive() and send() for the app.

    ahead, hungry  as Live has them
    began, thread  of the AsgiRuntime's limit
    task           the app's
    """

    __slots__ = (
        "_asker",
        "_awaiting_send",
        "_begun",
        "_body",
        "_body_delivered",
        "_disconnect_sent",
        "_done",
        "_ending",
        "_file",
        "_given_up",
        "_gone",
        "_half",
        "_ignored",
        "_in_a_row",
        "_left",
        "_more",
        "_reply",
        "_response",
        "_runtime",
        "_scope",
        "_starting",
        "_trailers",
        "_waiting",
        "ahead",
        "began",
        "coroutine",
        "hungry",
        "request",
        "task",
        "thread",
    )  # fmt: skip

    def __init__(self, runtime: AsgiRuntime, request: Request, asker: Asker, scope: Scope) -> None:
        self.request = request
        content = request.content
        self.ahead = len(content or b"")
        self.hungry = False
        self.task: asyncio.Task[None] | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.began = 0.0
        self.thread = 0
        self._runtime = runtime
        self._asker = asker
        self._scope = scope
        self._body = [content] if content else []  # what of it has come and was not taken
        self._more = content is None and (request.chunked or bool(request.length))  # is more of it to come?
        self._body_delivered = False  # does the app know that there is no more?
        self._half: HalfClosed | None = None  # the client says no more
        self._gone = False  # and hears no more
        self._given_up = False  # cancelled, for nobody seems to be there
        self._disconnect_sent = False  # has the app been told so?
        self._waiting: list[asyncio.Future[None]] = []  # receive() and send() that wait for something to change
        self._response: Response | None = None  # its head, once the app has said it
        self._left = math.inf  # bytes that the client is promised still
        self._begun = False  # has the connection heard of the answer?
        self._awaiting_send = False  # does a piece wait to go out?
        self._done = False  # is the answer whole?
        self._trailers: list[tuple[str, str]] | None = None  # None where the app announced none
        self._file: IO[bytes] | None = None  # that the piece on its way comes from
        self._ending = False  # is it to end with the piece that is on its way?
        self._in_a_row = 0
        self._ignored = 0
        self._starting = False
        self._reply: Any = PENDING

    @property
    def name(self) -> str:
        return title(self.request)

    @property
    def done(self) -> bool:
        """Whether its answer is whole."""
        return self._done

    @property
    def is_over(self) -> bool:
        return self._done or self._gone

    @property
    def is_sending(self) -> bool:
        return self._awaiting_send

    # ------------------------------------------------------------ for the connection

    def start(self) -> Any:
        self._starting = True
        self.coroutine = self._run()
        if self._runtime.limit is not None:
            self.thread = threading.get_ident()
            self._runtime.limit.begin(self)
        self.task = self._runtime.spawn(self.coroutine)
        self._starting = False
        reply, self._reply = self._reply, PENDING
        return reply

    def adopt(self, begun: Message | None, told: bool, whole: bool) -> None:
        """From here on this talks with the app, in the place of a Brief: the start of an answer, if it was said; does
        the app know what the body is; is the answer whole?"""
        self._starting = True
        if told:
            self._next_body()
        if begun is not None:
            self._begin(begun)
        self._begun = self._done = whole

    def adopted(self, task: asyncio.Task[Any] | None, error: BaseException | None) -> Any:
        """The app's first step is over: it is `task` from now on, or has raised `error`. What it says, or LATER."""
        self.task = task
        if error is not None:
            self._runtime.spawn(self._raised(error))
        elif task is not None and task.done():
            self._app_ended(task)
        elif task is not None:
            self._runtime.watch(task)
            task.add_done_callback(self._app_ended)
        self._starting = False
        reply, self._reply = self._reply, PENDING
        return reply

    def _app_ended(self, task: asyncio.Task[Any]) -> None:
        self._runtime.spawn(self._conclude(task), timed=False)

    async def _conclude(self, task: asyncio.Task[Any]) -> None:
        error: BaseException | None
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        self.task = None
        del task  # its error holds the app's frames, and what is open there, which else would hold it
        try:
            await (self._returned() if error is None else self._raised(error))
        except AnswerError as missing:
            await self._raised(missing)
        finally:
            error = None

    def hear(self, piece: bytes, more: bool) -> None:
        if piece:
            self._body.append(piece)
            self.ahead += len(piece)
        self._more = more
        if piece or not more:
            self.hungry = False
            self._wake()

    def end(self) -> None:
        self._half = HalfClosed(self._runtime.events, self, self._runtime.disconnect_grace)

    def left(self) -> None:
        """The client says no more, and has been sent nothing for a while (disconnect.Call)."""
        self._wake()

    def give_up(self) -> None:
        self._given_up = self._disconnect_sent = True
        self._runtime.cancel(self.task, self.name)

    def leave(self) -> None:
        self._gone = True
        self.hungry = False
        if not self._done:
            self._runtime.orphan(self.task, self.name)
        self.drop_file()
        self._wake()

    def drain(self) -> None:
        """The server leaves. What ends by itself may; a stream of events does not, and its client comes again."""
        if self._begun and not self._done and self._response is not None and is_event_stream(self._response):
            self._runtime.events.call_soon(self._end_events)

    def _end_events(self) -> None:
        if not self._done and not self._gone:
            self._done = self._gone = self._ending = True
            self._runtime.orphan(self.task, self.name)
            if not self._awaiting_send:
                self._say(FinalPiece(b""))
            self._wake()

    def go_on(self) -> Any:
        """The piece that was said last has gone out (Work: a step of the stream)."""
        self.drop_file()
        if self._ending:
            return FinalPiece(b"")
        if self.task is not None and self.task.done():  # it was cancelled while the piece was on its way
            return EndOfBody.ABORTED
        self._awaiting_send = False
        if self._half is not None:
            self._half.sent()
        self._wake()
        return PENDING

    def drop_file(self) -> None:
        """What came from it has gone out, or never will."""
        if self._file is not None:
            self._file.close()
            self._file = None

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
            self._say(TIMED_OUT)
            self.leave()
            self.task.cancel()

    def _say(self, reply: Any) -> None:
        if self._runtime.limit is not None:
            self._runtime.limit.end(self)  # the pace of an answer that has begun is the app's affair
        if self._starting:
            self._reply = reply
        elif self._asker.driver is not None:
            self._asker.driver.said(reply)
        else:
            self.leave()

    def _look(self) -> None:
        """Something of the request was taken, or is waited for; within start() the driver looks of itself."""
        if not self._starting and self._asker.driver is not None:
            self._asker.driver.said(CONSUMED)

    # ------------------------------------------------------------ the app

    async def _run(self) -> None:
        try:
            await self._runtime.app(self._scope, self.receive, self.send)
            await self._returned()
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: one request does not stop a server
            await self._raised(error)
        finally:
            if self._runtime.limit is not None:
                self._runtime.limit.end(self)

    async def _returned(self) -> None:
        if self._done or self._gone:
            return
        if not self._disconnect_sent:
            raise AnswerError("the app returned before its answer was whole")
        await self.fail(EndOfBody.ABORTED)  # it was told that nobody is there any more

    async def _raised(self, error: BaseException) -> None:
        self._report(error)
        await self.fail(EndOfBody.ABORTED if self._given_up else internal_error())

    def _report(self, error: BaseException) -> None:
        if (self._gone or self._done or self._given_up or self._runtime.cancels) and is_of_leaving(error):
            return
        if (
            self._gone and self._disconnect_sent and isinstance(error, Exception)
        ):  # how apps say that the client left before it had said all
            _logger.info("%s: the client left, and the app ended with %r", title(self.request), error)
        else:
            self._runtime.report(error, self.request)

    async def fail(self, otherwise: Response | EndOfBody) -> None:
        """The answer, if it is not whole, never will be. `otherwise`: what is said if it has not begun."""
        while self._awaiting_send and not self._gone:
            await self._wait()
        if self._done or self._gone:
            return
        self._done = True
        begun, self._begun = self._begun, True
        self._say(EndOfBody.ABORTED if begun else otherwise)

    async def _wait(self) -> None:
        future = self._runtime.events.create_future()
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
                self._disconnect_sent = self._gone
                return {"type": "http.disconnect"}
            if self._body or not (self._more or self._body_delivered):
                return self._next_body()
            if self._half is not None and self._half.has_left:
                self._disconnect_sent = True
                return {"type": "http.disconnect"}
            if self._more and not self.hungry:
                self.hungry = True
                self._look()
                if not self.hungry:  # what it waits for was there already
                    continue
            if self._more and self._runtime.limit is not None and not self._begun:
                self._runtime.limit.end(self)  # how long the client takes is not the app's fault
                await self._wait()
                self._runtime.limit.begin(self)
            else:
                await self._wait()

    def _next_body(self) -> Message:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.ahead = 0
        self._body_delivered = not self._more
        if self._more:
            self._look()
        return {"type": "http.request", "body": body, "more_body": self._more or bool(self._body)}

    async def send(self, message: Message) -> None:
        """Raises ClientGone; AnswerError for a message that has no place here."""
        while self._awaiting_send and not self._gone:
            await self._wait()
        if self._gone:
            raise ClientGone("the client has gone")
        kind = message["type"]
        if kind == "http.response.early_hint" and not self._done:
            self._asker.hint(message["links"])
            self._look()
        elif self._response is None:
            if kind != "http.response.start":
                raise AnswerError(f"the first message of an answer is http.response.start, not {kind!r}")
            self._begin(message)
        elif self._done:
            await self._ignore()
        elif kind == "http.response.body":
            await self._send_piece(as_bytes(message.get("body", b"")), message.get("more_body", False))
        elif kind == "http.response.zerocopysend":
            await self._send_slice(message)
        elif kind == "http.response.pathsend":
            self._send_file(message["path"])
        elif kind == "http.response.trailers" and self._trailers is not None:
            self._trailers += decoded(message["headers"])
            if not message.get("more_trailers", False):
                self._finish(b"")
        else:
            raise AnswerError(f"{kind!r} has no place in an answer that has begun")

    def _begin(self, message: Message) -> None:
        check_status(message["status"])
        self._response = Response(status=message["status"], headers=decoded(message.get("headers", ())))
        if message.get("trailers", False):
            self._trailers = self._response.trailers = []

    async def _ignore(self) -> None:
        """ "Any further messages on the channel will be ignored." """
        self._ignored += 1
        if self._ignored > IGNORED:
            raise ClientGone("the client has had all of the answer")
        await asyncio.sleep(0)

    async def _send_piece(self, piece: Piece, more: bool) -> None:
        """A piece of the body; the last one waits for the trailers, if there are to be any."""
        if not more and self._trailers is None:
            self._finish(piece)
            return
        if not self._begun:
            assert self._response is not None
            self._left = promised(self.request, self._response)
        self._left -= len(piece)
        if self._left <= 0:
            self._finish(piece, alone=False)
        elif len(piece) or not self._begun:
            await self._hold(piece)

    async def _hold(self, piece: Piece) -> None:
        """Have a piece go out, and wait until it has."""
        assert self._response is not None
        self._awaiting_send = True
        if self._begun:
            self._say(piece)
        else:
            self._begun = True
            self._say(PushedBody(self._response, piece, self))
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while self._awaiting_send and not self._gone:
            self._in_a_row = 0
            await self._wait()

    def _finish(self, piece: Piece, *, alone: bool = True) -> None:
        """The last piece: the answer is whole. If it is `alone`, and the first too, it is all that the body has."""
        response = self._response
        assert response is not None
        self._done = True
        if self._file is not None and response.close is None:
            response.close = self.drop_file
        if self._begun:
            self._say(FinalPiece(piece))
        else:
            self._begun = True
            response.body = piece
            self._say(response if alone else PushedBody(response, FinalPiece(piece), self))
        self._wake()  # receive() has no more to wait for

    async def _send_slice(self, message: Message) -> None:
        self.drop_file()
        self._file, offset, count = file_part(message)
        await self._send_piece(FileSlice(self._file, offset, count), message.get("more_body", False))

    def _send_file(self, path: str) -> None:
        if self._begun:
            raise AnswerError("http.response.pathsend is the whole body, and some has been sent already")
        self._file = Path(path).open("rb", buffering=0)
        self._finish(FileSlice(self._file, 0, os.fstat(self._file.fileno()).st_size))
