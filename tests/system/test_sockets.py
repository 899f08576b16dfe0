"""Sockets that are bound, and listen later."""

from __future__ import annotations

import socket

import pytest

from allcomers.errors import ListenError
from allcomers.system import sockets


def test_of_two_that_were_bound_at_the_same_moment_one_listens() -> None:
    """Connections of a server before force both to bind with SO_REUSEADDR; each then sees the other when it listens."""
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        second.bind(first.getsockname())
        sockets.listen(first, 1)
        with pytest.raises(ListenError, match=r"cannot listen on tcp://127.0.0.1:\d+: Address already in use; another"):
            sockets.listen(second, 1)
