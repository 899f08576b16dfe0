"""Streams of server-sent events, as clients in Python that read them: each event has the time when it was sent.

The time from an app's send() to its client needs no clock but the monotonic one, which both processes have
(clock_gettime(2)). Of many clients it has the client's own delay in it, which reads one after the other; one that waits
for a lone stream has not.
"""

import re
import select
import socket
import time

from bench.support import clients
from bench.support.harness import Address, CannotMeasureError

PATIENCE = 10.0
LEAST = 2.0  # seconds of a measurement: the kernel counts the CPU of a server in hundredths
ASK = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: text/event-stream\r\n\r\n"
SENT = re.compile(rb"data: (\d+)\n\n")


def opened(address: Address, path: str) -> socket.socket:
    """Return a client of a stream, whose head has come."""
    link = clients.connect(address, PATIENCE)
    link.sendall(ASK % path.encode())
    head = link.recv(12)
    if head != b"HTTP/1.1 200":
        link.close()
        raise CannotMeasureError(f"no stream, but {head!r}")
    return link


def first(address: Address, path: str) -> None:
    """Open a stream, and wait for its first event."""
    with opened(address, path) as link:
        said = b""
        while SENT.search(said) is None:
            piece = link.recv(65536)
            if not piece:
                raise CannotMeasureError("the stream ended before its first event")
            said += piece


def read(links: list[socket.socket], seconds: float) -> list[float]:
    """Read the events that come in these seconds, or in the LEAST. Return ms from send() to here, of each."""
    delays: list[float] = []
    poll = select.epoll()
    by_fd = {link.fileno(): link for link in links}
    for fd, link in by_fd.items():
        link.setblocking(False)
        poll.register(fd, select.EPOLLIN)
    begin = time.monotonic_ns()
    end = begin + max(seconds, LEAST) * 1e9
    while (now := time.monotonic_ns()) < end:
        for fd, _ in poll.poll((end - now) / 1e9):
            said, here = by_fd[fd].recv(65536), time.monotonic_ns()
            if not said:
                raise CannotMeasureError("a stream ended")
            delays += ((here - sent) / 1e6 for sent in map(int, SENT.findall(said)) if sent >= begin)
    poll.close()
    return delays
