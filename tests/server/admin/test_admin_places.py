"""The admin's site answers for health and metrics, whoever else is there."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from support.harness import ROOT, Server, receive_all, serving, wait_for

APP = f"{ROOT}/tests/support/apps/admin_app.py:app"
WATCHERS = 32


@contextmanager
def admin() -> Iterator[tuple[str, int]]:
    """Run a server; give the address of its admin's site."""
    with serving("run", APP, "--admin", "127.0.0.1:0") as server:
        yield address(server)


def address(server: Server) -> tuple[str, int]:
    found = wait_for(lambda: re.search(r"Admin at: http://(.+):(\d+)", server.stderr), "the admin's address")
    return found[1], int(found[2])


def seconds(place: tuple[str, int], path: str) -> float:
    """Return the time that a GET takes, which is answered 200."""
    began = time.monotonic()
    with socket.create_connection(place, timeout=40) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert receive_all(sock).startswith(b"HTTP/1.1 200")
    return time.monotonic() - began


def watch(place: tuple[str, int]) -> socket.socket:
    """Open a stream of events, and wait for its beginning."""
    sock = socket.create_connection(place, timeout=40)
    sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    return sock


def half_head(place: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(place, timeout=40)
    sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: ")
    return sock


def test_health_answers_beside_all_watchers_and_half_heads() -> None:
    with admin() as place, ExitStack() as stack:
        for _ in range(WATCHERS):
            stack.enter_context(watch(place))
        for _ in range(40):
            stack.enter_context(half_head(place))
        for path in ("/health/live", "/health/ready", "/metrics"):
            took = [seconds(place, path) for _ in range(5)]
            assert max(took) < 8.0  # a busy machine is no failure; half heads are awaited for 10 s
            wait_for(lambda path=path: seconds(place, path) < 0.1, f"a moment in which {path} waits for nobody")


def test_where_all_places_are_taken_the_oldest_half_head_leaves() -> None:
    """512 places: each newcomer gets the place of the one that has waited longest."""
    with admin() as place, ExitStack() as stack:
        watcher = stack.enter_context(watch(place))
        waiting = [stack.enter_context(half_head(place)) for _ in range(560)]
        wait_for(lambda: seconds(place, "/health/live") < 1.0, "an answer that waits for nobody")
        waiting[0].settimeout(10)
        assert receive_all(waiting[0]) == b""
        waiting[-1].sendall(b"localhost\r\nConnection: close\r\n\r\n")
        assert receive_all(waiting[-1]).startswith(b"HTTP/1.1 200")
        seen = b""
        while b"event: sample" not in seen:
            piece = watcher.recv(1 << 20)
            assert piece, seen
            seen += piece
