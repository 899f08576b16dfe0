"""One run of a Server: what has begun, and what others may wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcomers.server.supervisor.listeners import Ready
    from allcomers.system.signals import Orders


class Run:
    """One run of a Server, from its sockets to their end.

    serve    serves until `orders` end it, and calls what it is given when clients can connect
    started  done when clients can connect, or with the error that kept them from it
    ended    done when all has ended, with the error that has ended it, if any
    """

    def __init__(self, serve: Callable[[Ready], Any], orders: Orders) -> None:
        self.started: Future[None] = Future()
        self.ended: Future[None] = Future()
        self.urls: list[str] = []
        self.port = 0
        self._lock = threading.Lock()
        self._orders: Orders | None = orders
        self._serve = serve
        self._thread: threading.Thread | None = None

    def order(self, order: int) -> None:
        """Tell it to DRAIN or to QUIT; it may have ended."""
        with self._lock:
            if self._orders is not None:
                self._orders.send(order)

    def start(self) -> None:
        """Serve in a thread of its own; return when clients can connect. Raises what keeps them from it."""
        self._thread = threading.Thread(target=self.serve, name="allcomers", daemon=True)
        self._thread.start()
        self.started.result()

    def wait(self) -> None:
        """Wait until all has ended, its thread, too. Raises the error that has ended it, if any."""
        try:
            self.ended.result()
        finally:
            if self._thread is not None and self.ended.done():  # what the thread had is freed at its end
                self._thread.join()

    def serve(self) -> None:
        """Serve in this thread. Raise nothing: `started` and `ended` have it."""
        with self._ending():
            self._serve(self._ready)

    async def serve_here(self) -> None:
        """Serve on this event loop."""
        with self._ending():
            await self._serve(self._ready)

    def _ready(self, urls: list[str], port: int) -> None:
        self.urls, self.port = urls, port
        self.started.set_result(None)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
        with self._lock:
            orders, self._orders = self._orders, None
        if orders is not None:
            orders.give_back()
        for future in (self.started, self.ended):
            if error is not None and not future.done():
                future.set_exception(error)
        if error is None:
            self.ended.set_result(None)
