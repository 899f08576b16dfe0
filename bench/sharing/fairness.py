"""Designs of a listener: how evenly N workers share connections: one listener or many, accept one or all.

The servers here are not allcomers but sketches of its workers, in plain Python (designs.py): an epoll loop
that accepts, reads a request, works 0.1 ms of CPU, answers with its own number. Nine designs:

  exclusive/all   one listener, EPOLLEXCLUSIVE; a worker that wakes accepts the whole backlog
  exclusive/one   the same, but accepts one a wake-up
  rotating/one    exclusive/one that then takes the listener out of its epoll and puts it back, and so goes
                  to the end of the kernel's queue of workers to wake
  rotating/few    the same with up to 8 accepts a wake-up
  rotating/yield  rotating/one that also yields the core (sched_yield) after an accept
  rotating/fair   rotating/one, but a worker that has more than one open connection above the mean of all leaves
                  the queue for 1 ms after an accept (the counts are in shared memory, one writer each)
  shared/all      one listener, plain: each connection wakes every worker that sleeps
  shared/one
  reuseport/all   a listener each, SO_REUSEPORT: the kernel's hash of the addresses decides

Workloads, each in rounds of shuffled order:

  burst      64 keep-alive connections opened at once; then each sends a request every 20 ms
  gaps       the same, opened 2 ms apart
  short      1,000 new connections a second for one request each; one in 200 makes its worker sleep 50 ms.
             Times are those of the others, some of which wait behind a busy worker
  replace    short, and every 300 ms a worker gets TERM (it accepts the backlog, answers all it has, exits) and
             another takes its place; the figure is failed connections
  crash      the same with KILL

Times run from when a request was due. `max/mean` is the busiest worker's connections over the mean: 1 is even,
N is one worker for all. `CPU` is that of all workers per response; where workers are replaced, of those that are
left at the end, so look at it for the first three only. `futile` is wake-ups by the listener that found nothing
to accept, per connection. The load has one core and the workers the other, or with `--cores 2` all share both.
"""

import argparse
import errno
import heapq
import itertools
import random
import select
import signal
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.sharing.designs import ACCEPTED, COUNTS, DESIGNS, FUTILE, Design, WorkerSet, calibrate, worker_set
from bench.support import clients, harness, processes
from bench.support.harness import Address

KEEP, GAP, BEAT, SLOW_EACH, RATE = 64, 0.002, 0.020, 200, 1000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1, help="cores that the workers run on")
    parser.add_argument("--designs", type=harness.names, default=list(DESIGNS), metavar="D,E")
    parser.add_argument("--workloads", type=harness.names, default=list(WORKLOADS), metavar="W,X")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)


def run(args: argparse.Namespace) -> None:
    harness.raise_descriptor_limit()
    cost = calibrate()
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for workload in args.workloads:
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in args.designs}
        for _ in range(args.rounds):
            for name in random.sample(args.designs, len(args.designs)):
                measured[name].append(measure(workload, DESIGNS[name], args, cost))
        report(workload, measured, args)
        figures[workload] = measured
    harness.save(f"fairness-{args.workers}x{args.cores}", figures)


def report(workload: str, measured: dict[str, list[dict[str, Any]]], args: argparse.Namespace) -> None:
    print(f"\n{workload}: {args.workers} workers on {args.cores} core(s)\n")
    harness.table(
        ["design", "max/mean", "idle workers", "p50 ms", "p99 ms", "CPU µs", "futile", "failed", "connections"],
        [
            [
                name,
                harness.spread([r["max_mean"] for r in rounds]),
                harness.spread([r["unused"] for r in rounds], 0),
                harness.spread([r["p50"] for r in rounds]),
                harness.spread([r["p99"] for r in rounds], 1),
                harness.spread([r["cpu"] for r in rounds], 0),
                f"{statistics.median(r['futile'] for r in rounds):.2f}",
                sum(r["failed"] for r in rounds),
                sum(sum(r["connections"]) for r in rounds),
            ]
            for name, rounds in measured.items()
        ],
    )


def measure(workload: str, design: Design, args: argparse.Namespace, cost: int) -> dict[str, Any]:
    with worker_set(design, args, cost) as workers:
        load = WORKLOADS[workload](workers, args.seconds)
        connections, futile = workers.tally[ACCEPTED::COUNTS], workers.tally[FUTILE::COUNTS]
        used = sum(processes.task_ns(process.pid) for process in workers.live.values()) / 1000
    return {
        "connections": connections,
        "max_mean": max(connections) * len(connections) / sum(connections),
        "unused": connections.count(0),
        "cpu": used / len(load.times),
        "futile": sum(futile) / sum(connections),
        "p50": statistics.median(load.times),
        "p99": harness.percentile(load.times, 99),
        "failed": load.failed,
        "how": sorted(set(load.errors)),
    }


# The load ------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Visit:
    """One connection of the load, or one request on it that is due."""

    sock: socket.socket
    request: bytes
    due: float
    slow: bool = False
    in_progress: bool = False
    answers: int = 0


class Load:
    """Open loop: requests are sent when due, whatever became of those before."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.epoll = select.epoll()
        self.visits: dict[int, Visit] = {}
        self.agenda: list[tuple[float, int, Callable[[float], object]]] = []
        self.order = itertools.count()
        self.times: list[float] = []
        self.errors: list[str] = []

    @property
    def failed(self) -> int:
        return len(self.errors)

    def at(self, when: float, act: Callable[[float], object]) -> None:
        heapq.heappush(self.agenda, (when, next(self.order), act))

    def run(self, until: float) -> None:
        while (now := time.perf_counter()) < until:
            while self.agenda and self.agenda[0][0] <= now:
                when, _, act = heapq.heappop(self.agenda)
                act(when)
            wake = min(until, self.agenda[0][0]) if self.agenda else until
            for fd, _ in self.epoll.poll(max(0.0, wake - time.perf_counter())):
                self.ready(self.visits[fd])

    def open(self, due: float, request: bytes = clients.REQUEST, slow: bool = False) -> Visit:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self.address)
        visit = self.visits[sock.fileno()] = Visit(sock, request, due, slow)
        self.epoll.register(sock, select.EPOLLOUT)
        return visit

    def ready(self, visit: Visit) -> None:
        try:
            if not visit.in_progress:
                visit.in_progress = True
                visit.sock.send(visit.request)
                self.epoll.modify(visit.sock, select.EPOLLIN)
            elif clients.parse(visit.sock.recv(4096)) is None:
                raise ConnectionResetError(errno.ECONNRESET, "no answer")
            else:
                self.answered(visit)
        except OSError as error:
            self.errors.append(errno.errorcode.get(error.errno or 0, str(error)))
            self.close(visit)

    def answered(self, visit: Visit) -> None:
        raise NotImplementedError

    def close(self, visit: Visit) -> None:
        del self.visits[visit.sock.fileno()]
        visit.sock.close()


class Keepers(Load):
    """64 keep-alive connections; each sends a request every 20 ms once open, or when it is answered."""

    def answered(self, visit: Visit) -> None:
        now = time.perf_counter()
        self.times.append((now - visit.due) * 1000)
        visit.answers += 1
        visit.due = max(now, visit.due + BEAT)
        self.at(visit.due, lambda _: self.ask(visit))

    def ask(self, visit: Visit) -> None:
        visit.in_progress = False
        self.ready(visit)


class Visitors(Load):
    """New connections at a steady rate, one request each; some make their worker sleep."""

    def answered(self, visit: Visit) -> None:
        if not visit.slow:
            self.times.append((time.perf_counter() - visit.due) * 1000)
        self.close(visit)

    def plan(self, start: float, seconds: float) -> None:
        for number in range(int(seconds * RATE)):
            slow = number % SLOW_EACH == SLOW_EACH // 2
            request = clients.REQUEST.replace(b"/", b"/slow", 1) if slow else clients.REQUEST
            self.at(start + number / RATE, partial(self.open, request=request, slow=slow))


def keepers(worker_set: WorkerSet, seconds: float, gap: float) -> Load:
    load = Keepers(worker_set.address)
    start = time.perf_counter()
    for number in range(KEEP):
        load.at(start + number * gap, load.open)
    load.run(start + KEEP * gap + seconds)
    load.errors += ["unanswered"] * sum(not visit.answers for visit in load.visits.values())
    return load


def visitors(worker_set: WorkerSet, seconds: float, signum: int | None = None) -> Load:
    load = Visitors(worker_set.address)
    start = time.perf_counter()
    load.plan(start, seconds)
    if signum is not None:
        for turn in range(int(seconds / 0.3)):
            load.at(start + 0.15 + turn * 0.3, partial(worker_set.replace, turn % worker_set.count, signum))
    load.run(start + seconds + 1)
    load.errors += ["unanswered"] * len(load.visits)
    return load


WORKLOADS: dict[str, Callable[[WorkerSet, float], Load]] = {
    "burst": lambda worker_set, seconds: keepers(worker_set, seconds, 0.0),
    "gaps": lambda worker_set, seconds: keepers(worker_set, seconds, GAP),
    "short": visitors,
    "replace": lambda worker_set, seconds: visitors(worker_set, seconds, signal.SIGTERM),
    "crash": lambda worker_set, seconds: visitors(worker_set, seconds, signal.SIGKILL),
}
