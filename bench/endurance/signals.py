"""Requests lost under load by HUP, USR2, --max-requests, TERM and kill -9.

64 keep-alive clients and 8 that upload 1 MB at a time, in one epoll loop: each sends a request, reads the complete
response, repeats; `--rest` lets them pause between, as then a server has idle connections to close.
`Connection: close` makes a client connect anew. Two workers.

hup           several HUPs in a run; a failure is a request without a complete 200 response, or a refused connection.
usr2          the same with USR2: each time a new server takes over, and the old one ends.
max-requests  the same with no signal, but --max-requests 100: workers are replaced all the time.
term          TERM in between; a refused connection now ends a client normally, anything else is a failure.
delay         TERM with --drain-delay 1.
kill          kill -9 of one worker: its own requests in flight may be lost ("own"), others not; and the time until
              a new process answers, which four new connections at a time probe.

`nginx` is allowed among the models, for hup and term, with `--uploads 0`.
"""

import argparse
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.support import clients, harness, processes
from bench.support.clients import Crowd
from bench.support.harness import Server

CLIENTS = 64


def options(parser: argparse.ArgumentParser) -> None:
    models = ["epoll", "asyncio", "thread", "process"]
    parser.add_argument("--models", type=harness.names, default=models, metavar="M,N")
    parser.add_argument(
        "--kinds", type=harness.names, default=list(KINDS), help="kinds from the list above (default: all)"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hups", type=int, default=4, help="HUPs in one run")
    parser.add_argument("--gap", type=float, default=1.5, help="seconds between two HUPs")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds that a client rests after a response")
    parser.add_argument("--uploads", type=int, default=8, help="clients that upload (default: 8)")
    parser.add_argument("--workers", default="2")


def run(args: argparse.Namespace) -> None:
    harness.raise_descriptor_limit()
    harness.pin(harness.LOAD_CORE)
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kind in args.kinds:
        models = [model for model in args.models if model != "nginx" or kind in ("hup", "term")]
        figures[kind] = {model: repeat(kind, model, args) for model in models}
        report(kind, figures[kind])
    harness.save("signals", figures)


def repeat(kind: str, model: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    results = []
    for _ in range(args.runs):
        options = [*OPTIONS.get(kind, ()), *PLACES.get(model, ())]
        launch = harness.hello(model, "--workers", args.workers, *options, app="Who")
        with harness.serving(launch) as server:
            results.append(KINDS[kind](server, args))
    return results


def report(kind: str, measured: dict[str, list[dict[str, Any]]]) -> None:
    special = [key for key in next(iter(measured.values()))[0] if key not in COMMON]
    print(f"\n{kind}: {CLIENTS} clients and those that upload, all runs together\n")
    harness.table(
        ["server", *COUNTS, *special, "longest ms", "failures"],
        [
            [
                model,
                *(f"{sum(run[key] for run in runs):,}" for key in COUNTS),
                *(harness.spread([run[key] for run in runs], 2) for key in special),
                f"{max(run['longest_ms'] for run in runs):.0f}",
                ", ".join(f"{what}: {n}" for what, n in total(run["failures"] for run in runs).items()),
            ]
            for model, runs in measured.items()
        ],
    )


def total(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


COUNTS = ("sent", "answered", "uploaded", "failed", "unanswered")
COMMON = {*COUNTS, "longest_ms", "failures"}


def gather(server: Server, args: argparse.Namespace) -> Crowd:
    return Crowd(server.address, CLIENTS, args.rest, args.uploads)


def outcome(crowd: Crowd, unanswered: int) -> dict[str, Any]:
    return {
        "sent": crowd.sent,
        "answered": crowd.answered,
        "uploaded": crowd.uploaded,
        "failed": len(crowd.failures),
        "unanswered": unanswered,
        "longest_ms": max(crowd.times, default=0.0),
        "failures": crowd.kinds(),
    }


def hup(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = gather(server, args)
    crowd.run(args.gap)
    workers = set(processes.children(server.pid))
    first = len(workers)
    for _ in range(args.hups):
        os.kill(server.pid, signal.SIGHUP)
        crowd.run(args.gap)
        workers |= set(processes.children(server.pid))
    return {**outcome(crowd, crowd.finish()), "workers replaced": len(workers) - first}


def usr2(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = gather(server, args)
    crowd.run(args.gap)
    pid, servers = server.pid, 1
    try:
        for _ in range(args.hups):
            os.kill(pid, signal.SIGUSR2)
            new = pid
            while new == pid and not crowd.failures:
                crowd.run(0.02)
                new = listening(server)
            while is_alive(server, pid) and not crowd.failures:
                crowd.run(0.02)
            servers += new != pid
            pid = new
            crowd.run(args.gap)
        return {**outcome(crowd, crowd.finish()), "servers": servers}
    finally:
        if pid != server.pid:
            os.kill(pid, signal.SIGTERM)
            while is_alive(server, pid):
                time.sleep(0.02)


def listening(server: Server) -> int:
    """Return the supervisor whose Listening line is the last."""
    return int(re.findall(r"Listening at: .* \(pid (\d+)\)", server.log.read_text())[-1])


def is_alive(server: Server, pid: int) -> bool:
    if pid == server.pid:
        return server.process.poll() is None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def worn(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = gather(server, args)
    workers: set[int] = set()
    for _ in range(round(args.gap * (args.hups + 1) / 0.05)):
        crowd.run(0.05)
        workers |= set(processes.children(server.pid))
    return {**outcome(crowd, crowd.finish()), "workers replaced": len(workers) - int(args.workers)}


def term(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = gather(server, args)
    crowd.run(args.gap)
    crowd.may_be_refused = True
    started = time.perf_counter()
    os.kill(server.pid, server.launch.drain)
    gone = float("nan")
    while (crowd.peers or gone != gone) and time.perf_counter() - started < 10:
        crowd.run(0.01)
        if not crowd.peers:
            time.sleep(0.002)
        if gone != gone and server.process.poll() is not None:
            gone = time.perf_counter() - started
    last = time.perf_counter() - started
    return {
        **outcome(crowd, crowd.finish()),
        "gone after s": gone,
        "last client ended after s": last,
        "exit": server.process.poll(),
    }


def kill(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    crowd = gather(server, args)
    crowd.run(args.gap)
    before = set(processes.children(server.pid))
    victim = min(before)
    started = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    forked = serves = float("nan")
    while serves != serves and time.perf_counter() - started < 10:
        crowd.run(0.002)
        new = set(processes.children(server.pid)) - before
        if new and forked != forked:
            forked = time.perf_counter() - started
        if new and new & probe(server):
            serves = time.perf_counter() - started
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
    """Return the processes, and their parents, that answer new connections."""
    found: set[int] = set()
    probes: list[socket.socket] = []
    try:
        for _ in range(count):
            probes.append(clients.connect(server.address, timeout=0.1))
            probes[-1].sendall(clients.REQUEST)
        for sock in probes:
            found |= {int(pid) for pid in clients.receive(sock).body.split()}
    except OSError:
        pass  # lost, or not in time: the next probe shows it
    finally:
        for sock in probes:
            sock.close()
    return found


KINDS: dict[str, Callable[[Server, argparse.Namespace], dict[str, Any]]] = {
    "hup": hup,
    "usr2": usr2,
    "max-requests": worn,
    "term": term,
    "delay": term,
    "kill": kill,
}
PLACES = {"thread-pool": ["--threads", "80"]}
"""Send one request for each client: a client that is slow to send its next is closed, and a request may cross that."""

OPTIONS = {
    "max-requests": ["--max-requests", "100", "--max-requests-jitter", "20"],
    "delay": ["--drain-delay", "1"],
}
