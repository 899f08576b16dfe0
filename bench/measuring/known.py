"""A server of known response times, to check tools that measure response times.

`python -m bench.measuring.known SECONDS [alone] [FREEZE_FROM FREEZE_TO]` serves on a free port, which it prints,
until its standard input ends; then it prints how late its own responses were, p50 and p99 in ms.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile

from allcomers.commands.load import Plan
from allcomers.commands.load.data.schedule import moments

SO_TIMESTAMPNS = 35  # Linux: socket.h; the socket module has no name for it
TIMESPEC = struct.Struct("@ll")

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Queue:
    """A server that answers each request after a known time, with one thread for all connections.

    The time runs from when the kernel got the request (SO_TIMESTAMPNS, socket(7)), however late the thread woke up.

    seconds   time of a response
    alone     one at a time, in the order of arrival (a queue M/D/1 if they arrive at random); else each by itself
    freeze    (from, to) in seconds after the first request: nothing is received or sent
    spin      seconds before a response is due in which it waits without sleeping: a core of its own is used up, and the
              response is on time
    """

    def __init__(
        self, seconds: float, *, alone: bool = False, freeze: tuple[float, float] = (0.0, 0.0), spin: float = 0.0
    ) -> None:
        self.seconds = seconds
        self._spin = spin
        self._alone = alone
        self._freeze = freeze
        self._started = 0.0
        self._free_at = 0.0
        self._due: list[tuple[float, int]] = []
        self._peers: dict[int, socket.socket] = {}
        self._ready = selectors.DefaultSelector()
        self._realtime = time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()
        self.answered: list[float] = []
        """When each response was sent (monotonic)."""
        self.late: list[float] = []
        """Seconds by which it was late."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve in a thread until the block ends; give the URL."""
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            over = threading.Event()
            thread = threading.Thread(target=self.serve, args=(listener, over))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
            finally:
                over.set()
                thread.join()
                for sock in (self._ready, *self._peers.values()):
                    sock.close()

    def serve(self, listener: socket.socket, over: threading.Event) -> None:
        self._ready.register(listener, selectors.EVENT_READ)
        while not over.is_set():
            until = min(self._due[0][0] - self._spin if self._due else 1e18, time.monotonic() + 0.05)
            ready = self._ready.select(max(0.0, until - time.monotonic()))
            self._frozen()
            for key, _ in ready:
                if key.fileobj is listener:
                    self._let_in(listener.accept()[0])
                else:
                    self._hear(self._peers[key.fd])
            while self._due and self._due[0][0] <= time.monotonic():
                due, fd = heapq.heappop(self._due)
                if fd in self._peers:
                    self.answered.append(time.monotonic())
                    self.late.append(self.answered[-1] - due)
                    with suppress(OSError):
                        self._peers[fd].send(ANSWER)

    def _frozen(self) -> None:
        begin, end = self._freeze
        passed = time.monotonic() - self._started
        if self._started and begin <= passed < end:
            time.sleep(end - passed)

    def _let_in(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._peers[peer.fileno()] = peer
        self._ready.register(peer, selectors.EVENT_READ)

    def _hear(self, peer: socket.socket) -> None:
        data, stamps = b"", []
        with suppress(OSError):
            data, stamps, *_ = peer.recvmsg(65536, socket.CMSG_SPACE(TIMESPEC.size))
        if not data:
            self._ready.unregister(peer)
            del self._peers[peer.fileno()]
            peer.close()
            return
        now = self._stamp(stamps)
        self._started = self._started or now
        for _ in range(data.count(b"\r\n\r\n")):
            self._free_at = (max(self._free_at, now) if self._alone else now) + self.seconds
            heapq.heappush(self._due, (self._free_at, peer.fileno()))

    def _stamp(self, stamps: list[tuple[int, int, bytes]]) -> float:
        for _, kind, data in stamps:
            if kind == SO_TIMESTAMPNS:
                seconds, ns = TIMESPEC.unpack(data)
                return float(seconds + ns / 1e9 - self._realtime)
        return time.monotonic()


def due_at(plan: Plan) -> list[float]:
    """Return the seconds after the start at which the requests of a plan with one process are due."""
    return [moment / 1e9 for moment in takewhile(lambda moment: moment < plan.seconds * 1e9, moments(plan, 0))]


def waits(due: list[float], service: float) -> list[float]:
    """Return the response times in a queue with one server: Lindley's recursion."""
    times, free = [], 0.0
    for arrival in due:
        free = max(free, arrival) + service
        times.append(free - arrival)
    return times


def main(arguments: list[str]) -> None:
    """Serve until the standard input ends."""
    seconds, *rest = arguments
    alone = "alone" in rest
    freeze = [float(word) for word in rest if word != "alone"] or [0.0, 0.0]
    # It does not sleep while a response is due: after a sleep the caches are cold, and it sends some 50 µs late.
    queue = Queue(float(seconds), alone=alone, freeze=(freeze[0], freeze[1]), spin=float(seconds))
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        queue.serve(listener, over)
    late = sorted(queue.late) or [0.0]
    print(*(f"{1000 * late[int(slot * (len(late) - 1))]:.3f}" for slot in (0.5, 0.99)))


if __name__ == "__main__":
    main(sys.argv[1:])
