"""HUP, TERM and kill -9 under load: is one request lost?

64 keep-alive clients in one epoll loop: each sends a request, reads the whole answer, repeats; `--rest` lets
them pause between, as then a server has idle connections to get rid of. `Connection: close` makes a client
connect anew. Two workers.

hup   several HUPs in a run; a failure is a request without a whole answer 200, or a refused connection.
term  TERM in the midst; a refused connection now ends a client in peace, anything else is a failure.
kill  kill -9 of one worker: its own requests in flight may be lost ("own"), others not; and how long until a
      process that did not exist before answers, asked by four new connections at a time.

`nginx` is allowed among the models, for hup and term.
"""

import argparse
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from bench import clients, harness
from bench.clients import Crowd
from bench.harness import Server

CLIENTS = 64


def options(parser: argparse.ArgumentParser) -> None:
    models = ["epoll", "asyncio", "thread", "process"]
    parser.add_argument("--models", type=harness.names, default=models, metavar="M,N")
    parser.add_argument("--kinds", type=harness.names, default=list(KINDS), help="hup, term, kill (default: all)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hups", type=int, default=4, help="in one run")
    parser.add_argument("--gap", type=float, default=1.5, help="seconds between two HUPs")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds a client rests after an answer")
    parser.add_argument("--workers", default="2")


def run(args: argparse.Namespace) -> None:
    harness.raise_descriptor_limit()
    harness.pin(harness.LOAD_CORE)
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kind in args.kinds:
        models = [model for model in args.models if model != "nginx" or kind != "kill"]
        figures[kind] = {model: repeat(KINDS[kind], model, args) for model in models}
        report(kind, figures[kind])
    harness.save("signals", figures)


def repeat(
    kind: Callable[[Server, argparse.Namespace], dict[str, Any]], model: str, args: argparse.Namespace
) -> list[dict[str, Any]]:
    results = []
    for _ in range(args.runs):
        launch = harness.hello(model, "--workers", args.workers, app="Who")
        with harness.serving(launch) as server:
            results.append(kind(server, args))
    return results


def report(kind: str, measured: dict[str, list[dict[str, Any]]]) -> None:
    special = [key for key in next(iter(measured.values()))[0] if key not in COMMON]
    print(f"\n{kind}: {CLIENTS} clients, all runs together\n")
    harness.table(
        ["server", "sent", "answered", "failed", "unanswered", *special, "longest ms", "failures"],
        [
            [
                model,
                *(f"{sum(run[key] for run in runs):,}" for key in ("sent", "answered", "failed", "unanswered")),
                *(harness.spread([run[key] for run in runs], 2) for key in special),
                f"{max(run['longest_ms'] for run in runs):.0f}",
                ", ".join(f"{what}: {n}" for what, n in total(run["failures"] for run in runs).items()),
            ]
            for model, runs in measured.items()
        ],
    )


def total(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


COMMON = {"sent", "answered", "failed", "unanswered", "longest_ms", "failures"}


def outcome(crowd: Crowd, unanswered: int) -> dict[str, Any]:
    return {
        "sent": crowd.sent,
        "answered": crowd.answered,
        "failed": len(crowd.failures),
        "unanswered": unanswered,
        "longest_ms": max(crowd.times, default=0.0),
        "failures": crowd.kinds(),
    }


def hup(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = Crowd(server.address, CLIENTS, args.rest)
    crowd.run(args.gap)
    workers = set(harness.children(server.pid))
    first = len(workers)
    for _ in range(args.hups):
        os.kill(server.pid, signal.SIGHUP)
        crowd.run(args.gap)
        workers |= set(harness.children(server.pid))
    return {**outcome(crowd, crowd.finish()), "workers replaced": len(workers) - first}


def term(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = Crowd(server.address, CLIENTS, args.rest)
    crowd.run(args.gap)
    crowd.may_be_refused = True
    began = time.perf_counter()
    os.kill(server.pid, server.launch.drain)
    gone = float("nan")
    while (crowd.peers or gone != gone) and time.perf_counter() - began < 10:
        crowd.run(0.01)
        if not crowd.peers:
            time.sleep(0.002)
        if gone != gone and server.process.poll() is not None:
            gone = time.perf_counter() - began
    last = time.perf_counter() - began
    return {
        **outcome(crowd, crowd.finish()),
        "gone after s": gone,
        "last client ended after s": last,
        "exit": server.process.poll(),
    }


def kill(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = Crowd(server.address, CLIENTS, args.rest)
    crowd.run(args.gap)
    before = set(harness.children(server.pid))
    victim = min(before)
    began = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    forked = serves = float("nan")
    while serves != serves and time.perf_counter() - began < 10:
        crowd.run(0.002)
        new = set(harness.children(server.pid)) - before
        if new and forked != forked:
            forked = time.perf_counter() - began
        if new and new & probe(server):
            serves = time.perf_counter() - began
    crowd.run(args.gap)
    unanswered = crowd.finish()
    own = sum(str(victim).encode() in failure.served_by.split() for failure in crowd.failures)
    return {
        **outcome(crowd, unanswered),
        "own": own,
        "not own": len(crowd.failures) - own,
        "forked s": forked,
        "serves s": serves,
    }


def probe(server: Server, count: int = 4) -> set[int]:
    """The processes, and their parents, that answer new connections."""
    found: set[int] = set()
    probes: list[socket.socket] = []
    try:
        for _ in range(count):
            probes.append(clients.connect(server.address, timeout=0.1))
            probes[-1].sendall(clients.REQUEST)
        for sock in probes:
            found |= {int(pid) for pid in clients.receive(sock).body.split()}
    except OSError:
        pass  # lost, or not in time: the next probe tells
    finally:
        for sock in probes:
            sock.close()
    return found


KINDS = {"hup": hup, "term": term, "kill": kill}
