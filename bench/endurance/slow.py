"""200 slow clients on each model: when each is cut off, and the response times of others meanwhile.

Under each model a normal client first measures its response times alone, then beside the slow ones, that a process of
its own drives. These connect 4 ms apart, and

head     send half of a request head, and no more;
body     send a head and half of its body, and no more;
deaf     request 64 MB, and read none of it;
trickle  send a byte of a head at once and another each 5 s.

They note when and how the server ended them: with a 408, a plain close, or not at all within the deadline and 5 s. A
client that does not read cannot notice the end: that the server has closed is read from /proc/net/tcp. The normal
client sends requests on one connection, and connects anew when the server closes it. Blocking models are measured up to
the number of places they have (docs/running.md): thread has 1,000, process 256, thread-pool has --threads, here 256,
iterative one: there the slow ones are two, and the normal client is served when they have been cut. `nginx` is allowed
among the models, for head and trickle.
"""

import argparse
import contextlib
import heapq
import multiprocessing
import select
import socket
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.support import clients, harness
from bench.support.harness import Address

GAP, PATIENCE, EACH = 0.004, 5.0, 5.0
TRICKLED = b"GET /slow HTTP/1.1\r\nHost: bench\r\nX-Slow: " + b"z" * 100
WORDS = {
    "head": b"GET / HTTP/1.1\r\nHost: ben",
    "body": b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000,
    "deaf": b"GET /?64000000 HTTP/1.1\r\nHost: bench\r\n\r\n",
    "trickle": TRICKLED[:1],
}
CUT_AFTER = {"body": 5, "deaf": 25}  # seconds, docs/running.md; the others --head-timeout
PLACES = {"iterative": 2}  # one has the place, and one waits
OPTIONS = {"thread-pool": ["--threads", "256"]}

Ending = tuple[str, float]  # how, and after how many seconds


def options(parser: argparse.ArgumentParser) -> None:
    models = ["iterative", "process", "thread", "thread-pool", "select", "poll", "epoll", "epoll-et", "asyncio"]
    parser.add_argument("--models", type=harness.names, default=models, metavar="M,N")
    parser.add_argument("--kinds", type=harness.names, default=["head", "body", "deaf"], help=", ".join(WORDS))
    parser.add_argument("--clients", type=int, default=200, help="slow clients, of each kind in turn")
    parser.add_argument("--head-timeout", type=int, default=10)
    parser.add_argument("--alone", type=float, default=3.0, help="seconds that the normal client is alone")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    measured = []
    for model in args.models:
        measured += [measure(model, kind, args) for kind in args.kinds]
        print(f"  {model}: done", flush=True)
    print(f"\nslow clients, head time-out {args.head_timeout} s; the normal client's times in ms\n")
    head = "server, kind|slow|408|closed|open still|cut after s|answers/s alone|beside|"
    times = "p50 alone|beside|p99 alone|beside|max beside"
    harness.table((head + times).split("|"), [row(m) for m in measured])
    harness.save("slow", measured)


def row(m: dict[str, Any]) -> list[object]:
    return [
        f"{m['model']} {m['kind']}",
        m["slow"],
        *(m["how"].get(how, 0) for how in ("408", "closed", "open")),
        harness.spread(m["cut_after"], 1),
        *(f"{m[f'rate_{when}']:,.0f}" for when in ("alone", "beside")),
        *(f"{m[key]:.2f}" for key in ("p50_alone", "p50_beside", "p99_alone", "p99_beside")),
        f"{m['max_beside']:,.1f}",
    ]


def measure(model: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    count = min(args.clients, PLACES.get(model, args.clients))
    deadline = CUT_AFTER.get(kind, args.head_timeout)
    lasts = count * GAP + deadline * (count if model in PLACES else 1)
    launch = harness.hello(model, "--head-timeout", str(args.head_timeout), *OPTIONS.get(model, []), app="Bulk")
    with harness.serving(launch) as server:
        response_times(server.address, 0.5)
        times = {"alone": response_times(server.address, args.alone)}
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        crowd = context.Process(
            target=lambda: theirs.send(Crowd(kind, server.address, count).run(lasts + PATIENCE)), daemon=True
        )
        crowd.start()
        time.sleep(count * GAP)
        times["beside"] = response_times(server.address, lasts - count * GAP)
        endings: list[Ending] = ours.recv() if ours.poll(PATIENCE + 10) else []
        crowd.join(5)
    return {
        "model": model,
        "kind": kind,
        "slow": count,
        "how": Counter(how for how, _ in endings),
        "cut_after": [after for how, after in endings if how != "open"],
        **{f"rate_{when}": len(found) / (sum(found) / 1000) for when, found in times.items()},
        **{f"p50_{when}": statistics.median(found) for when, found in times.items()},
        **{f"p99_{when}": harness.percentile(found, 99) for when, found in times.items()},
        **{f"max_{when}": max(found) for when, found in times.items()},
    }


def response_times(address: Address, seconds: float) -> list[float]:
    """A normal client's times in ms: from its request, or its connect, to the complete response."""
    times = []
    sock: socket.socket | None = None
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        sock = sock or clients.connect(address, timeout=120)
        sock.sendall(clients.REQUEST)
        answer = clients.receive(sock)
        times.append((time.perf_counter() - started) * 1000)
        if answer.status != 200:
            raise ConnectionError(f"a normal client was answered {answer}")
        if answer.close:
            sock.close()
            sock = None
    if sock:
        sock.close()
    return times


class Slow:
    """One slow client."""

    def __init__(self, kind: str, address: Address) -> None:
        self.started = time.monotonic()
        self.sent = 1
        self.received = b""
        self.ending: Ending | None = None
        self.sock = socket.socket()
        if kind == "deaf":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(5)
        self.sock.connect(address)
        self.port = self.sock.getsockname()[1]
        self.sock.sendall(WORDS[kind])

    def byte(self) -> None:
        """A send that fails is ignored: the read reports the end."""
        with contextlib.suppress(OSError):
            self.sent += self.sock.send(TRICKLED[self.sent : self.sent + 1])

    def read(self) -> None:
        try:
            piece = self.sock.recv(4096)
        except OSError:
            piece = b""
        self.received += piece
        if not piece:
            self.end("408" if self.received.startswith(b"HTTP/1.1 408") else "closed")

    def end(self, how: str) -> None:
        self.ending = how, time.monotonic() - self.started
        self.sock.close()


class Crowd:
    """All slow clients of a kind, in one epoll loop."""

    def __init__(self, kind: str, address: Address, count: int) -> None:
        harness.raise_descriptor_limit()
        self.kind = kind
        self.address = address
        self.count = count
        self.crowd: list[Slow] = []
        self.here: dict[int, Slow] = {}  # clients that have not been ended, by descriptor
        self.epoll = select.epoll()

    def run(self, seconds: float) -> list[Ending]:
        """Run until each has ended; return how."""
        start = time.monotonic()
        due = [(start + number * GAP, number) for number in range(self.count)]
        while (self.here or due) and (now := time.monotonic()) < start + seconds:
            while due and due[0][0] <= now:
                when, number = heapq.heappop(due)
                self.act(number)
                if self.kind == "trickle" and not self.crowd[number].ending:
                    heapq.heappush(due, (when + EACH, number))
            for fd, _ in self.epoll.poll(max(0.0, min(due[0][0] - now if due else 0.1, 0.1))):
                self.here[fd].read()
            if self.kind == "deaf" and not due:
                self.look()
            self.here = {fd: client for fd, client in self.here.items() if not client.ending}
        return [client.ending or ("open", time.monotonic() - client.started) for client in self.crowd]

    def act(self, number: int) -> None:
        """Connect, or send another byte."""
        if number < len(self.crowd):
            if not self.crowd[number].ending:
                self.crowd[number].byte()
            return
        client = Slow(self.kind, self.address)
        self.crowd.append(client)
        self.here[client.sock.fileno()] = client
        if self.kind != "deaf":
            self.epoll.register(client.sock, select.EPOLLIN)

    def look(self) -> None:
        """Return the clients that the server has left (proc(5), /proc/net/tcp: its side is no longer established)."""
        ours = f":{self.address[1]:04X}"
        held = set()
        for line in Path("/proc/net/tcp").read_text().splitlines():
            _, local, remote, state, *_ = line.split()
            if local.endswith(ours) and state == "01":
                held.add(int(remote.rpartition(":")[2], 16))
        for client in self.here.values():
            if client.port not in held:
                client.end("closed")
