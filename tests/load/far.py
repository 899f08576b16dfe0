"""Servers whose behaviour is known, each a thread beside the test; and a load carried out in this very process."""

from __future__ import annotations

import heapq
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Any, TypeAlias

from allcomers.load.crew import Crew, now_ns
from allcomers.load.plan import Plan, locate
from allcomers.load.result import Result, result
from allcomers.load.trust import judged

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE = 20.0

Talk: TypeAlias = Callable[[socket.socket], None]


def soon() -> int:
    """A moment to begin at, in ns: when the connections are open."""
    return now_ns() + 50_000_000


def carried_out(plan: Plan, start: int) -> Result:
    """The plan, in this process, from `start` on."""
    leash, end = os.pipe()
    try:
        record = Crew(plan, locate(plan), 0, start, leash).run(lambda record: None)
    finally:
        os.close(leash)
        os.close(end)
    return judged(result(plan, record, False))


def load(url: str, **values: Any) -> Result:
    return carried_out(Plan.make(url=url, **{"seconds": 0.3, "timeout": 5.0, **values}), soon())


def adds_up(found: Result) -> bool:
    return found.sent == found.answered + found.failed + found.in_flight


@contextmanager
def serving(talk: Talk) -> Iterator[str]:
    """The URL of a server that has `talk` with each connection, in a thread of its own, and then closes it."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        over = threading.Event()
        threads = [threading.Thread(target=_accept, args=(listener, talk, over))]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            over.set()
            threads[0].join(PATIENCE)


def _accept(listener: socket.socket, talk: Talk, over: threading.Event) -> None:
    talks: list[threading.Thread] = []
    peers: list[socket.socket] = []
    listener.settimeout(0.05)
    while not over.is_set():
        with suppress(TimeoutError):
            peer = listener.accept()[0]
            peers.append(peer)
            talks.append(threading.Thread(target=_talk, args=(peer, talk)))
            talks[-1].start()
    for peer in peers:
        with suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
    for thread in talks:
        thread.join(PATIENCE)


def _talk(peer: socket.socket, talk: Talk) -> None:
    with peer, suppress(OSError):
        peer.settimeout(PATIENCE)
        talk(peer)


def heads(peer: socket.socket) -> Iterator[bytes]:
    """The requests of a peer, which have no body."""
    held = b""
    while data := peer.recv(65536):
        *whole, held = (held + data).split(b"\r\n\r\n")
        yield from whole


def reset(peer: socket.socket) -> None:
    """Be gone without a word: the peer gets a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Queue:
    """A server that answers each request after a time that is known, in one thread on all its connections.

    seconds   how long an answer takes
    alone     one at a time, in the order in which they came (a queue M/D/1 if they come at random); else each by itself
    freeze    (from, to) in seconds after the first request: nothing is looked at, or said
    """

    def __init__(self, seconds: float, *, alone: bool = False, freeze: tuple[float, float] = (0.0, 0.0)) -> None:
        self.seconds = seconds
        self._alone = alone
        self._freeze = freeze
        self._began = 0.0
        self._free_at = 0.0
        self._due: list[tuple[float, int]] = []
        self._peers: dict[int, socket.socket] = {}
        self.answered: list[float] = []
        """When each answer went out (monotonic)."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            over = threading.Event()
            thread = threading.Thread(target=self._serve, args=(listener, over))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
            finally:
                over.set()
                thread.join(PATIENCE)
                for peer in self._peers.values():
                    peer.close()

    def _serve(self, listener: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            until = min(self._due[0][0] if self._due else 1e18, time.monotonic() + 0.05)
            ready = select([listener, *self._peers.values()], [], [], max(0.0, until - time.monotonic()))[0]
            self._frozen()
            for sock in ready:
                if sock is listener:
                    peer = listener.accept()[0]
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._peers[peer.fileno()] = peer
                else:
                    self._hear(sock)
            while self._due and self._due[0][0] <= time.monotonic():
                fd = heapq.heappop(self._due)[1]
                if fd in self._peers:
                    self.answered.append(time.monotonic())
                    with suppress(OSError):
                        self._peers[fd].send(ANSWER)

    def _frozen(self) -> None:
        begin, end = self._freeze
        passed = time.monotonic() - self._began
        if self._began and begin <= passed < end:
            time.sleep(end - passed)

    def _hear(self, peer: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = peer.recv(65536)
        if not data:
            del self._peers[peer.fileno()]
            peer.close()
            return
        now = time.monotonic()
        self._began = self._began or now
        for _ in range(data.count(b"\r\n\r\n")):
            self._free_at = (max(self._free_at, now) if self._alone else now) + self.seconds
            heapq.heappush(self._due, (self._free_at, peer.fileno()))
