"""ASGI under the blocking models: a call runs to its end on an event loop of the thread's own, step by step.

The loop runs until the app has something to send, then stands still until that has gone out: so an async answer is
pulled like any other, and a slow client holds no loop. In between nothing of the app runs, its own timers neither.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, cast

from allcomers.apps.asgi.call.response_writer import DONE
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import WIND_UP, App, AsgiRuntime
from allcomers.apps.asgi.scope import HTTP_EXTENSIONS, http_scope
from allcomers.connection.call import CONSUMED
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, StreamingBody
from allcomers.errors import ClientGone
from allcomers.protocol.message import Piece, Request, Response
from allcomers.system.asyncio_loops import new_selector_loop

READ: Final = 64 * 1024
"""Bytes of a body that the app is given at once."""

HEED: Final = 0.05
"""Seconds after which an app that still waits is told when its client leaves: to look for that costs, too."""


Report: TypeAlias = Callable[[BaseException, Request], object]


class Loops:
    """Event loops that no call uses now; each process has its own."""

    def __init__(self) -> None:
        self._idle: deque[asyncio.AbstractEventLoop] = deque()
        self._pid = os.getpid()

    def take(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():  # after a fork: the parent's loops wait in the parent's kernel objects
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return new_selector_loop()

    def release(self, events: asyncio.AbstractEventLoop) -> None:
        self._idle.append(events)


class BlockingAsgi:
    """A Handler (protocol.message) that an ASGI app is behind.

    root_path, report, state, extensions, disconnect_grace  as a AsgiRuntime has them
    """

    def __init__(
        self,
        app: App,
        root_path: str,
        report: Report,
        extensions: tuple[str, ...] = HTTP_EXTENSIONS,
        disconnect_grace: float = 10.0,
    ) -> None:
        self.state: dict[str, Any] | None = None
        self._app = app
        self._root_path = root_path
        self._report = report
        self._extensions = extensions
        self._grace = disconnect_grace
        self._loops = Loops()

    async def finish(self, patience: float) -> None:
        """No call outlives the thread that it is made in."""

    def __call__(self, request: Request) -> Response:
        if request.upgrades and request.named.get(b"upgrade", b"").strip().lower() == b"websocket":
            text = b"WebSockets need a model with an event loop: --model asyncio, or a poller.\n"
            return Response(text, status=501, headers=[("Content-Type", "text/plain; charset=utf-8")])
        runtime = AsgiRuntime(
            app=self._app,
            events=self._loops.take(),
            report=self._report,
            root_path=self._root_path,
            state=self.state,
            extensions=self._extensions,
            disconnect_grace=self._grace,
        )
        return Steps(runtime, request, self._loops).begin()


class Steps:
    """One call: the driver of its HttpCall, and the iterable of its answer's pieces."""

    def __init__(self, runtime: AsgiRuntime, request: Request, loops: Loops) -> None:
        self._runtime = runtime
        self._loops = loops
        self._body = request.stream
        self._replies: deque[Any] = deque()
        self._closing = False
        self._look: select.epoll | None = None  # at the client's socket, for its end
        self._first: Piece | FinalPiece | EndOfBody = b""
        scope = http_scope(request, runtime.root_path, runtime.state, runtime.extensions)
        self._call = HttpCall(runtime, request, self, scope)

    # ------------------------------------------------------------ for the exchange

    @property
    def driver(self) -> Steps:
        return self

    def said(self, reply: Any) -> None:
        if reply is CONSUMED:
            self._feed()
        else:
            self._replies.append(reply)
            self._stop()

    def send(self, part: object) -> bool:
        raise AssertionError("an async app awaits its send()")

    push = send

    def app_socket(self) -> None:
        raise AssertionError("an async app has receive() and send()")

    def fileno(self) -> int:
        raise AssertionError("who asks has the request")

    def hint(self, links: Iterable[bytes]) -> None:
        """What could be told before the answer goes out with it here: so it is not told."""

    def _feed(self) -> None:
        """The body is here whole: the app gets as much as it asks for."""
        if self._call.hungry:
            piece = self._body.read(READ)
            self._call.hear(piece, len(piece) == READ)

    # ------------------------------------------------------------ a client that leaves

    def _heed(self) -> None:
        """Have the app told when its client leaves: nobody reads what that says meanwhile, its end last of all.

        epoll(7) tells of an end behind bytes that nobody has read. Where there is none, the app is not told.
        """
        driver = self._call.request.driver
        if driver is not None and hasattr(select, "epoll"):
            self._look = select.epoll(1)
            self._look.register(driver.fileno(), select.EPOLLRDHUP)  # an error, or both ends, it always tells
            self._runtime.events.add_reader(self._look.fileno(), self._client_leaves)

    def _client_leaves(self) -> None:
        assert self._look is not None
        gone = any(event & (select.EPOLLERR | select.EPOLLHUP) for _, event in self._look.poll(0))
        self._heed_no_more()
        if gone:
            self._call.leave()
        else:
            self._call.end()

    def _heed_no_more(self) -> None:
        look, self._look = self._look, None
        if look is not None:
            self._runtime.events.remove_reader(look.fileno())
            look.close()

    # ------------------------------------------------------------ steps

    def begin(self) -> Response:
        """The answer: whole, or with this as its body. Raises ClientGone: there is none."""
        self._call.start()
        assert self._call.task is not None
        self._call.task.add_done_callback(self._stop)
        reply = self._next()
        if isinstance(reply, StreamingBody):
            self._first = reply.first
            response = reply.response
            response.body = cast(Iterable[Piece], self)  # Last and EndOfBody too, which Pulled knows
        elif reply is EndOfBody.ABORTED:
            self.close()
            raise ClientGone("the app answers nobody")
        else:
            response = reply
        response.close = self.close
        return response

    def _stop(self, task: object = None) -> None:
        if not self._closing:
            self._runtime.events.stop()

    def _next(self) -> Any:
        """Let the app run until it has something to send."""
        task = self._call.task
        assert task is not None
        heeding = self._runtime.events.call_later(HEED, self._heed)
        while not self._replies and not task.done():
            try:
                self._runtime.events.run_forever()
            except SystemExit as error:  # from a task that the app has begun
                self._runtime.report(error, self._call.request)
        heeding.cancel()
        self._heed_no_more()
        return self._replies.popleft() if self._replies else EndOfBody.ABORTED

    def __iter__(self) -> Iterator[Piece | FinalPiece | EndOfBody]:
        yield self._first
        while not isinstance(self._first, FinalPiece):
            self._call.go_on()
            reply = self._next()
            yield reply
            if isinstance(reply, FinalPiece | EndOfBody):
                return

    def close(self) -> None:
        """The answer is sent, and the app may finish what it does behind it; or the client has gone."""
        self._closing = True
        self._call.response.close_file()
        task = self._call.task
        assert task is not None
        if not task.done():
            is_whole = self._call.response.state is DONE
            patience = None if is_whole else WIND_UP
            if not is_whole:
                self._call.leave()
            self._runtime.events.run_until_complete(self._runtime.finish(patience))
        self._loops.release(self._runtime.events)
