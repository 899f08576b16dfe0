"""The gevent model beside gunicorn -k gevent, gevent's own server and granian: CPU of a request, and calls that sleep.

One worker each. `text` is 13 bytes with 64 connections, `sleep` a call that sleeps for 10 ms with 1,000; in each round
every server has its turn. CPU is user and system time of the server's processes, by the requests answered; it does
not depend on what else runs as requests/s do. The load is `allcomers load`, on the other core.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.comparison.peers import HOST, PEERS, allcomers
from bench.comparison.workloads import Workload
from bench.support import harness, installing, processes
from bench.support.harness import Launch

CASES = {"text": 64, "sleep": 1000}
OURS = ("allcomers wsgi gevent", "allcomers wsgi pool")
THEIRS = ("gunicorn gevent", "gevent pywsgi", "granian wsgi")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--servers", type=harness.names, default=[*OURS, *THEIRS])


def run(args: argparse.Namespace) -> None:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(args.rounds):
        for app, clients in CASES.items():
            for name in args.servers:
                figures = measured(launched(name, app), clients, args.seconds)
                found.setdefault((app, name), []).append(figures)
    rows = [
        (app, name, *(harness.spread([one[column] for one in figures]) for column in (0, 1)))
        for (app, name), figures in found.items()
    ]
    harness.table(("app", "server", "requests/s", "CPU, µs"), rows)
    harness.save("greenlets", {f"{app} {name}": figures for (app, name), figures in found.items()})
    base = {app: statistics.median(rate for rate, _ in found[app, "gunicorn gevent"]) for app in CASES}
    for app in CASES:
        rate = statistics.median(rate for rate, _ in found[app, OURS[0]])
        print(f"{app}: {rate / base[app]:.2f} × the requests/s of gunicorn -k gevent")


def launched(name: str, app: str) -> Launch:
    workload = Workload(name=app, title=app, servers=(name,), app=app, threads=64 if app == "sleep" else 0)
    if name.startswith("allcomers "):
        made = allcomers(name.removeprefix("allcomers "), workload)
        return Launch([*made.command, "--overload", "off"])  # the others refuse nothing either
    peer, port = PEERS[name], harness.free_port()
    python = installing.python_with(peer.requires)
    return Launch([str(python), *peer.make(workload, port, f"{peer.prefix}{app}")], (HOST, port))


def measured(launch: Launch, clients: int, seconds: float) -> tuple[float, float]:
    """Return (requests/s, µs of CPU of a request), after a warm-up."""
    with harness.serving(launch) as server:
        loaded(server.address, clients, 1)
        before = sum(processes.cpu_seconds(pid) for pid in processes.tree(server.pid))
        answered = loaded(server.address, clients, seconds)
        used = sum(processes.cpu_seconds(pid) for pid in processes.tree(server.pid)) - before
    return answered / seconds, used / answered * 1e6


def loaded(address: harness.Address, clients: int, seconds: float) -> int:
    """Return the requests answered with 200."""
    program = Path(sys.executable).with_name("allcomers")
    url = f"http://{address[0]}:{address[1]}/"
    command = [str(program), "load", url, "-c", str(clients), "-d", str(seconds), "-q", "--json", "-"]
    done = subprocess.run(command, capture_output=True, preexec_fn=harness.in_child(harness.LOAD_CORE), timeout=60)
    return int(json.loads(done.stdout)["statuses"]["200"])
