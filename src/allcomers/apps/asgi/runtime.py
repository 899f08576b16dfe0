"""What all of an app's talks in one worker share: the app, the event loop, the tasks that run."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from allcomers.apps.asgi.call.messages import Message, is_of_leaving
from allcomers.apps.asgi.scope import HTTP_EXTENSIONS, Scope
from allcomers.config.options import Limits, WebSocketLimits
from allcomers.protocol.message import Request
from allcomers.system.counters import CounterRow

App: TypeAlias = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[Any]
]
"""An ASGI 3 application."""

_logger = logging.getLogger("allcomers.app")

EAGER: Final = sys.version_info >= (3, 12)
"""Does a task begin at once, rather than in the loop's next turn (asyncio.Task, eager_start)?"""

WIND_UP: Final = 2.0
"""Seconds that an app has, once its client is gone and its thread or loop is wanted, before its task is cancelled."""


class Limit(Protocol):
    """A time limit of calls, as calls.tasks has one."""

    def begin(self, call: Any) -> object: ...
    def end(self, call: Any) -> object: ...


@dataclass(slots=True, kw_only=True)
class AsgiRuntime:
    """One app in one worker.

    report     called with an app's exception and the request that met it
    root_path  where a proxy has mounted the app
    state      what the lifespan has left for the requests; None where the app has no lifespan
    limits     of its peers
    websocket  of those that speak WebSocket; None where the library for that is missing
    server     the line of a handshake that names the server, with its CRLF; b"" for none
    limit      of the time until an answer begins; None for any time
    counters       where the time that they take is counted
    tasks      those that run, and since when
    context    of which each talk has a copy
    extensions        those that the scope of an HTTP request offers
    disconnect_grace  seconds that a call may go on once its client has left, before it is cancelled; 0 for any time
    orphaned   of these, those whose client is gone, and the timer that cancels each
    cancels    whether finish() has begun to cancel what runs
    """

    app: App
    events: asyncio.AbstractEventLoop
    report: Callable[[BaseException, Request], object]
    root_path: str = ""
    state: dict[str, Any] | None = None
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    websocket: WebSocketLimits | None = None
    server: bytes = b""
    limit: Limit | None = None
    counters: CounterRow = field(default_factory=CounterRow)
    tasks: dict[asyncio.Task[None], float] = field(default_factory=dict)
    orphaned: dict[asyncio.Task[None], asyncio.TimerHandle | None] = field(default_factory=dict)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    extensions: tuple[str, ...] = HTTP_EXTENSIONS
    disconnect_grace: float = 10.0
    cancels: bool = False

    def spawn(self, coroutine: Coroutine[Any, Any, None], timed: bool = True) -> asyncio.Task[None]:
        """Run it as a task, at once where Python can: one that never waits is over when this returns.

        timed  its time counts as a call's: not that of a WebSocket, which is open for hours

        In a context of its own: of what called us, another request's task perhaps, it inherits nothing.
        """
        context = self.context.copy()
        if EAGER and asyncio._get_running_loop() is self.events:
            task = asyncio.Task(coroutine, loop=self.events, eager_start=True, context=context)
        else:
            task = self.events.create_task(coroutine, context=context)
        if not task.done():
            self.watch(task, timed)
        return task

    def watch(self, task: asyncio.Task[Any], timed: bool = True) -> None:
        """It runs, and nobody else waits for it."""
        self.tasks[task] = monotonic() if timed else math.inf
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self.counters.called(0.0, monotonic() - self.tasks.pop(task), 0)
        timer = self.orphaned.pop(task, None)
        if timer is not None:
            timer.cancel()

    def orphan(self, task: asyncio.Task[None] | None, name: str) -> None:
        """The client of this one is gone; `name` is that of its request, for the log."""
        if task is not None and not task.done() and task not in self.orphaned:
            grace = self.disconnect_grace
            self.orphaned[task] = self.events.call_later(grace, self.cancel, task, name) if grace else None

    def cancel(self, task: asyncio.Task[None] | None, name: str) -> None:
        """Cancel this one, whose client left a while ago."""
        if task is not None and not task.done():
            _logger.debug("%s: cancelled, %g s after its client had left", name, self.disconnect_grace)
            task.cancel()

    def report_failure(self, error: BaseException, request: Request, is_over: bool) -> None:
        """Report what an app has raised: all but news of a client that left, where the call `is_over` anyway."""
        if not ((is_over or self.cancels) and is_of_leaving(error)):
            self.report(error, request)

    async def finish(self, patience: float | None) -> None:
        """Wait for the tasks that run, then cancel those that take longer than `patience` seconds; None is for ever.

        Those whose client is gone were told so; one that has not noticed in a moment waits for something else. A call
        that is cancelled here says so with its CancelledError, which is no failure of the app.
        """
        if self.orphaned:
            moment = WIND_UP if patience is None else min(WIND_UP, patience)
            await asyncio.wait(list(self.orphaned), timeout=moment)
            self.cancels = True
            for task in list(self.orphaned):
                task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience)
        left = list(self.tasks)
        if left:
            self.cancels = True
            _logger.warning("calls that go on for too long, and are cancelled: %d", len(left))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
