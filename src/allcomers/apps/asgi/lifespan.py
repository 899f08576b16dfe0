"""The lifespan of an ASGI app: what it does before the first request and after the last (ASGI, "Lifespan Protocol")."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from allcomers.apps.asgi.call.messages import Message
from allcomers.apps.asgi.runtime import App
from allcomers.apps.loading import failure
from allcomers.errors import AnswerError, AppError

_logger = logging.getLogger("allcomers.app")


class Sharer(Protocol):
    """An AsgiRuntime or a BlockingAsgi: it hands the lifespan's state to the requests, and waits for their calls."""

    state: dict[str, Any] | None

    async def finish(self, patience: float) -> None: ...
    def close(self) -> None: ...


class Lifespan:
    """The lifespan of one app in one worker, on one event loop.

    how    "on": the app must know the protocol, and start; "off": it is not called; "auto": it need not know it
    state  the app's, for its requests; None where it knows no lifespan
    """

    def __init__(self, app: App, how: str) -> None:
        self.state: dict[str, Any] | None = None
        self._app = app
        self._how = how
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None  # that the app has raised
        self._received = 0  # messages that the app has received, of two
        self._leaving = asyncio.Event()
        self._started: asyncio.Future[str | None]  # None, or why it could not
        self._stopped: asyncio.Future[str | None]

    async def start(self) -> None:
        """Wait until the app has started, or shows that it does not know the protocol. Raises AppError: it failed."""
        if self._how == "off":
            return
        events = asyncio.get_running_loop()
        self._started, self._stopped = events.create_future(), events.create_future()
        state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        self._task = events.create_task(self._run(scope))
        either: set[asyncio.Future[Any]] = {self._task, self._started}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._started.done():
            self._went_without()
        elif self._started.result() is not None:
            await asyncio.wait({self._task}, timeout=1.0)  # after it has sent the reason, it raises
            raise self._failed(self._started.result() or "it does not say why")
        else:
            self.state = state
            self._task.add_done_callback(self._ended)

    async def stop(self, patience: float) -> None:
        """Wait until the app has shut down, or `patience` seconds are over."""
        task = self._task
        if task is None:
            return
        self._leaving.set()
        either: set[asyncio.Future[Any]] = {task, self._stopped}
        await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.done() and self._stopped.result() is not None:
            _logger.error("the app's shut-down failed: %s", self._stopped.result())
        elif not self._stopped.done() and not task.done():
            _logger.error("the app's shut-down took more than %g s and is given up", patience)
        await asyncio.wait({task}, timeout=0.1)
        task.cancel()

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit would end the event loop
            self._error = error

    def _went_without(self) -> None:
        """Go on without a lifespan: the app ended before it had answered, whatever it raises (ASGI, "Scope").

        An app that raises after it has received the start-up may have tried, though, and that is logged.
        """
        self._task = None
        if self._how == "on":
            raise self._failed("it returned before lifespan.startup.complete")
        if self._error is None or not self._received:
            _logger.debug("the app knows no lifespan: %r", self._error)
            return
        text = "the app raised %r when its start-up was due, and is served as one that knows no lifespan"
        _logger.warning(f"{text}; --lifespan on would stop here, off would not ask", self._error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        is_reported = self._stopped.done() and self._stopped.result() is not None  # by stop()
        if self._error is not None and not is_reported:
            _logger.error("the app's lifespan failed", exc_info=self._error)

    def _failed(self, why: str) -> AppError:
        if self._error is not None:
            return failure("the app's start-up", self._error)
        return AppError(f"the app's start-up failed: {why}")

    async def _receive(self) -> Message:
        if self._received == 0:
            self._received = 1
            return {"type": "lifespan.startup"}
        await self._leaving.wait()
        if self._received == 2:
            await asyncio.get_running_loop().create_future()  # there is nothing more to receive
        self._received = 2
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        name, _, how = message["type"].removeprefix("lifespan.").partition(".")
        future = {"startup": self._started, "shutdown": self._stopped}.get(name)
        if future is None or how not in ("complete", "failed"):
            raise AnswerError(f"{message['type']!r} is no message of a lifespan")
        if not future.done():
            future.set_result(None if how == "complete" else message.get("message", ""))


async def _cancel_all() -> None:
    """Cancel what the app has started and waits for no more, as asyncio.run() does it."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)


class Life:
    """The life of one or more apps in one worker: they start before the first request, and end after the last.

    events  the event loop of all of them
    parts   of each app, its lifespan, and what gets the lifespan's state
    """

    def __init__(self, events: asyncio.AbstractEventLoop, *parts: tuple[Lifespan, Sharer]) -> None:
        self.events = events
        self._parts = parts

    def begin(self, listen: Callable[[], object] = lambda: None) -> None:
        """Start the app. Raises AppError: it failed to start.

        listen  sets the signal handlers again that the event loop sets for itself when it starts, as uvloop does
        """
        self.events.call_soon(listen)
        self.events.run_until_complete(self.start())

    async def start(self) -> None:
        """Start the app, on the loop that runs this. Raises AppError: it failed to start."""
        started: list[Lifespan] = []
        try:
            for lifespan, sharer in self._parts:
                await lifespan.start()
                started.append(lifespan)
                sharer.state = lifespan.state
        except BaseException:
            for lifespan in reversed(started):
                await lifespan.stop(1.0)
            raise

    async def stop(self, until: float, least: float) -> None:
        """End what the app still does until that time, on the monotonic clock, and shut it down. Each may take `least`
        seconds in any case."""
        for _, sharer in self._parts:
            await sharer.finish(max(least, until - monotonic()))
        for lifespan, _ in reversed(self._parts):
            await lifespan.stop(max(least, until - monotonic()))

    def close(self) -> None:
        """End what calls have left: threads that watch them, event loops that are kept for others."""
        for _, sharer in self._parts:
            sharer.close()

    def end(self, until: float, least: float) -> None:
        """Do the same, cancel all that is left on the loop, and close it."""
        self.events.run_until_complete(self.stop(until, least))
        self.close()
        self.events.run_until_complete(_cancel_all())
        self.events.run_until_complete(self.events.shutdown_asyncgens())
        self.events.close()
