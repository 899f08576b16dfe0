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

from allcomers.asgi.scope import Scope
from allcomers.config import Limits, WebSocketLimits
from allcomers.protocol.message import Request
from allcomers.stats import Page

Message: TypeAlias = dict[str, Any]
"""An event of ASGI: str keys, values of many types."""

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
class Host:
    """One app in one worker.

    report     called with an app's exception and the request that met it
    root_path  where a proxy has mounted the app
    state      what the lifespan has left for the requests; None where the app has no lifespan
    limits     of its peers
    websocket  of those that speak WebSocket; None where the library for that is missing
    server     the line of a handshake that names the server, with its CRLF; b"" for none
    limit      of the time until an answer begins; None for any time
    page       where the time that they take is counted
    tasks      those that run, and since when
    context    of which each talk has a copy
    deserted   of these, those whose client is gone: nobody waits for what they do
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
    page: Page = field(default_factory=Page)
    tasks: dict[asyncio.Task[None], float] = field(default_factory=dict)
    deserted: set[asyncio.Task[None]] = field(default_factory=set)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def spawn(self, coroutine: Coroutine[Any, Any, None], timed: bool = True) -> asyncio.Task[None]:
        """Run it as a task, at once where Python can: one that never waits is over when this returns.

        timed  its time counts as a call's: not that of a WebSocket, which is open for hours

        In a context of its own: of what called us, another request's task perhaps, it inherits nothing.
        """
        context = self.context.copy()
        if EAGER and self.events.is_running():
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
        self.page.called(0.0, monotonic() - self.tasks.pop(task), 0)
        self.deserted.discard(task)

    def desert(self, task: asyncio.Task[None] | None) -> None:
        """The client of this one is gone."""
        if task is not None and not task.done():
            self.deserted.add(task)

    async def finish(self, patience: float | None) -> None:
        """Wait for the tasks that run, then cancel those that take longer than `patience` seconds; None is for ever.

        Those whose client is gone were told so; who has not noticed in a moment waits for something else.
        """
        if self.deserted:
            moment = WIND_UP if patience is None else min(WIND_UP, patience)
            await asyncio.wait(list(self.deserted), timeout=moment)
            for task in list(self.deserted):
                task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience)
        left = list(self.tasks)
        if left:
            _logger.warning("%d calls go on for too long, and are cancelled", len(left))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
