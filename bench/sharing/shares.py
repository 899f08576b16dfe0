"""Connections of each worker of allcomers, under each model.

Each round starts the server, opens 64 keep-alive connections, at once or 2 ms apart, then requests on each the number
of its process. `busiest` is the most that one worker had; even would be the connections divided by the workers. Workers
and client share the same cores. (`fairness` compares designs of a listener; this measures the server as it is.)
"""

import argparse
import time
from collections import Counter
from contextlib import ExitStack

from bench.support import clients, harness
from bench.support.harness import Address


def options(parser: argparse.ArgumentParser) -> None:
    models = ["thread", "thread-pool", "select", "poll", "epoll", "epoll-et", "asyncio"]
    parser.add_argument("--models", type=harness.names, default=models, metavar="M,N")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)


def run(args: argparse.Namespace) -> None:
    measured = {}
    for model in args.models:
        for name, gap in (("at once", 0.0), ("2 ms apart", 0.002)):
            measured[f"{model}, {name}"] = [busiest(model, gap, args) for _ in range(args.rounds)]
    print(f"\n{args.connections} connections, {args.workers} workers: how many the busiest had, {args.rounds} rounds\n")
    harness.table(
        ["model", "busiest"],
        [[name, f"{min(counts)} to {max(counts)}"] for name, counts in measured.items()],
    )
    harness.save("shares", measured)


def busiest(model: str, gap: float, args: argparse.Namespace) -> int:
    with harness.serving(harness.hello(model, "-w", str(args.workers), app="Who"), core=None) as server:
        return max(shares(server.address, args.connections, gap).values())


def shares(address: Address, connections: int, gap: float) -> Counter[bytes]:
    """Return connections by the process that serves them."""
    with ExitStack() as stack:
        socks = []
        for _ in range(connections):
            socks.append(stack.enter_context(clients.connect(address)))
            time.sleep(gap)
        for sock in socks:
            sock.sendall(clients.REQUEST)
        return Counter(clients.receive(sock).body for sock in socks)
