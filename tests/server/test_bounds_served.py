"""Bounds over all peers, with real servers and sockets: slow uploads, unread responses, WebSockets; all workers."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from allcomers.commands.top.source import Source
from allcomers.errors import SilentError
from support.frames import BINARY, deflated, frame, read
from support.harness import Server, ask, chosen, receive_all, serving, wait_for

APP = "tests/support/apps/bounds_app.py:app"
WEBSOCKET = "tests/support/apps/bounds_app.py:websocket"
MIB = 1 << 20
GET = b"GET /%d HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
MODELS = ["epoll", "thread", "process", "asyncio", "poll", "epoll-et", "thread-pool", "select"]

Stats = Callable[[], dict[str, Any]]


@contextmanager
def watched(*arguments: str, target: str = APP) -> Iterator[tuple[Server, Stats]]:
    """A server, and its figures."""
    with serving("run", target, "--admin", "127.0.0.1:0", "--overload", "off", *arguments) as server:
        found = wait_for(lambda: re.search(r"Admin at: http://(\S+:\d+)", server.stderr), "the admin's address")
        yield server, Source(found[1]).stats


def until(stats: Stats, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """Return the first figures of which `condition` is true."""

    def found() -> dict[str, Any] | None:
        with suppress(SilentError):  # on a busy machine the answer may take longer than anybody waits
            figures = stats()
            return figures if condition(figures) else None
        return None

    figures: dict[str, Any] = wait_for(found, what)
    return figures


@contextmanager
def clients(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """Sockets that receive little before they are read from."""
    socks = []
    try:
        for _ in range(count):
            sock = socket.socket()
            socks.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(server.address)
        yield socks
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("model", chosen(MODELS[:4], MODELS))
def test_slow_uploads_go_to_disk_then_are_refused(model: str) -> None:
    options = ("--model", model, "--max-memory-held", "1M", "--max-spool", "3M", "--min-rate", "0", "--threads", "20")
    with watched(*options) as (server, stats), clients(server, 12) as socks:
        size = 400 << 10
        for sock in socks[:6]:
            sock.sendall(POST % size + b"x" * (size - 1000))
        figures = until(stats, lambda found: found["held"] + found["spool"] >= 6 * (size - 1000), "six uploads")
        assert figures["held"] <= MIB  # 0 where all six grew at once, and so went to disk together
        assert (figures["held_limit"], figures["spool_limit"]) == (MIB, 3 * MIB)
        for sock in socks[6:]:
            sock.sendall(POST % size)
            with _reset_is_fine():
                sock.sendall(b"x" * (size - 1000))
        figures = until(stats, lambda found: found["totals"]["held_refused"] > 0, "a refused upload")
        assert figures["held"] <= MIB
        assert figures["spool"] <= 3 * MIB
        answers = [_answer(sock, 1000) for sock in socks]
        served = [answer for answer in answers if answer.endswith(b"\r\n\r\n%d" % size)]
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 5" in answer]
        assert served
        assert refused
        assert len(served) + len(refused) == len([answer for answer in answers if answer])
        until(stats, lambda found: found["held"] == found["spool"] == 0, "all to be given back")


@contextmanager
def _reset_is_fine() -> Iterator[None]:
    with suppress(ConnectionError):
        yield


def _answer(sock: socket.socket, rest: int) -> bytes:
    with _reset_is_fine():
        sock.sendall(b"x" * rest)
    return receive_all(sock)


@pytest.mark.parametrize(
    ("model", "workers"),
    chosen([("epoll", "2"), ("thread", "1"), ("process", "1")], [(model, "2") for model in MODELS]),
)
def test_unread_responses_are_cut(model: str, workers: str) -> None:
    options = ("--model", model, "--workers", workers, "--max-memory-held", "20M", "--min-rate", "0")
    with watched(*options) as (server, stats), clients(server, 10) as socks:
        for sock in socks:
            sock.sendall(GET % 6)
        until(stats, lambda found: found["totals"]["requests"] == 10, "all requests")
        figures = until(stats, lambda found: 0 < found["held"] <= 26 * MIB, "the bound to be kept")
        ended = figures["totals"]["held_cut"]
        assert ended
        assert ended + figures["totals"]["held_refused"] >= 6
        assert "ended, for it held" in server.stderr
        sizes = [len(receive_all(sock)) for sock in socks]
        assert any(size > 6 * MIB for size in sizes), "nobody was served"
        assert any(size < 6 * MIB for size in sizes)
        until(stats, lambda found: found["held"] == 0, "all to be given back")
        assert ask(server, GET % 1).endswith(bytes(MIB))


@pytest.mark.parametrize("model", ["epoll", "process"])
def test_the_share_of_a_killed_process_vanishes(model: str) -> None:
    with watched("--model", model, "--min-rate", "0") as (server, stats), clients(server, 1) as (sock,):
        sock.sendall(POST % (400 << 10) + b"x" * (300 << 10))
        until(stats, lambda found: found["held"] >= 300 << 10, "an upload")
        pid = server.workers()[0]
        for worker in server.workers():
            children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
            pid = int(children[0]) if model == "process" and children else pid
        if model == "epoll":
            pid = next(worker["pid"] for worker in stats()["workers"])
        os.kill(pid, signal.SIGKILL)
        until(stats, lambda found: found["held"] == 0, "the share to vanish")


def test_begun_messages_that_inflate_are_bounded() -> None:
    bomb = frame(BINARY, deflated(bytes(8 * MIB)), fin=False, reserved=4)
    with (
        watched("--max-memory-held", "20M", target=WEBSOCKET) as (server, stats),
        clients(server, 8) as socks,
    ):
        for sock in socks:
            sock.sendall(HANDSHAKE)
            assert b" 101 " in sock.recv(4096)
            sock.sendall(bomb)
        until(stats, lambda found: found["totals"]["held_cut"] == 6, "messages that end")
        assert stats()["held"] == 16 * MIB
        codes = [read(receive_all(sock))[-1].payload[:2] for sock in socks]  # the others by the minimum rate
        assert sorted(int.from_bytes(code, "big") for code in codes) == [1008] * 2 + [1013] * 6
        until(stats, lambda found: found["held"] == 0, "all to be given back")


def test_at_the_bound_the_fast_path_refuses_as_well() -> None:
    """A common request holds nothing, and is refused all the same: in both builds."""
    options = ("--model", "epoll", "--max-memory-held", "64K", "--max-head-size", "100K", "--min-rate", "0")
    with watched(*options) as (server, stats), clients(server, 2) as socks, server.connect() as kept:
        kept.sendall(b"GET /0 HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b" 200 " in kept.recv(4096)
        socks[0].sendall(b"GET /0 HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 66_000)
        until(stats, lambda found: found["held"] > 64 << 10, "a head that does not end")
        kept.sendall(b"GET /0 HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = receive_all(kept)
        assert b" 503 " in answer
        assert b"Retry-After: 5\r\n" in answer
        socks[0].close()
        until(stats, lambda found: found["held"] == 0, "the head to be dropped")
        assert b" 200 " in ask(server, GET % 0)
