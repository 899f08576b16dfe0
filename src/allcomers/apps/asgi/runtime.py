"""What all calls of an app in one worker share: the app, the event loop, the tasks that run."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from allcomers.apps.asgi.call.late_heads import LateHeads
from allcomers.apps.asgi.call.messages import Message, is_of_leaving
from allcomers.apps.asgi.call.turns import Turns
from allcomers.apps.asgi.scope import HTTP_EXTENSIONS, Scope
from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.protocol.message import Request, Response
from allcomers.system.counters import CounterRow

App: TypeAlias = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[Any]
]
"""An ASGI 3 application."""

_logger = logging.getLogger("allcomers.app")

EAGER: Final = sys.version_info >= (3, 12)
"""Whether a task can start at once, rather than in the loop's next turn (asyncio.Task, eager_start)."""

WIND_UP: Final = 2.0
"""Seconds that an app has, once its client is gone and its thread or loop is needed, before its task is cancelled."""


class Limit(Protocol):
    """A time limit of calls, as calls.task_limit has one."""

    def begin(self, call: Any) -> object: ...
    def end(self, call: Any) -> object: ...
    def close(self) -> object: ...


@dataclass(slots=True, kw_only=True)
class AsgiRuntime:
    """One app in one worker.

    report            called with an app's exception and the request of that call; returns as HttpEndpoint's does
    root_path         the path at which a proxy has mounted the app
    state             the lifespan's, for the requests; None where the app has no lifespan
    limits            of its peers
    websocket         limits of WebSockets; None where the library for them is missing
    server            the line of a handshake that names the server, with its CRLF; b"" for none
    limit             of the time until a response starts; None for any time
    counters          count the calls and their time
    tasks             the app's tasks that run, and since when
    context           each call has a copy of it
    extensions        that the scope of an HTTP request offers
    disconnect_grace  seconds that a call may go on once its client has left, before it is cancelled; 0 for any time
    orphaned          tasks whose client has disconnected, and the timer that cancels each
    cancels           whether finish() cancels what runs
    gathers           whether pieces that come without a wait in between are sent together
    late_heads        of responses, that go out by themselves
    turns             of the event loop, for the pieces that are gathered
    coders            threads that compress; None where nothing is compressed
    """

    app: App
    events: asyncio.AbstractEventLoop
    report: Callable[[BaseException, Request], Response | None]
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
    coders: Executor | None = None
    gathers: bool = True
    late_heads: LateHeads = field(init=False)
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self.late_heads = LateHeads(self.events)
        self.turns = Turns(self.events, self.gathers)

    def spawn(self, coroutine: Coroutine[Any, Any, None], timed: bool = True) -> asyncio.Task[None]:
        """Start a task, at once where Python can: one that never waits is over when this returns.

        timed  whether its time counts as a call's: not that of a WebSocket, which is open for hours

        The task has a context of its own: from the caller, another request's task perhaps, it inherits nothing.
        """
        context = self.context.copy()
        if EAGER and asyncio._get_running_loop() is self.events:
            task = asyncio.Task(coroutine, loop=self.events, eager_start=True, context=context)
        else:
            task = self.events.create_task(coroutine, context=context)
        if not task.done():
            self.watch(task, timed)
        return task

    def watch(
        self, task: asyncio.Task[Any], timed: bool = True, over: Callable[[asyncio.Task[Any]], object] | None = None
    ) -> None:
        """Count a task that runs, and keep it alive until it ends. `over` is called then, and calls self.over()."""
        self.tasks[task] = monotonic() if timed else math.inf
        task.add_done_callback(over or self.over)

    def over(self, task: asyncio.Task[None]) -> None:
        """Note that a task has ended."""
        self.counters.called(0.0, monotonic() - self.tasks.pop(task), 0)
        timer = self.orphaned.pop(task, None)
        if timer is not None:
            timer.cancel()

    def orphan(self, task: asyncio.Task[None] | None, name: str) -> None:
        """Cancel `task` after the grace: its client is gone. `name` is that of its request, for the log."""
        if task is not None and not task.done() and task not in self.orphaned:
            grace = self.disconnect_grace
            self.orphaned[task] = self.events.call_later(grace, self.cancel, task, name) if grace else None

    def cancel(self, task: asyncio.Task[None] | None, name: str) -> None:
        """Cancel `task`, whose client left a while ago."""
        if task is not None and not task.done():
            _logger.debug("%s: cancelled, %g s after its client had left", name, self.disconnect_grace)
            task.cancel()

    def report_failure(self, error: BaseException, request: Request, is_over: bool) -> Response | None:
        """Report what an app has raised, but not that its client has left, where the call `is_over` anyway. Return what
        its client is to see, None for the usual."""
        return None if (is_over or self.cancels) and is_of_leaving(error) else self.report(error, request)

    def close(self) -> None:
        """End the threads that watch the calls, and that compress."""
        if self.limit is not None:
            self.limit.close()
        if self.coders is not None:
            self.coders.shutdown(cancel_futures=True)

    async def finish(self, patience: float | None) -> None:
        """Wait for the tasks that run, then cancel those that take longer than `patience` seconds; None is for ever.

        Calls whose client is gone know it; one that does not end in a moment waits for something else. The
        CancelledError of a call that is cancelled here is no failure of the app.
        """
        if self.orphaned:
            moment = WIND_UP if patience is None else min(WIND_UP, patience)
            await asyncio.wait(list(self.orphaned), timeout=moment)
            self.cancels = True
            for task in list(self.orphaned):
                task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience)
        late = list(self.tasks)
        if late:
            self.cancels = True
            _logger.warning("calls that go on for too long, and are cancelled: %d", len(late))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
