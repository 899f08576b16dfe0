"""allcomers.Server within a test's process: an app that is an object in memory, served on a real socket.

The apps of these suites are closures, whose tests look at what the app has noted. So the server cannot be another
process. The plugins beside this file know of the suites.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import allcomers
from allcomers.config.options import Config as Config
from allcomers.models.driver.serving import Endpoint
from allcomers.server.embedded import in_process

MODEL = os.environ.get("WIRE_MODEL", "")
"""The model that serves what a thread serves; by default the server's own choice."""

PATIENCE = 10.0
"""Seconds that one step may take."""

contacts = 0
"""Connections that all servers here have accepted: a test without one has not met the server."""

_made: list[Endpoint] = []
"""The endpoint of the server that was started last."""


def _counted(*arguments: Any, _make: Callable[..., Endpoint] = in_process.endpoint) -> Endpoint:
    """Make the endpoint of a server, whose connections are counted."""
    peers = _make(*arguments)
    connect = peers.connect

    def counted(address: Any, now: float) -> Any:
        global contacts
        contacts += 1
        return connect(address, now)

    _made[:] = [peers._replace(connect=counted)]
    return _made[0]


in_process.endpoint = _counted  # type: ignore[assignment]


class ThreadServer:
    """An app served by any model but `process`, in a thread.

    peers  its endpoint, once it has started
    """

    peers: Endpoint

    def __init__(self, app: Any, **options: Any) -> None:
        chosen = {"model": MODEL} if MODEL else {}
        self._server = allcomers.Server(app, port=0, **{"graceful_timeout": 5.0, **chosen, **options})

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.port

    def start(self) -> None:
        """Start, and wait until it serves. Raises the error of the start."""
        self._server.start()
        self.peers = _made[0]

    def stop(self, wait: bool = True) -> None:
        """Stop; wait until it has ended."""
        self._server.stop(wait=wait)

    @property
    def state(self) -> dict[str, Any]:
        """The state that the lifespan has left."""
        life: Any = self.peers.life
        return {} if life is None else life._parts[0][0].state or {}


class LoopServer:
    """An ASGI app served on the event loop that runs."""

    def __init__(self, app: Any, host: str, port: int, **options: Any) -> None:
        self._server = allcomers.Server(app, host, port, **{"graceful_timeout": 5.0, **options})
        self._task: asyncio.Task[None]

    async def start(self) -> None:
        """Start, and wait until it serves. Raises AppError."""
        self._task = asyncio.create_task(self._server.serve())
        while not (self._server.url or self._task.done()):
            await asyncio.sleep(0.001)
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Stop, and wait for the end of all peers, calls and the lifespan."""
        self._server.stop(wait=False)
        await asyncio.wait_for(self._task, PATIENCE)


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
