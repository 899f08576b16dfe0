"""The server of httpx's tests: their app, served by allcomers instead of uvicorn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import wire


class TestServer:
    """The part of uvicorn's Server that httpx's tests use."""

    __test__ = False

    def __init__(self, config: Any) -> None:
        self.config = config
        self._wire = wire.ThreadServer(config.app, lifespan="off")

    @property
    def url(self) -> httpx.URL:
        wire.contacts += 1  # a connection of the test before may be used again
        return httpx.URL("http://{}:{}/".format(*self._wire.address))


def serve_in_thread(server: TestServer) -> Iterator[TestServer]:
    server._wire.start()
    yield server
    server._wire.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    vars(sys.modules["tests.conftest"]).update(TestServer=TestServer, serve_in_thread=serve_in_thread)
