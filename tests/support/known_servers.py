"""Servers of known behaviour, each a thread beside the test; and a load run in this very process."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from allcomers.commands.load.data.plan import Plan, resolve
from allcomers.commands.load.data.result import Result, summarize
from allcomers.commands.load.data.trust import with_warnings
from allcomers.commands.load.run.client_group import ClientGroup, now_ns

PATIENCE = 20.0
TRIES = 10

Talk: TypeAlias = Callable[[socket.socket], None]


def soon() -> int:
    """Return a start time in ns at which the connections are open."""
    return now_ns() + 50_000_000


def carried_out(plan: Plan, start: int) -> Result:
    """Run the plan in this process, from `start` on."""
    stop_fd, stop_end = os.pipe()
    try:
        record = ClientGroup(plan, resolve(plan), 0, start, stop_fd).run(lambda record: None)
    finally:
        os.close(stop_fd)
        os.close(stop_end)
    return with_warnings(summarize(plan, record, False))


def load(url: str, **values: Any) -> Result:
    return carried_out(Plan.make(url=url, **{"seconds": 0.3, "timeout": 5.0, **values}), soon())


def assert_within(run: Callable[[], list[tuple[float, float]]]) -> None:
    """Assert that one of several runs keeps to its times. `run` gives pairs (time, limit); other processes on the
    machine only add to times. Its own assertions hold in each run."""
    for _ in range(TRIES):
        above = [pair for pair in run() if pair[0] > pair[1]]
        if not above:
            return
    raise AssertionError(f"{TRIES} times too long, last these (is, may be): {above}")


def adds_up(found: Result) -> bool:
    return found.sent == found.answered + found.failed + found.in_flight


@contextmanager
def serving(talk: Talk) -> Iterator[str]:
    """Serve `talk` on each connection, in a thread of its own, and then close it; give the URL."""
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
    """Yield the requests of a peer, which have no body."""
    held = b""
    while data := peer.recv(65536):
        *whole, held = (held + data).split(b"\r\n\r\n")
        yield from whole


def reset(peer: socket.socket) -> None:
    """Reset the connection: the peer gets a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
