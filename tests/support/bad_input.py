"""Where bad requests are tried, and what must hold of each: tests/connection/conftest.py makes fixtures of these."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from support import offline
from support.apps import marked
from support.harness import Server, receive_all, serving
from support.offline import answers
from support.staged import comes_to_rest

MARKER = b"GET /marker HTTP/1.1\r\nHost: a\r\n\r\n"
APP = "tests/support/apps/marked.py:app"
BAD = (400,)


def get(*fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def line(first: bytes) -> bytes:
    return first + b"\r\nHost: a\r\n\r\n"


def case(identity: str, data: bytes, *expected: int) -> Any:
    """A request for `refuse`, and the statuses that it may have."""
    return pytest.param(data, expected or BAD, id=identity)


def cases(*params: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("data", "expected"), params)


# ---------------------------------------------------------------- where the bytes go


class Place(Protocol):
    """Where a request is tried."""

    def say(self, data: bytes) -> bytes:
        """Send `data` as a client that then only listens; all that comes back until the server closes."""
        ...

    def ran(self) -> int:
        """How often /marker has run."""
        ...


class Offline:
    """A connection without a socket: `data` whole, and once more byte by byte, must be answered the same.

    Byte by byte as reports and calls one after another; whole as a loop with inline calls does it, in one step.
    """

    def say(self, data: bytes) -> bytes:
        whole = offline.http(marked.app)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offline, "at_once", True)
            whole.hear(data)
        each = offline.http(marked.app)
        each.hear_each(data)
        assert each.said == whole.said, "byte by byte, the answer is another"
        assert each.shut is whole.shut
        for far in (whole, each):
            far.sleep(100)
            assert far.closed
        assert each.said == whole.said
        return whole.said

    def ran(self) -> int:
        return marked._ran


class Real:
    """A server, and a socket for each request."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.workers = server.workers()

    def say(self, data: bytes) -> bytes:
        with self.server.connect() as sock:
            sock.sendall(data)
            return receive_all(sock)

    def ask(self, data: bytes) -> bytes:
        """As say(), of a request that does not end the connection."""
        with self.server.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return receive_all(sock)

    def ran(self) -> int:
        said = self.ask(line(b"GET /ran HTTP/1.1"))
        assert self.server.workers() == self.workers, "a worker has died"
        return int(answers(said)[0][2])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.workers[0]}/fd").iterdir()))

    def assert_at_rest(self) -> None:
        """With nothing to do, it does nothing."""
        comes_to_rest(self.workers[0])


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Real]]:
    """A server for each model that is asked for; none of them has lost a worker, spins or has logged a traceback."""
    with ExitStack() as stack:

        @cache
        def get(model: str) -> Real:
            return Real(stack.enter_context(serving("run", APP, "--model", model)))

        yield get
        for model in ("epoll", "thread"):
            place = get(model)
            assert place.server.workers() == place.workers
            place.assert_at_rest()


@pytest.fixture(params=["epoll", "thread"])
def real(request: pytest.FixtureRequest, servers: Callable[[str], Real]) -> Real:
    return servers(request.param)


@pytest.fixture(params=["offline", "epoll", "thread"])
def place(request: pytest.FixtureRequest, servers: Callable[[str], Real]) -> Place:
    return Offline() if request.param == "offline" else servers(request.param)


Refuse = Callable[..., None]
Taken = Callable[[bytes], dict[str, Any]]


@pytest.fixture
def refuse(place: Place) -> Refuse:
    def check(data: bytes, expected: tuple[int, ...] = BAD, before: int = 0) -> None:
        """`data` is refused with one of `expected`, after `before` good answers, and what is behind it never runs."""
        ran = place.ran()
        said = place.say(data + MARKER * 2)
        found = answers(said)
        assert [status for status, _, _ in found[:-1]] == [200] * before
        status, fields, _ = found[-1]
        assert status in expected
        assert fields["connection"] == "close"
        assert place.ran() == ran, "what follows a refused request has run"

    return check


@pytest.fixture
def taken(place: Place) -> Callable[[bytes], dict[str, Any]]:
    def check(data: bytes) -> dict[str, Any]:
        """`data` is one good request, and what is behind it is another: what the app saw of it."""
        ran = place.ran()
        said = place.say(data + MARKER + line(b"GET /last HTTP/1.1")[:-2] + b"Connection: close\r\n\r\n")
        found = answers(said, methods=[data.partition(b" ")[0].decode()])
        assert [status for status, _, _ in found] == [200] * 3
        assert place.ran() == ran + (2 if isinstance(place, Offline) else 1)  # whole, and byte by byte
        seen: dict[str, Any] = json.loads(found[0][2]) if found[0][2] else {}
        return seen

    return check
