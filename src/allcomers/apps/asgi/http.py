"""The call of an ASGI app for an HTTP request (ASGI, HTTP & WebSocket Message Format, "HTTP").

An `HttpCall` stands between the app's task and the connection. The connection feeds it the body as it comes, sends its
response piece by piece, and reports that the client has gone; the app awaits receive() and send(). Back-pressure goes
through both: of the body no more is read than the connection's limit until the app has received it, and send() returns
when its piece has gone out. A head goes out with its body, or soon by itself.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Coroutine
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from allcomers.apps.asgi.call.disconnect import HalfClosed
from allcomers.apps.asgi.call.messages import Message, is_of_leaving
from allcomers.apps.asgi.call.request_body import COMING, RequestBody
from allcomers.apps.asgi.call.response_writer import DONE, HEAD, ResponseWriter
from allcomers.apps.asgi.call.turns import flush
from allcomers.apps.asgi.call.waiters import Waiters
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.apps.asgi.scope import Scope
from allcomers.connection.call import CONSUMED, PENDING, TIMED_OUT
from allcomers.connection.http.async_call import Asker
from allcomers.connection.http.response_body import EndOfBody, FinalPiece
from allcomers.connection.http.response_head import internal_error
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import Request, Response, title
from allcomers.system.native.primitives import get_ident

_logger = logging.getLogger("allcomers.app")

IN_A_ROW: Final = 32
"""Pieces that one app may send without waiting before the event loop has its turn: other clients have theirs then."""


class Notice(enum.Enum):
    """How far the app knows that its client has left."""

    UNAWARE = "not at all"
    DISCONNECTED = "it has received http.disconnect"
    CANCELLED = "its task is cancelled"


UNAWARE: Final = Notice.UNAWARE


class HttpCall:
    """One request and its response: an AsyncCall for the connection, receive() and send() for the app.

    body, response  the two halves
    task            the app's
    coroutine       that the task runs
    began, thread   of the AsgiRuntime's limit
    in_a_row        pieces that were sent without a wait
    """

    # PERF: no __slots__, as of the two halves (call/response_writer.py)

    def __init__(self, runtime: AsgiRuntime, request: Request, asker: Asker, scope: Scope) -> None:
        self.request = request
        self.body = RequestBody(request)
        self.response = ResponseWriter()
        self.task: asyncio.Task[None] | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.began = 0.0
        self.thread = 0
        self._runtime = runtime
        self._asker = asker
        self._scope = scope
        self._gone = False  # the client, or its interest in this
        self._half: HalfClosed | None = None  # once the client has closed its sending side
        self._notice: Notice = UNAWARE
        self._waiters = Waiters()
        self._first: Any = PENDING  # what start() is to return; None once it has
        self.in_a_row = 0

    if TYPE_CHECKING:
        ahead: int
        hungry: bool
    else:  # C reads them: no call of Python for each turn of the connection
        ahead = property(attrgetter("body.ahead"))
        hungry = property(attrgetter("body.hungry"))

    @property
    def name(self) -> str:
        return title(self.request)

    # ------------------------------------------------------------ for the connection

    def start(self) -> Any:
        self.coroutine = self._run()
        if self._runtime.limit is not None:
            self.thread = get_ident()
            self._runtime.limit.begin(self)
        self.task = self._runtime.spawn(self.coroutine)
        return self._end_start()

    def adopt(self, task: asyncio.Task[Any] | None, error: BaseException | None) -> Any:
        """Go on with an app whose first step is over, in `task`, or has raised `error`. Return what start() returns.

        With neither the messages come from elsewhere, and what they add goes out at once.
        """
        self.task = task
        if error is not None:
            self._runtime.spawn(self._raised(error))
        elif task is not None and task.done():
            self._runtime.spawn(self._conclude(task), timed=False)
        elif task is not None:
            self._runtime.watch(task)
            task.add_done_callback(lambda over: self._runtime.spawn(self._conclude(over), timed=False))
        return self._end_start()

    def _end_start(self) -> Any:
        """Return the first output, or PENDING; what comes later goes to the driver."""
        flush(self)
        first, self._first = self._first, None
        if self.response.state is HEAD:
            self._runtime.late_heads.add(self)
        return first

    def hear(self, piece: bytes, more: bool) -> None:
        if self.body.feed(piece, more):
            self._waiters.wake()

    def end(self) -> None:
        self._half = HalfClosed(
            self._runtime.events,
            self.response,
            self._runtime.disconnect_grace,
            notify=self._waiters.wake,
            cancel=self._give_up,
        )

    def _give_up(self) -> None:
        self._notice = Notice.CANCELLED
        self._runtime.cancel(self.task, self.name)

    def leave(self) -> None:
        self._gone = True
        self.body.hungry = False
        if self._half is not None:
            self._half.stop()
        if self.response.state is not DONE:
            self._runtime.orphan(self.task, self.name)
        self.response.close_file()
        self.response.drop()
        self._waiters.wake()

    def send_head(self) -> None:
        """Send the head, whose body is late (late_heads)."""
        if not self._gone and (output := self.response.write_head(self)) is not None:
            self.pass_on(output)

    def drain(self) -> None:
        """Let what ends by itself end; end a stream of events, which does not: its client connects again."""
        if self.response.is_endless:
            self._runtime.events.call_soon(self._end_events)

    def _end_events(self) -> None:
        if self.response.state is not DONE and not self._gone:
            flush(self)
            is_sending = self.response.is_sending
            self.response.state = DONE
            self._gone = True
            self._runtime.orphan(self.task, self.name)
            if not is_sending:  # else go_on() ends it
                self._post(FinalPiece(b""))
            self._waiters.wake()

    def go_on(self) -> Any:
        """Go on, once the piece on its way has gone out: a step of the PushedBody."""
        response = self.response
        response.sent()
        if response.state is DONE:
            return FinalPiece(b"")
        if self.task is not None and self.task.done():  # it was cancelled while the piece was on its way
            response.state = DONE
            return EndOfBody.ABORTED
        if self._half is not None:
            self._half.sent()
        self._waiters.wake()
        return PENDING

    def pass_on(self, output: Any) -> None:
        """Send a piece that more follows: most often it has gone out when this returns."""
        self.response.is_sending = True
        if self._post(output):
            self.response.sent()
            if self._half is not None:
                self._half.sent()

    def time_out(self) -> None:
        """Give up a call that takes too long: the client gets 503, the app is cancelled where it waits."""
        if self.response.is_unsent and self.task is not None and not self.task.done():
            self.response.state = DONE
            self._post(TIMED_OUT)
            self.leave()
            self.task.cancel()

    def _post(self, output: Any) -> bool:
        """Send an output through the connection: as what start() returns, or at once. Return what said() does."""
        if self._runtime.limit is not None:
            self._runtime.limit.end(self)  # the pace of a response that has started is the app's affair
        if self._first is not None:
            self._first = output
        elif self._asker.driver is not None:
            return self._asker.driver.said(output)
        else:
            self.leave()
        return False

    def _report_consumed(self) -> None:
        """Report that the app can receive more; no need to within start(), after which the connection looks."""
        if self._first is None and self._asker.driver is not None:
            self._asker.driver.said(CONSUMED)

    # ------------------------------------------------------------ the app

    async def _run(self) -> None:
        try:
            await self._runtime.app(self._scope, self.receive, self.send)
            if self.response.state is not DONE:
                await self._returned()
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: one request does not stop a server
            await self._raised(error)
        finally:
            if self._runtime.limit is not None:
                self._runtime.limit.end(self)

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

    async def _returned(self) -> None:
        if self._gone or self.response.state is DONE:
            return
        if self._notice is UNAWARE:
            raise AnswerError("the app returned before its response was whole")
        await self.fail(EndOfBody.ABORTED)  # it knows that its client has left

    async def _raised(self, error: BaseException) -> None:
        shown = None
        knows = self._gone and self._notice is not UNAWARE
        if knows and isinstance(error, Exception) and not is_of_leaving(error):
            # how apps report that the client left before it had sent all
            _logger.info("%s: the client left, and the app ended with %r", self.name, error)
        else:
            is_over = self._gone or self.response.state is DONE or self._notice is Notice.CANCELLED
            shown = self._runtime.report_failure(error, self.request, is_over)
        await self.fail(EndOfBody.ABORTED if self._notice is Notice.CANCELLED else shown or internal_error())

    async def fail(self, otherwise: Response | EndOfBody) -> None:
        """End a response that is not whole, and never will be. If nothing of it is sent, send `otherwise`."""
        response = self.response
        flush(self)
        while response.is_sending and not self._gone:
            await self._waiters.wait(self._runtime.events)
        if self._gone or response.state is DONE:
            return
        output = otherwise if response.is_unsent else EndOfBody.ABORTED
        response.state = DONE
        self._post(output)

    async def receive(self) -> Message:
        """Return http.request while there is something of the body; then http.disconnect, once either side is done."""
        body, response, limit = self.body, self.response, self._runtime.limit
        while True:
            is_over = self._gone or response.state is DONE
            if body.is_due and not is_over:
                return body.next_message(self._report_consumed)
            if is_over or (self._half is not None and self._half.has_left):
                if self._notice is UNAWARE and (self._gone or response.state is not DONE):
                    self._notice = Notice.DISCONNECTED
                return {"type": "http.disconnect"}
            if body.state is COMING and not body.hungry:
                body.hungry = True
                self._report_consumed()
                if not body.hungry:  # what it waits for was there already
                    continue
            if body.state is COMING and limit is not None and response.is_unsent:
                limit.end(self)  # how long the client takes is not the app's fault
                await self._waiters.wait(self._runtime.events)
                limit.begin(self)
            else:
                await self._waiters.wait(self._runtime.events)

    async def send(self, message: Message) -> None:
        """Add a message to the response, and wait until what it adds has gone out, or is gathered.

        Raises ClientGone; AnswerError for a message that has no place here.
        """
        response = self.response
        if response.is_holding and not response.fits(message):
            flush(self)
        while response.is_sending and not self._gone:
            await self._waiters.wait(self._runtime.events)
        if self._gone:
            raise ClientGone("the client has gone")
        if response.state is DONE:
            if error := response.ignore(message):
                self._runtime.report(error, self.request)
            await asyncio.sleep(0)
        elif message["type"] == "http.response.early_hint":
            self._asker.hint(message["links"])
            self._report_consumed()
        else:
            before = response.state
            output = response.write(message, self)
            if self._first is None and response.state is not before:  # start() has returned
                self._runtime.late_heads.note(self, response.state is HEAD)
            if self.response.state is DONE:
                self._post(output)
                self._waiters.wake()  # receive() has no more to wait for
            elif output is not None:
                if not self._runtime.turns.hold(self, output, self._first is not None):
                    self.pass_on(output)
                await self._sent()

    async def _sent(self) -> None:
        """Wait until the piece on its way has gone out."""
        self.in_a_row += 1
        if self.in_a_row >= IN_A_ROW:
            self.in_a_row = 0
            await asyncio.sleep(0)
        while self.response.is_sending and not self._gone:
            self.in_a_row = 0
            await self._waiters.wait(self._runtime.events)
