"""Calls that are over at once (asgi/eager.py): to client and app each is what it is in plain Python."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.protocol import compiled as leaf
from allcomers.protocol.encode import CONTINUE
from support.apps.eager_app import LATE, TALKS
from support.apps.eager_streams import FLOOD
from support.harness import ROOT, Server, receive_all, serving, wait_for

pytestmark = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")

REQUEST = "{method} {target} HTTP/1.{minor}\r\nHost: example.org\r\nTE: trailers\r\n{more}\r\n"
END = REQUEST.format(method="GET", target="/plain?end", minor=1, more="Connection: close\r\n").encode()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """Serve the app compiled, and in plain Python."""
    target = f"{ROOT}/tests/support/apps/eager_app.py:app"
    with (
        serving("run", target, quiet=False, env={"ALLCOMERS_PURE": "", "WHOLE_LOG": "1"}) as compiled,
        serving("run", target, quiet=False, env={"ALLCOMERS_PURE": "1", "WHOLE_LOG": "1"}) as pure,
    ):
        yield compiled, pure


def talk(server: Server, *requests: bytes) -> bytes:
    """Return what an idle peer receives that sends these at once; without the time of day."""
    with server.connect() as sock:
        sock.sendall(REQUEST.format(method="GET", target="/plain", minor=1, more="").encode())
        heard = b""
        while not heard.endswith(b"plain\n"):
            heard += sock.recv(65536)
        sock.sendall(b"".join(requests) + END)
        return undated(receive_all(sock))


def alone(server: Server, request: bytes) -> bytes:
    """Return the response to the last request of a connection, behind which nothing comes."""
    with server.connect() as sock:
        sock.sendall(request[:-2] + b"Connection: close\r\n\r\n")
        return undated(receive_all(sock))


def undated(heard: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]* GMT\r\n", b"Date\r\n", heard)


def seen(server: Server) -> list[bytes]:
    """Return the app's notes since the last call."""
    said = talk(server, REQUEST.format(method="GET", target="/seen", minor=1, more="").encode())
    return said.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0].split(b"\n")[:-1]


def failures(server: Server, path: str) -> list[str]:
    """Return the log's lines of this path."""
    return sorted(re.findall(rf"(?:ERROR|INFO|WARNING) (\w+ '{path}'.*)", server.stderr))


VARIANTS = {
    "GET": {"method": "GET", "minor": 1, "more": ""},
    "HEAD": {"method": "HEAD", "minor": 1, "more": ""},
    "1.0": {"method": "GET", "minor": 0, "more": "Connection: keep-alive\r\n"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", sorted(TALKS))
def test_each_talk_is_what_it_is_in_plain_python(servers: tuple[Server, Server], path: str, variant: str) -> None:
    compare(servers, path, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_talk_behind_a_wait_is_what_it_is_in_plain_python(servers: tuple[Server, Server], variant: str) -> None:
    for path in sorted(TALKS):
        compare(servers, LATE + path, variant)
        request = REQUEST.format(target=LATE + path, **VARIANTS[variant]).encode()
        compiled, pure = (alone(server, request) for server in servers)
        assert compiled == pure, path
        compare(servers, LATE + path, variant)  # also what they have noted


KEPT = [
    "/plain",
    "/waits",
    "/waits_between",
    "/background",
    "/receives_late",
    "/late_body",
    "/pieces",
    "/scope",
    "/size_16385",
]


def test_requests_that_come_one_by_one_are_answered_behind_a_wait_as_in_plain_python(
    servers: tuple[Server, Server],
) -> None:
    told = []
    for server in servers:
        client = http.client.HTTPConnection(*server.address, timeout=30)
        heard = []
        for path in KEPT * 2:
            client.request("GET", LATE + path)
            response = client.getresponse()
            fields = [field for field in response.getheaders() if field[0] != "Date"]
            heard.append((response.status, fields, re.sub(rb"127.0.0.1:\d+", b"", response.read())))
        client.close()
        told.append(heard)
    assert told[0] == told[1]


def test_bodies_in_packets_of_their_own(servers: tuple[Server, Server]) -> None:
    """A short one may reach the app at once; a client that sends it late keeps no app from answering before."""
    head = b"POST /%b HTTP/1.1\r\nHost: example.org\r\n%bContent-Length: 4\r\n\r\n"
    for server in servers:
        with server.connect() as sock:
            for expects in (b"", b"", b"", b"Expect: 100-continue\r\n"):
                sock.sendall(head % (b"receives", expects))
                if expects:
                    assert sock.recv(65536) == CONTINUE
                sock.sendall(b"body")
                assert b"{'type': 'http.request', 'body': b'body', 'more_body': False}" in receive_head_and(sock, b"}")
            sock.sendall(head % (b"plain", b""))
            assert receive_head_and(sock, b"plain\n").startswith(b"HTTP/1.1 200 ")
            sock.sendall(b"body" + END)
            assert receive_all(sock).endswith(b"plain\n")


def receive_head_and(sock: socket.socket, end: bytes) -> bytes:
    """Return what comes, up to this end."""
    heard = b""
    while not heard.endswith(end):
        heard += sock.recv(65536)
    return heard


def compare(servers: tuple[Server, Server], path: str, variant: str) -> None:
    """Assert that a path's app says, notes and logs the same in both."""
    request = REQUEST.format(target=path, **VARIANTS[variant]).encode()
    compiled, pure = servers
    alone, again = talk(pure, request), talk(pure, request, request, request)
    assert talk(compiled, request) == alone
    assert talk(compiled, request, request, request) == again
    noted: tuple[list[bytes], list[bytes]] = ([], [])

    def same() -> bool:
        for server, told in zip(servers, noted, strict=True):
            told += seen(server)
        return sorted(noted[0]) == sorted(noted[1])

    wait_for(same, "both apps to have noted the same")
    wait_for(lambda: failures(compiled, path) == failures(pure, path), "both logs to say the same")


# ------------------------------------------------------------ streams

SIZES = st.sampled_from([0, 1, 1024, 5000, 16_384, 16_385, 65_536, 70_000])
STEPS = st.lists(SIZES | st.sampled_from(["wait", "wait", "receive", "raise"]), max_size=6)
SHAPES = st.tuples(st.none() | st.sampled_from([0, 1, 1024, 6024]), STEPS, st.none() | SIZES)


@settings(max_examples=60)
@given(SHAPES, st.sampled_from(sorted(VARIANTS)), st.integers(1, 3))
@example((None, [1024] * 16, 0), "GET", 3)
@example((2048, [1024, 1024], 0), "GET", 2)
@example((2048, [1024], 1024), "GET", 2)
@example((2048, [1024], 1000), "GET", 1)
@example((2048, [1024, 2000], 0), "GET", 1)
@example((None, [0, "wait", 1024], 0), "1.0", 1)
def test_a_stream_is_what_it_is_in_plain_python(
    servers: tuple[Server, Server], shape: tuple[int | None, list[int | str], int | None], variant: str, count: int
) -> None:
    target = "/shape?" + quote(json.dumps(shape))
    request = REQUEST.format(target=target, **VARIANTS[variant]).encode()
    compiled, pure = servers
    assert talk(compiled, *[request] * count) == talk(pure, *[request] * count)


def test_pieces_that_wait_for_a_slow_client_come_in_order(servers: tuple[Server, Server]) -> None:
    for server in servers:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # most of it waits on the server's side
            sock.connect(server.address)
            for _ in range(2):  # the fast path knows the second request's lines
                sock.sendall(b"GET /flood HTTP/1.1\r\nHost: example.org\r\n\r\n")
                response = http.client.HTTPResponse(sock)
                response.begin()
                assert response.read() == b"".join(FLOOD)


# ------------------------------------------------------------ scopes

NAMES = ["A", "a", "Cookie", "COOKIE", "Accept", "Content-Type", "X-Own", "Proxy", "TE", "Range", "a_b", "!"]
VALUES = ["", "b", "b ", "\tb \t ", "a=1", "\xe9", "a, b", "x" * 70]
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4).map(
    lambda fields: "".join(f"{name}: {value}\r\n" for name, value in fields)
)
TARGETS = st.sampled_from(["/scope", "/scope?", "/scope?a=%20b?c", "/sc%6fpe", "/sc%6Fpe?%e9"])
HEADS = st.tuples(st.sampled_from(["GET", "HEAD", "get", "PUT"]), TARGETS, st.integers(0, 1))


@settings(max_examples=60)
@given(LINES, st.lists(HEADS, min_size=3, max_size=6))
def test_a_scope_is_what_it_is_in_plain_python(
    servers: tuple[Server, Server], lines: str, heads: list[tuple[str, str, int]]
) -> None:
    """Field lines that come again are not read again, whatever stands above them."""
    said = [
        REQUEST.format(method=method, target=target, minor=minor, more=lines + "Connection: keep-alive\r\n")
        for method, target, minor in heads
    ]
    requests = [request.encode("latin-1") for request in said]
    compiled, pure = servers
    assert talk(compiled, *requests) == talk(pure, *requests)
