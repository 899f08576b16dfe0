"""allcomers within a test's process: an app that is an object in memory, served on a real socket.

The apps of these suites are closures, whose tests look at what the app has noted. So the server cannot be another
process: it is a worker's inside (endpoint, model, connections), in a thread of its own or on the test's event loop. No
supervisor, no signals. This file knows of the server's inside; the plugins beside it know of the suites.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from time import monotonic
from typing import Any

from allcomers.config.options import Config
from allcomers.models.driver.asyncio_adapter import AsyncioAdapter
from allcomers.models.driver.serving import Endpoint
from allcomers.models.epoll_loop import EpollPoller
from allcomers.server import control_pipe, worker
from allcomers.server.endpoint import endpoint
from allcomers.system.accept_balance import WorkerSlot, WorkerSlots
from allcomers.system.signals import Signals

MODEL = os.environ.get("WIRE_MODEL", "")
"""The model that serves what a thread serves; by default the server's own choice."""

PATIENCE = 10.0
"""Seconds that one step may take."""

contacts = 0
"""Connections that all servers here have accepted: a test without one has not met the server."""

_slots = WorkerSlots()


class LocalOrders(Signals):
    """The signals of a server that is no process: they come from stop(), never from a signal."""

    def listen(self) -> None:
        pass

    def stop(self, *, now: bool = False) -> None:
        """In any thread."""
        (self.quit if now else self.drain)()
        os.write(self._writer, b"\0")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class _NoSupervisor:
    """There is no supervisor to ask."""

    def request_replacement(self, why: str) -> None:
        pass


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket, non-blocking."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(128)
    sock.setblocking(False)
    return sock


class _Server:
    """The parts of both servers: an endpoint, listeners, signals, a row of figures.

    address  (host, port) of the first listener
    """

    def __init__(self, app: Any, listeners: list[socket.socket] | None = None, **options: Any) -> None:
        self.config = Config(**{"graceful_timeout": 5.0, **options})
        self.app = app
        self.listeners = listeners or [listen()]
        self.address: Any = self.listeners[0].getsockname()
        self.signals = LocalOrders(self.config.graceful_timeout)
        self.slot: WorkerSlot = _slots.acquire()
        self.peers: Endpoint

    def _open(self) -> None:
        peers = endpoint(self.app, self.config, None, counters=self.slot.counters)
        connect = peers.connect

        def counted(address: Any, now: float) -> Any:
            global contacts
            contacts += 1
            return connect(address, now)

        self.peers = peers._replace(connect=counted)

    def _serving(self) -> Any:
        control: Any = _NoSupervisor()
        return worker._serving(self.config, self.peers, self.listeners, self.signals, self.slot, control)

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()
        _slots.release(self.slot)
        self.signals.close()


class ThreadServer(_Server):
    """An app served by any model but `process`, in a thread."""

    def __init__(self, app: Any, listeners: list[socket.socket] | None = None, **options: Any) -> None:
        super().__init__(app, listeners, **{"model": MODEL, **options})
        self._error: BaseException | None = None
        self._closed = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start, and wait until it serves. Raises the error of the start."""
        self._thread.start()
        if not self._ready.wait(PATIENCE):
            raise TimeoutError("the server has not started")
        if self._error is not None:
            self.stop()
            raise self._error

    def stop(self) -> None:
        """Wait until it has ended."""
        self.signals.stop()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError("the server has not stopped")
        if not self._closed:
            self._closed = True
            self._close()

    @property
    def state(self) -> dict[str, Any]:
        """The state that the lifespan has left."""
        life: Any = self.peers.life
        return {} if life is None else life._lifespan.state or {}

    def _run(self) -> None:
        try:
            self._open()
            serving = self._serving()
            if self.peers.life is not None:
                self.peers.life.begin()
        except BaseException as error:
            self._error = error
            self._close_loop()
            return
        finally:
            self._ready.set()
        self.peers.serve(serving)
        if self.peers.life is not None:
            self.peers.life.end(max(control_pipe.APP_SHUTDOWN, self.signals.deadline - monotonic()))

    def _close_loop(self) -> None:
        """Close the event loop of an app that has not started; a worker's ends with its process."""
        life: Any = self.peers.life if hasattr(self, "peers") else None
        if life is not None:
            life._events.close()


class LoopServer(_Server):
    """An ASGI app served on the event loop that runs, as `--model asyncio` does."""

    async def start(self) -> None:
        """Start, and wait until it serves. Raises AppError."""
        events = asyncio.get_running_loop()
        with _given(events):
            self._open()
        life: Any = self.peers.life
        try:
            await life._lifespan.start()
        except BaseException:
            self._close()
            raise
        life._sharer.state = life._lifespan.state
        self._pump = AsyncioAdapter(self._serving(), events, EpollPoller())

    async def stop(self) -> None:
        """Stop, and wait for the end of all peers, calls and the lifespan."""
        life: Any = self.peers.life
        self.signals.stop()
        await asyncio.wait_for(asyncio.shield(self._pump.over), PATIENCE)
        patience = max(control_pipe.APP_SHUTDOWN, self.signals.deadline - monotonic())
        await life._sharer.finish(patience)
        await life._lifespan.stop(patience)
        loop = self._pump._loop
        asyncio.get_running_loop().remove_reader(loop._poller.fileno())  # type: ignore[attr-defined]
        self._close()


LOOPS = ("allcomers.system.asyncio_loops", "allcomers.models.asyncio_loop")
"""The modules that make event loops, as the server's versions have them."""


@contextmanager
def _given(events: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have the endpoint of an async app take this event loop instead of a new one."""
    made: list[tuple[Any, Any]] = []
    for name in LOOPS:
        with suppress(ImportError):
            module = import_module(name)
            if hasattr(module, "new_event_loop"):
                made.append((module, module.new_event_loop))
                module.new_event_loop = lambda *arguments: events
    try:
        yield
    finally:
        for module, make in made:
            module.new_event_loop = make


# ---------------------------------------------------------------- calls of an app


class Call:
    """One call of an app. `ended` is set at its end; `error` is the exception that it raised."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None


Asgi = Callable[[Any, Any, Any], Awaitable[Any]]
MARK = "x-wire-call"
"""The field by which a test's client names a call. The app does not see it."""


class Recorder:
    """An ASGI app around another, which keeps the exception of each call.

    lifespan  the call that was the lifespan's
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self._calls: dict[str, Call] = {}
        self.lifespan = Call()

    def call(self, name: str) -> Call | None:
        """Return the call of this name; None if the app was not called."""
        return self._calls.get(name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            call = self.lifespan
        else:
            name, scope = _unmarked(scope)
            call = self._calls[name] = Call()
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.ended.set()


def _unmarked(scope: Any) -> tuple[str, Any]:
    mark = MARK.encode()
    names = [value.decode() for name, value in scope["headers"] if name == mark]
    headers = [(name, value) for name, value in scope["headers"] if name != mark]
    return "".join(names), {**scope, "headers": headers}


def finished(call: Call | None, patience: float = PATIENCE) -> BaseException | None:
    """Wait for the end of the call. Return the exception that it raised, or None."""
    if call is None or not call.ended.wait(patience):
        return None
    return call.error


# ---------------------------------------------------------------- certificates


def certificate(folder: str) -> tuple[str, ssl.SSLContext]:
    """Return a file with a chain and its key for localhost, and a client's context that trusts it."""
    import trustme

    path = os.path.join(folder, "wire.pem")  # noqa: PTH118
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1", "testserver").private_key_and_cert_chain_pem.write_to_path(path)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    trusted.check_hostname = False
    return path, trusted
