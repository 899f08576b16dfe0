"""500 clients that send one byte of a request each 5 s: when is each cut off, and who suffers meanwhile.

Under each model the server runs with `--head-timeout 10`. A normal keep-alive client first measures its
response times alone, then beside 500 slow ones that a process of its own drives: they connect 4 ms apart, send
a byte at once and another each 5 s, and note when and how the server ended them: with a 408, a plain close, or
not at all within the time-out and 5 s. Both times are told, and the ratio of the two p99 of the same server.
`nginx` is allowed among the models.
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
from typing import Any

from bench import clients, harness
from bench.harness import Address

GAP, PATIENCE = 0.004, 5.0
HEAD = b"GET /slow HTTP/1.1\r\nHost: bench\r\nX-Slow: " + b"z" * 100

Ending = tuple[str, float]  # how, and after how many seconds


def options(parser: argparse.ArgumentParser) -> None:
    models = ["select", "poll", "epoll", "epoll-et", "asyncio"]
    parser.add_argument("--models", type=harness.names, default=models, metavar="M,N")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--each", type=float, default=5.0, help="seconds between two bytes")
    parser.add_argument("--head-timeout", type=int, default=10)
    parser.add_argument("--alone", type=float, default=5.0, help="seconds that the normal client is alone")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    measured = {}
    for model in args.models:
        measured[model] = measure(model, args)
        print(f"  {model}: done", flush=True)
    print(f"\n{args.clients} slow clients, head time-out {args.head_timeout} s; the normal client's times in ms\n")
    harness.table(
        ["server", "408", "closed", "open still", "cut after s", "p50 alone", "beside", "p99 alone", "beside", "ratio"],
        [row(model, figures) for model, figures in measured.items()],
    )
    harness.save("slow", measured)


def row(model: str, m: dict[str, Any]) -> list[object]:
    return [
        model,
        *(m["how"].get(how, 0) for how in ("408", "closed", "open")),
        harness.spread(m["cut_after"], 1),
        *(f"{m[key]:.3f}" for key in ("p50_alone", "p50_beside", "p99_alone", "p99_beside")),
        f"{m['p99_beside'] / m['p99_alone']:.2f}",
    ]


def measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    launch = harness.hello(model, "--head-timeout", str(args.head_timeout))
    with harness.serving(launch) as server:
        clients.response_times(server.address, 1)
        alone = clients.response_times(server.address, args.alone)
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        crowd = context.Process(target=lambda: theirs.send(trickle(server.address, args)), daemon=True)
        crowd.start()
        beside = clients.response_times(server.address, args.clients * GAP + args.head_timeout)
        endings: list[Ending] = ours.recv() if ours.poll(args.head_timeout + PATIENCE + 10) else []
        crowd.join(5)
    return {
        "how": Counter(how for how, _ in endings),
        "cut_after": [after for how, after in endings if how != "open"],
        "requests_alone": len(alone),
        "requests_beside": len(beside),
        **{f"p50_{when}": statistics.median(times) for when, times in (("alone", alone), ("beside", beside))},
        **{f"p99_{when}": harness.percentile(times, 99) for when, times in (("alone", alone), ("beside", beside))},
        **{f"max_{when}": max(times) for when, times in (("alone", alone), ("beside", beside))},
    }


class Trickler:
    """One slow client: a byte of HEAD now and then, until the server has had enough."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.began = 0.0
        self.sent = 0
        self.heard = b""
        self.ending: Ending | None = None

    def connect(self, address: Address) -> socket.socket:
        self.began = time.monotonic()
        self.sock = clients.connect(address)
        return self.sock

    def byte(self) -> None:
        """A send that fails is no news: the end is told by the read."""
        assert self.sock
        with contextlib.suppress(OSError):
            self.sent += self.sock.send(HEAD[self.sent : self.sent + 1])

    def read(self) -> None:
        assert self.sock
        try:
            piece = self.sock.recv(4096)
        except OSError:
            piece = b""
        self.heard += piece
        if not piece:
            how = "408" if self.heard.startswith(b"HTTP/1.1 408") else "closed"
            self.ending = how, time.monotonic() - self.began
            self.sock.close()


def trickle(address: Address, args: argparse.Namespace) -> list[Ending]:
    """All slow clients, in one epoll loop; how each ended."""
    harness.raise_descriptor_limit()
    epoll = select.epoll()
    crowd = [Trickler() for _ in range(args.clients)]
    start = time.monotonic()
    due = [(start + number * GAP, number) for number in range(args.clients)]
    end = due[-1][0] + args.head_timeout + PATIENCE
    by_fd: dict[int, Trickler] = {}
    while (by_fd or due) and (now := time.monotonic()) < end:
        while due and due[0][0] <= now:
            when, number = heapq.heappop(due)
            client = crowd[number]
            if client.sock is None:
                epoll.register(sock := client.connect(address), select.EPOLLIN)
                by_fd[sock.fileno()] = client
            if client.ending is None:
                client.byte()
                heapq.heappush(due, (when + args.each, number))
        for fd, _ in epoll.poll(max(0.0, min(due[0][0] if due else end, end) - time.monotonic())):
            by_fd[fd].read()
            if by_fd[fd].ending:
                del by_fd[fd]
    return [client.ending or ("open", time.monotonic() - client.began) for client in crowd]
