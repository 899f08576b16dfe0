"""Rules of HTTP that hold for every interface, whatever the app does: on real servers, compiled and plain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.harness import Server, receive_all, serving
from support.offline import answers

APPS = "tests/support/apps/rules_app.py"
SHAPES = ("list", "length", "pieces", "write")


@pytest.fixture(
    scope="module",
    params=[
        ("wsgi", "epoll", ""), ("wsgi", "thread", "1"), ("asgi", "epoll", "1"), ("asgi", "thread", ""),
        ("asgi", "asyncio", ""), ("handler", "epoll", ""), ("handler", "thread", "1"),
    ],
    ids=lambda param: "-".join(filter(None, param)),
)  # fmt: skip
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app, model, pure = request.param
    with serving("run", f"{APPS}:{app}", "-m", model, env={"ALLCOMERS_PURE": pure}) as server:
        yield server


def ask(server: Server, *targets: str, method: str = "GET") -> list[tuple[int, dict[str, str], bytes]]:
    """Return the responses to requests on one connection, one after the other."""
    head = "{} {} HTTP/1.1\r\nHost: a\r\n{}\r\n"
    with server.connect() as sock:
        for target in targets:
            sock.sendall(head.format(method, target, "").encode())
        sock.sendall(head.format("GET", "/", "Connection: close\r\n").encode())
        return answers(receive_all(sock), methods=[method] * len(targets))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_205_has_no_body(server: Server, shape: str) -> None:
    """RFC 9110, 15.3.6. A body in its place would be the beginning of the next response."""
    for method in ("GET", "HEAD"):
        found = ask(server, f"/205/{shape}", f"/205/{shape}", method=method)
        statuses = [status for status, _, _ in found]
        assert statuses[0] == 205
        assert [(fields["content-length"], body) for _, fields, body in found if body != b"a"] == [("0", b"")] * (
            statuses.count(205)
        )
        assert statuses[-1] == 200 or found[-1][1]["connection"] == "close"


def test_every_app_sees_the_host_of_an_absolute_target(server: Server) -> None:
    """RFC 9112, 3.2.2."""
    assert [body for _, _, body in ask(server, "http://b:8000/x", "/")] == [b"b:8000", b"a", b"a"]


def test_a_websocket_sees_it_too_and_a_refused_one_says_upgrade() -> None:
    handshake = (
        "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {}\r\n\r\n"
    )
    for model, pure in (("epoll", ""), ("asyncio", "1")):
        with serving("run", f"{APPS}:asgi", "-m", model, env={"ALLCOMERS_PURE": pure}) as server:
            with server.connect() as sock:
                sock.sendall(handshake.format("http://b:1/", 13).encode())
                head = sock.recv(65536)
                assert head.startswith(b"HTTP/1.1 101 ")
                assert b"x-host: b:1\r\n" in head
            with server.connect() as sock:
                sock.sendall(handshake.format("/", 12).encode())
                head = sock.recv(65536)
                assert head.startswith(b"HTTP/1.1 426 ")
                assert b"\r\nConnection: Upgrade\r\n" in head  # RFC 9110, 7.8
