"""Sockets that are bound, and listen later; the peers that they accept."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import pytest

from allcomers.errors import ListenError
from allcomers.protocol import compiled as leaf
from allcomers.system import nonblocking, sockets
from support.harness import wait_for


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


# ------------------------------------------------------------ peers that are accepted


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    host = request.param
    family = socket.AF_UNIX if host == "unix" else socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as made:
        made.bind(str(tmp_path / "own.sock") if host == "unix" else (host, 0))
        made.listen()
        made.setblocking(False)
        yield made


def connect(listener: socket.socket) -> socket.socket:
    peer, name = socket.socket(listener.family), listener.getsockname()
    if isinstance(name, tuple):
        peer.connect(({"0.0.0.0": "127.0.0.2", "::": "::1"}.get(name[0], name[0]), name[1]))
    else:
        peer.connect(name)
    return peer


def waits_for(accept: Callable[[], Any]) -> Any:
    """Return a peer that has just connected."""
    found: list[Any] = []

    def look() -> bool:
        found.extend(filter(None, [accept()]))
        return bool(found)

    wait_for(look, "a peer to be accepted")
    return found[0]


def test_a_peer_that_is_accepted(listener: socket.socket) -> None:
    backlog = sockets.Backlog(listener)
    assert backlog.accept() is None
    with connect(listener) as peer:
        fd, (host, port, server) = waits_for(backlog.accept)
        try:
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            if listener.family == socket.AF_UNIX:
                assert (host, port, server) == ("", 0, (listener.getsockname(), None))
            else:
                assert (host, port) == peer.getsockname()[:2]
                assert server == peer.getpeername()[:2]
        finally:
            os.close(fd)


@pytest.mark.skipif(not leaf.COMPILED, reason="there is no compiled part")
def test_the_compiled_part_accepts_as_plain_python_does(listener: socket.socket) -> None:
    from allcomers.system import _nonblocking as compiled

    plain = _plain()
    for accept, own_address in ((compiled.accept, compiled.own_address), (plain.accept, plain.own_address)):
        assert accept(listener) is None
        with connect(listener) as peer:
            fd, host, port = waits_for(partial(accept, listener))
            is_unix = listener.family == socket.AF_UNIX
            assert (host, port) == (("", 0) if is_unix else peer.getsockname()[:2])
            assert own_address(fd) == (("", 0) if is_unix else peer.getpeername()[:2])
            assert (os.get_blocking(fd), os.get_inheritable(fd)) == (False, False)
            os.close(fd)
        with closing(socket.socket()) as deaf, pytest.raises(OSError, match="Invalid argument"):
            accept(deaf)
        with pytest.raises(OSError, match="Bad file descriptor"):
            own_address(fd)


def _plain() -> Any:
    """Return nonblocking.py as it is without compiled parts."""
    before, leaf.COMPILED = leaf.COMPILED, False
    try:
        spec = nonblocking.__spec__
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        leaf.COMPILED = before
