"""Addresses of IPv6 and IPv4 at one port."""

from __future__ import annotations

import socket
from itertools import permutations

import pytest

from support.harness import free_port, serving

APP = "tests/support/apps/events_app.py:app"
ANY = ("[::]", "0.0.0.0")


def greets(host: str, port: int) -> bool:
    """Return whether a server at this address answers; False where none listens."""
    try:
        with socket.create_connection((host, port), timeout=30) as sock:
            sock.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return sock.recv(65536).startswith(b"HTTP/1.1 200")
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_any_address_of_ipv6_is_none_of_ipv4(model: str) -> None:
    port = free_port()  # the kernel might give out one that a server of another test has, of IPv4
    with serving("run", APP, "-m", model, bind=f"[::]:{port}"):
        assert greets("::1", port)
        assert not greets("127.0.0.1", port)


@pytest.mark.parametrize("hosts", list(permutations(ANY)), ids=" ".join)
def test_both_may_have_one_port(hosts: tuple[str, str]) -> None:
    port = free_port()
    binds = [word for host in hosts for word in ("--bind", f"{host}:{port}")]
    with serving("run", APP, *binds, bind=""):
        assert greets("::1", port)
        assert greets("127.0.0.1", port)
