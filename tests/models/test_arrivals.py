"""New peers of a loop: what is done for them before they need it, and what idle peers keep."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from allcomers.models.driver.acceptor import is_kept_alive
from allcomers.protocol import compiled as leaf
from allcomers.protocol.message import Request, Response
from allcomers.system.counters import ACCEPTED, CONNECTIONS, REQUESTS
from allcomers.system.signals import Signals
from support.looped import PEER, Looped, built

KEPT = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
LAST = KEPT[:-2] + b"Connection: close\r\n\r\n"
HEAD_TIMEOUT, KEEP_ALIVE = 10.0, 75.0

leafless = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")


def handler(request: Request) -> Response:
    return Response(f"{request.peer} {request.port} {request.server}".encode())


@pytest.fixture(scope="module")
def signals() -> Iterator[Signals]:
    yield Signals(1.0)
    signal.set_wakeup_fd(-1)


class Watching(Looped):
    """A loop, the peers' ends of its connections, and what its poller was told of the last that came."""

    def __init__(self, signals: Signals) -> None:
        super().__init__(handler, signals, head_timeout=HEAD_TIMEOUT, keep_alive=KEEP_ALIVE)
        self._ends: list[socket.socket] = []
        self.told: list[tuple[int, int]] = []
        poller: Any = self._poller
        self._watch, poller.watch = poller.watch, self._note

    def _note(self, fd: int, wants: int) -> None:
        self.told.append((fd, wants))
        self._watch(fd, wants)

    def arrive(self, said: bytes) -> socket.socket:
        """Add a peer that has said this already. Return its end."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        theirs.send(said)
        self._ends.append(theirs)
        self.told.clear()
        self.loop.peers.add(ours.detach(), PEER, monotonic())
        for _ in range(2):  # by the fast path it is answered before the poller is asked
            self.turn()
        return theirs

    def close(self) -> None:
        super().close()
        for end in self._ends:
            end.close()


@pytest.fixture(params=[pytest.param(True, marks=leafless), False], ids=["compiled", "plain"])
def looped(request: pytest.FixtureRequest, signals: Signals) -> Iterator[Watching]:
    with built(compiled=request.param):
        made = Watching(signals)
        yield made
        made.close()


def channel_of(looped: Watching) -> Any:
    (channel,) = looped.loop.peers.channels.values()
    return channel


def counted(looped: Watching) -> list[int]:
    cells = looped.counters.cells
    return [cells[ACCEPTED], cells[REQUESTS], looped.counters.answers, cells[CONNECTIONS]]


def test_a_newcomer_is_answered(looped: Watching) -> None:
    peer = looped.arrive(LAST)
    assert peer.recv(65536).endswith(b"192.0.2.1 4711 ('192.0.2.7', 8000)")
    assert peer.recv(1) == b""
    assert looped.peers == 0
    assert counted(looped) == [1, 1, 1, 0]


def test_the_poller_never_knows_of_a_peer_with_one_request(looped: Watching) -> None:
    for _ in range(3):
        assert b"Connection: close" in looped.arrive(LAST).recv(65536)
        assert len(looped.told) == (0 if looped.has_lane else 1)
    assert looped.peers == 0


@pytest.mark.parametrize("said", [b"", KEPT[:20], KEPT, KEPT + KEPT], ids=["nothing", "a part", "one", "two"])
def test_a_newcomer_is_watched_once(looped: Watching, said: bytes) -> None:
    peer = looped.arrive(said)
    assert looped.told == [(channel_of(looped).fd, 1)]
    if said and said != KEPT[:20]:
        assert peer.recv(65536).count(b"HTTP/1.1 200 OK") == len(said) // len(KEPT)
    else:
        peer.send(KEPT[len(said) :])
        looped.turn()
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_newcomer_that_left_is_closed(looped: Watching) -> None:
    peer = looped.arrive(b"")
    peer.close()
    looped.turn()
    assert looped.peers == 0


@pytest.mark.parametrize(("said", "patience"), [(b"", HEAD_TIMEOUT), (KEPT, KEEP_ALIVE)], ids=["silent", "kept alive"])
def test_the_deadline_of_a_newcomer(looped: Watching, said: bytes, patience: float) -> None:
    began = monotonic()
    looped.arrive(said)
    for seconds in (HEAD_TIMEOUT - 1, HEAD_TIMEOUT + 1, patience - 1):
        if seconds < patience:
            looped.loop.peers.expire(began + seconds)
            looped.turn()
            assert looped.peers == 1
    looped.loop.peers.expire(monotonic() + patience)
    assert looped.peers == 0


def test_the_time_for_a_first_head_counts_from_accept(looped: Watching) -> None:
    peer = looped.arrive(b"")
    peer.send(KEPT[:20])
    looped.turn()
    looped.loop.peers.expire(monotonic() + HEAD_TIMEOUT)
    assert peer.recv(65536).startswith(b"HTTP/1.1 408")


def test_an_idle_peer_has_no_connection(looped: Watching) -> None:
    if not looped.has_lane:
        pytest.skip("plain Python keeps it")
    peer = looped.arrive(KEPT)
    channel = channel_of(looped)
    assert channel.conn is None
    peer.send(KEPT[:20])
    looped.turn()
    assert channel.conn is not None
    peer.send(KEPT[20:])
    looped.turn()
    assert channel.conn.served == 1 + 1
    looped.loop.peers.expire(monotonic() + HEAD_TIMEOUT + 1)  # its deadline is looked at, and has not come
    assert (channel.conn, channel.count) == (None, 2)
    peer.recv(65536)
    peer.send(KEPT)
    looped.turn()
    assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert counted(looped) == [1, 3, 3, 1]


def test_idle_peers_are_kept_alive_until_others_wait(looped: Watching) -> None:
    peer = looped.arrive(KEPT)
    peer.recv(65536)
    looped.loop.peers.make_room(monotonic(), 1)
    channel = channel_of(looped)
    assert is_kept_alive(channel.conn)
    assert channel.conn.leaving
    looped.loop.peers.expire(monotonic() + 0.2)
    assert peer.recv(1) == b""
    assert looped.peers == 0


def test_a_server_that_leaves_answers_once_more(looped: Watching) -> None:
    peer = looped.arrive(KEPT)
    peer.recv(65536)
    looped.loop.peers.drain(monotonic())
    peer.send(KEPT)
    looped.turn()
    assert b"\r\nConnection: close\r\n" in peer.recv(65536)
    peer.close()
    looped.turn()
    assert looped.peers == 0
