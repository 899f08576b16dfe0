"""Designs of a listener, and workers that follow one: see fairness.py."""

import argparse
import gc
import multiprocessing
import os
import select
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.support import harness
from bench.support.harness import Address

SLEEP = 0.050  # seconds that a slow request takes
FORK = multiprocessing.get_context("fork")
ACCEPTED, FUTILE, OPEN, COUNTS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Design:
    exclusive: bool = False
    reuseport: bool = False
    rotate: bool = False
    give_way: bool = False
    step_back: float = 0.0  # seconds
    most: int = 2048  # accepts a wake-up


DESIGNS = {
    "exclusive/all": Design(exclusive=True),
    "exclusive/one": Design(exclusive=True, most=1),
    "rotating/one": Design(exclusive=True, rotate=True, most=1),
    "rotating/few": Design(exclusive=True, rotate=True, most=8),
    "rotating/yield": Design(exclusive=True, rotate=True, give_way=True, most=1),
    "rotating/fair": Design(exclusive=True, rotate=True, step_back=0.001, most=1),
    "shared/all": Design(),
    "shared/one": Design(most=1),
    "reuseport/all": Design(reuseport=True),
}


def calibrate() -> int:
    """Return how far to count for 0.1 ms of CPU."""
    harness.pin(harness.SERVER_CORE)
    times = []
    for _ in range(200):
        started = time.perf_counter()
        sum(range(10_000))
        times.append(time.perf_counter() - started)
    harness.pin(None)
    return int(10_000 * 0.0001 / statistics.median(times))


class Worker:
    """One process: accept, read, work, answer."""

    def __init__(self, number: int, listener: socket.socket, design: Design, tally: Any, cost: int) -> None:
        self.number, self.listener, self.design, self.tally, self.cost = number, listener, design, tally, cost
        self.epoll = select.epoll()
        self.peers: dict[int, socket.socket] = {}
        self.events = select.EPOLLIN | (select.EPOLLEXCLUSIVE if design.exclusive else 0)
        self.leaving = False
        self.back_at = 0.0  # when the listener is watched again

    def serve(self) -> None:
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.epoll.register(woken, select.EPOLLIN)
        self.epoll.register(self.listener, self.events)
        while not (self.leaving and not self.peers):
            for fd, _ in self.epoll.poll(self.patience()):
                if fd == woken.fileno():
                    self.leave(woken)
                elif fd != self.listener.fileno():
                    self.answer(fd)
                elif not self.leaving:
                    self.welcome(self.design.most)
                    self.let_others()

    def patience(self) -> float:
        if self.back_at and not self.leaving:
            left = self.back_at - time.perf_counter()
            if left > 0:
                return left
            self.back_at = 0.0
            self.epoll.register(self.listener, self.events)
        return 1 if self.leaving else -1

    def let_others(self) -> None:
        """Follow the design after an accept, so that another worker gets the next connection."""
        if not self.design.rotate:
            return
        self.epoll.unregister(self.listener)
        open_now = self.tally[OPEN::COUNTS]
        if self.design.step_back and len(self.peers) > sum(open_now) / len(open_now) + 1:
            self.back_at = time.perf_counter() + self.design.step_back
        else:
            self.epoll.register(self.listener, self.events)
        if self.design.give_way:
            os.sched_yield()

    def welcome(self, most: int) -> None:
        for number in range(most):
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                self.count(FUTILE, number == 0)
                return
            self.count(ACCEPTED, 1)
            sock.setblocking(False)
            self.peers[sock.fileno()] = sock
            self.tally[COUNTS * self.number + OPEN] = len(self.peers)
            self.epoll.register(sock, select.EPOLLIN)

    def count(self, what: int, more: int) -> None:
        self.tally[COUNTS * self.number + what] += more

    def answer(self, fd: int) -> None:
        sock = self.peers.get(fd)
        if sock is None:  # the listener, which another event of this wake-up has closed
            return
        try:
            data = sock.recv(65536)
            if data.startswith(b"GET /slow"):
                time.sleep(SLEEP)
            elif data:
                sum(range(self.cost))
            if data:
                sock.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % self.number)
                return
        except OSError:
            pass
        self.peers.pop(fd).close()
        self.tally[COUNTS * self.number + OPEN] = len(self.peers)

    def leave(self, woken: socket.socket) -> None:
        """Handle TERM: accept the backlog, then no more."""
        self.epoll.unregister(woken)
        self.welcome(1_000_000)
        if not self.back_at:
            self.epoll.unregister(self.listener)
        self.listener.close()
        self.leaving = True


@dataclass(slots=True)
class WorkerSet:
    design: Design
    count: int
    cores: int
    cost: int
    address: Address = ("127.0.0.1", 0)
    shared: socket.socket | None = None
    live: dict[int, Any] = field(default_factory=dict)
    gone: list[Any] = field(default_factory=list)
    tally: Any = None

    def start(self, number: int) -> None:
        """Start a worker for the place `number`; under reuseport it makes its own listener once it runs."""
        ready, ready_end = FORK.Pipe(duplex=False)
        self.live[number] = FORK.Process(target=self.work, args=(number, ready_end), daemon=True)
        self.live[number].start()
        ready_end.close()
        ready.poll(5)
        ready.close()

    def work(self, number: int, ready_end: Any) -> None:
        core = None if self.cores == 2 else harness.SERVER_CORE
        harness.pin(core if core is not None else harness.CORES[number % len(harness.CORES)])
        forget_all_but({ready_end.fileno(), self.shared.fileno() if self.shared else -1})
        listener = self.shared or self.listen()
        worker = Worker(number, listener, self.design, self.tally, self.cost)
        ready_end.send(None)
        worker.serve()

    def listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.design.reuseport:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(self.address)
        listener.listen(2048)
        listener.setblocking(False)
        return listener

    def replace(self, number: int, signum: int, _now: float) -> None:
        """Replace a worker; the next one listens before the old one exits, where that is possible."""
        old = self.live[number]
        if signum == signal.SIGTERM:
            self.start(number)
            os.kill(old.pid, signum)
        else:
            os.kill(old.pid, signum)
            self.start(number)
        self.gone.append(old)


def forget_all_but(kept: set[int]) -> None:
    """Close the load's sockets in a worker that is forked amid the load.

    The objects that own them are kept from the collector: one that closed its number would close ours.
    """
    gc.freeze()
    for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in kept:
            with suppress(OSError):
                os.close(fd)


@contextmanager
def worker_set(design: Design, args: argparse.Namespace, cost: int) -> Iterator[WorkerSet]:
    workers = WorkerSet(
        design, args.workers, args.cores, cost, tally=FORK.Array("q", COUNTS * args.workers, lock=False)
    )
    holder = workers.listen()  # binds a free port; under reuseport only the workers may listen on it
    workers.address = holder.getsockname()
    if design.reuseport:
        holder.close()
    else:
        workers.shared = holder
    for number in range(args.workers):
        workers.start(number)
    harness.pin(harness.LOAD_CORE if args.cores == 1 else None)
    time.sleep(0.05)
    try:
        yield workers
    finally:
        for process in [*workers.live.values(), *workers.gone]:
            process.kill()
            process.join()
        holder.close()
        harness.pin(None)
