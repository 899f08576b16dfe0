"""uvicorn's tests with its server replaced.

Where they start a server, allcomers serves on the same event loop. Where they drive a protocol object by hand, that
object is a client's socket, and allcomers answers it from a thread.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
import wire
from uvicorn.importer import import_from_string

from allcomers.apps.asgi.lifespan import Lifespan
from allcomers.apps.detection import detect
from allcomers.errors import AppError

QUIET = 0.05
"""Seconds without a byte after which an answer is over."""

OPEN = 1.3
"""Seconds without an end after which a connection stays open: an idle one is left a second when the server leaves."""


def options(config: uvicorn.Config) -> dict[str, Any]:
    """Return the options of allcomers that mean the same as this Config of uvicorn's."""
    found: dict[str, Any] = {
        "lifespan": config.lifespan,
        "root_path": config.root_path,
        "ws_max_size": config.ws_max_size,
        "ws_ping_interval": config.ws_ping_interval or 0.0,
        "ws_ping_timeout": config.ws_ping_timeout or 20.0,
        "ws_deflate": "on" if config.ws_per_message_deflate else "off",
        "interface": config.interface.replace("asgi3", "asgi"),
    }
    found["server_header"] = config.server_header
    if config.ssl_certfile:
        found["certfile"] = (str(config.ssl_certfile),)
        found["keyfile"] = (str(config.ssl_keyfile),) if config.ssl_keyfile else ()
    if config.proxy_headers:
        allowed = config.forwarded_allow_ips
        found["forwarded_allow_ips"] = ",".join(allowed) if isinstance(allowed, list) else allowed or "127.0.0.1"
    return found


def app_of(config: uvicorn.Config) -> Any:
    return import_from_string(config.app) if isinstance(config.app, str) else config.app


class Server:
    """The part of uvicorn's Server that its tests use."""

    def __init__(self, config: uvicorn.Config) -> None:
        host = "127.0.0.1" if config.host in (None, "localhost") else config.host
        self._wire = wire.LoopServer(app_of(config), host, config.port, **options(config))
        self._running = False

    async def startup(self) -> None:
        await self._wire.start()
        self._running = True

    async def shutdown(self) -> None:
        if self._running:
            self._running = False
            await self._wire.stop()


@asynccontextmanager
async def run_server(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> AsyncIterator[Server]:
    server = Server(config)
    await server.startup()
    try:
        yield server
    finally:
        await server.shutdown()


# ---------------------------------------------------------------- a protocol object


class _Counted:
    """An app that counts the calls that have ended."""

    def __init__(self, app: Any) -> None:
        kind, found = detect(app, wire.Config())
        if kind == "asgi2":
            from allcomers.apps.asgi.asgi2 import single

            found = single(found)
        self._app = found
        self.ended = threading.Semaphore(0)
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        try:
            await self._app(scope, receive, send)
        finally:
            self.ended.release()


class WireProtocol:
    """A client's connection, with the methods of uvicorn's protocols and of the mocks in their tests."""

    def __init__(self, app: Any, state: dict[str, Any], config: uvicorn.Config) -> None:
        self._app = _Counted(app)
        self._server = wire.ThreadServer(self._app, **{**options(config), "interface": "asgi", "lifespan": "off"})
        self._server.start()
        life: Any = self._server.peers.life
        life._parts[0][1].state = state
        self._sock = socket.create_connection(self._server.address)
        self._heard = b""
        self._over = False
        self.loop = self.transport = self
        _protocols.append(self)

    # -------------------------------------------------------- the protocol

    def data_received(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._sock.sendall(data)

    def eof_received(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def connection_lost(self, error: Exception | None) -> None:
        self._sock.close()

    def shutdown(self) -> None:
        self._server.stop(wait=False)

    @property
    def scope(self) -> dict[str, Any]:
        return self._app.scope

    # -------------------------------------------------------- its loop

    async def run_one(self) -> None:
        """Wait for the end of one call of the app, and for its response."""
        if not await asyncio.to_thread(self._app.ended.acquire, True, wire.PATIENCE):
            raise TimeoutError("the app was not called, or has not ended")
        self._read(1.0)

    # -------------------------------------------------------- its transport

    def _read(self, patience: float) -> None:
        while not self._over and self._sock.fileno() >= 0 and select.select([self._sock], [], [], patience)[0]:
            try:
                data = self._sock.recv(65536)
            except ConnectionError:
                data = b""
            self._over = not data
            self._heard += data
            patience = QUIET

    @property
    def buffer(self) -> bytes:
        if not self._heard:
            self._read(1.0)
        return self._heard

    def clear_buffer(self) -> None:
        self._heard = b""

    def is_closing(self) -> bool:
        self._read(OPEN)
        return self._over

    def end(self) -> None:
        self._sock.close()
        self._server.stop()


_protocols: list[WireProtocol] = []


def get_connected_protocol(app: Any, http_protocol_cls: Any, lifespan: Any = None, **kwargs: Any) -> WireProtocol:
    config = uvicorn.Config(app=app, **kwargs)
    return WireProtocol(app, lifespan.state if lifespan else {}, config)


# ---------------------------------------------------------------- a lifespan


class WireLifespan:
    """allcomers' Lifespan, with the methods of uvicorn's."""

    def __init__(self, config: uvicorn.Config) -> None:
        kind, app = detect(config.app, wire.Config())
        if kind == "asgi2":
            from allcomers.apps.asgi.asgi2 import single

            app = single(app)
        self._lifespan = Lifespan(app, config.lifespan)
        self.startup_failed = self.shutdown_failed = self.should_exit = False

    async def startup(self) -> None:
        try:
            await self._lifespan.start()
        except AppError:
            self.should_exit = True
            self.startup_failed = self._lifespan._started.done()

    async def shutdown(self) -> None:
        await self._lifespan.stop(1.0)
        stopped = getattr(self._lifespan, "_stopped", None)
        if not self.should_exit and stopped is not None and stopped.done() and stopped.result() is not None:
            self.shutdown_failed = self.should_exit = True

    @property
    def error_occurred(self) -> bool:
        return self._lifespan._error is not None

    @property
    def state(self) -> dict[str, Any]:
        return self._lifespan.state or {}


# ---------------------------------------------------------------- pytest


def pytest_configure(config: pytest.Config) -> None:
    import tests.utils

    tests.utils.run_server = run_server  # type: ignore[attr-defined]


REPEATS = ("websockets-sansio", "httptools", "zttp")
"""Parameters that repeat a test with another of uvicorn's parsers."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    for name, values in {
        "tests.protocols.test_http": {"get_connected_protocol": get_connected_protocol},
        "tests.test_lifespan": {"LifespanOn": WireLifespan, "LifespanOff": WireLifespan},
    }.items():
        if name in sys.modules:
            vars(sys.modules[name]).update(values)
    items[:] = [item for item in items if not _repeats(item)]


def _repeats(item: Any) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(part in REPEATS for part in callspec._idlist)


@pytest.fixture(autouse=True)
def _protocols_end() -> Any:
    yield
    protocols, _protocols[:] = list(_protocols), []
    for protocol in protocols:
        protocol.end()
