"""ASGI under the blocking models: a call runs to its end on an event loop of the thread's own, step by step.

The loop runs until the app has something to send, then stands still until that has gone out: so an async response is
pulled like any other, and a slow client holds no loop. In between nothing of the app runs, its own timers neither.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias, cast

from allcomers.apps.asgi.call.response_writer import DONE
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import WIND_UP, App, AsgiRuntime
from allcomers.apps.asgi.scope import HTTP_EXTENSIONS, http_scope
from allcomers.connection.call import CONSUMED
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, StreamingBody
from allcomers.connection.http.response_head import plain_response
from allcomers.errors import ClientGone
from allcomers.protocol.message import Piece, Request, Response
from allcomers.system.asyncio_loops import new_selector_loop
from allcomers.system.native.primitives import epoll

READ: Final = 64 * 1024
"""Bytes of a body that the app is given at once."""

CLIENT_WATCH_DELAY: Final = 0.05
"""Seconds after which the client of an app that still waits is watched for its end: the watch costs something, too."""

KEPT_LOOPS: Final = 32
"""Event loops that are kept for later calls. PERF: to make one and close it takes 28 µs (`python -m timeit`)."""

LOOP_IDLE: Final = 10.0
"""Seconds after which an idle loop is closed, once another call is over."""

Report: TypeAlias = Callable[[BaseException, Request], Response | None]


class IdleLoops:
    """Event loops that no call uses now, each with three descriptors: few, and none for long. Each process has its own.

    The loop that was used last is used next, so those that are needed no more come to the front.
    """

    def __init__(self) -> None:
        self._idle: deque[tuple[float, asyncio.AbstractEventLoop]] = deque()
        self._pid = os.getpid()

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Return an idle loop, or a new one. Raises OSError, for want of descriptors."""
        if self._pid != os.getpid():  # after a fork: the parent's loops wait in the parent's kernel objects
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()[1]
        except IndexError:
            return new_selector_loop()

    def release(self, events: asyncio.AbstractEventLoop) -> None:
        """Keep a loop for the next call; close those that are too many, and one that has been idle for too long."""
        now = monotonic()
        self._idle.append((now, events))
        with suppress(IndexError):  # other threads take loops, too
            while len(self._idle) > KEPT_LOOPS or self._idle[0][0] < now - LOOP_IDLE:
                _close(self._idle.popleft()[1])

    def close(self) -> None:
        """Close all that are idle."""
        while self._idle:
            with suppress(IndexError):  # other threads take loops, too
                _close(self._idle.popleft()[1])


def _close(events: asyncio.AbstractEventLoop) -> None:
    """Close a loop, after what an app has left on it was cancelled."""
    try:
        left = asyncio.all_tasks(events)
        for task in left:
            task.cancel()
        if left:
            events.run_until_complete(asyncio.wait(left, timeout=WIND_UP))
        events.run_until_complete(events.shutdown_asyncgens())
    finally:
        events.close()


class BlockingAsgi:
    """A Handler (protocol.message) that calls an ASGI app.

    root_path, report, state, extensions, disconnect_grace  as an AsgiRuntime has them
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
        self._loops = IdleLoops()

    async def finish(self, patience: float) -> None:
        """Return at once: no call outlives the thread that it is made in."""

    def close(self) -> None:
        """Close the event loops that are kept for later calls."""
        self._loops.close()

    def __call__(self, request: Request) -> Response:
        if request.upgrades and request.named.get(b"upgrade", b"").strip().lower() == b"websocket":
            return plain_response(501, "WebSockets need a model with an event loop: --model asyncio, or a poller.")
        try:
            events = self._loops.acquire()
        except OSError as error:
            self._report(error, request)
            return plain_response(503, "The application cannot be called now.")
        runtime = AsgiRuntime(
            app=self._app,
            events=events,
            report=self._report,
            root_path=self._root_path,
            state=self.state,
            extensions=self._extensions,
            disconnect_grace=self._grace,
        )
        return BlockingCall(runtime, request, self._loops).begin()


class BlockingCall:
    """One call: the driver of its HttpCall, and the iterable of its response's pieces."""

    def __init__(self, runtime: AsgiRuntime, request: Request, loops: IdleLoops) -> None:
        self._runtime = runtime
        self._loops = loops
        self._body = request.stream
        self._outputs: deque[Any] = deque()
        self._closing = False
        self._client_watch: select.epoll | None = None  # for the end of the client's sending side
        self._first: Piece | FinalPiece | EndOfBody = b""
        scope = http_scope(request, runtime.root_path, runtime.state, runtime.extensions)
        self._call = HttpCall(runtime, request, self, scope)

    # ------------------------------------------------------------ for the HttpCall

    @property
    def driver(self) -> BlockingCall:
        return self

    def said(self, reply: Any) -> bool:
        if reply is CONSUMED:
            self._feed()
        else:
            self._outputs.append(reply)
            self._stop()
        return False

    def send(self, part: object) -> bool:
        raise AssertionError("an async app awaits its send()")

    push = send

    def app_socket(self) -> None:
        raise AssertionError("an async app has receive() and send()")

    def fileno(self) -> int:
        raise AssertionError("an HttpCall needs no socket: its request has one")

    def hint(self, links: Iterable[bytes]) -> None:
        """Send nothing: what could go out before the response goes out with it here."""

    def _feed(self) -> None:
        """Give the app as much of the body as it waits for: all of it is here."""
        if self._call.hungry:
            piece = self._body.read(READ)
            self._call.hear(piece, len(piece) == READ)

    # ------------------------------------------------------------ a client that leaves

    def _watch_client(self) -> None:
        """Notify the app when its client leaves: nobody reads what that sends meanwhile, its end last of all.

        epoll(7) reports an end behind bytes that nobody has read. Where there is none, the app is not notified.
        """
        driver = self._call.request.driver
        if driver is not None and epoll is not None:
            self._client_watch = epoll(1)
            self._client_watch.register(driver.fileno(), select.EPOLLRDHUP)  # beside errors and hang-ups
            self._runtime.events.add_reader(self._client_watch.fileno(), self._client_leaves)

    def _client_leaves(self) -> None:
        assert self._client_watch is not None
        gone = any(event & (select.EPOLLERR | select.EPOLLHUP) for _, event in self._client_watch.poll(0))
        self._unwatch_client()
        if gone:
            self._call.leave()
        else:
            self._call.end()

    def _unwatch_client(self) -> None:
        watch, self._client_watch = self._client_watch, None
        if watch is not None:
            self._runtime.events.remove_reader(watch.fileno())
            watch.close()

    # ------------------------------------------------------------ steps

    def begin(self) -> Response:
        """Return the response: whole, or with this as its body. Raises ClientGone: there is none."""
        self._call.start()
        assert self._call.task is not None
        self._call.task.add_done_callback(self._stop)
        output = self._next()
        if isinstance(output, StreamingBody):
            self._first = output.first
            response = output.response
            response.body = cast(Iterable[Piece], self)  # FinalPiece and EndOfBody too, which PulledBody knows
        elif output is EndOfBody.ABORTED:
            self.close()
            raise ClientGone("the app has sent no response, for its client has left")
        else:
            response = output
        response.close = self.close
        return response

    def _stop(self, task: object = None) -> None:
        if not self._closing:
            self._runtime.events.stop()

    def _next(self) -> Any:
        """Let the app run until it has something to send. Return that."""
        task = self._call.task
        assert task is not None
        timer = self._runtime.events.call_later(CLIENT_WATCH_DELAY, self._watch_client)
        while not self._outputs and not task.done():
            try:
                self._runtime.events.run_forever()
            except SystemExit as error:  # from a task that the app has started
                self._runtime.report(error, self._call.request)
        timer.cancel()
        self._unwatch_client()
        return self._outputs.popleft() if self._outputs else EndOfBody.ABORTED

    def __iter__(self) -> Iterator[Piece | FinalPiece | EndOfBody]:
        yield self._first
        while not isinstance(self._first, FinalPiece):
            self._call.go_on()
            output = self._next()
            yield output
            if isinstance(output, FinalPiece | EndOfBody):
                return

    def close(self) -> None:
        """Let the app finish what it does behind its response; or end it soon, where its client has gone."""
        self._closing = True
        self._call.response.close_file()
        task = self._call.task
        assert task is not None
        if not task.done():
            is_whole = self._call.response.state is DONE
            if not is_whole:
                self._call.leave()
            self._runtime.events.run_until_complete(self._runtime.finish(None if is_whole else WIND_UP))
        self._loops.release(self._runtime.events)
        del self._call  # which knows this: a circle is garbage for the collector alone
