"""CPU per request of a 13-byte response and of a 64-byte echo, as a ratio to the floor in C.

64 keep-alive connections, closed loop: wrk for HTTP, load/echo_load.c for the service, the server on one core
and the load on the other. CPU is user and system time of the whole server process tree over the measured
seconds, divided by the requests answered. Each contender starts afresh in each round, is warmed up, and is
compared with the floor of the same round; the order within a round is shuffled. The floor in Python is the same
loop in plain Python: what the interpreter costs before a server does anything. What the load cannot drive to
saturation is still charged for what it used.

Where others use the machine too, each measurement waits for a quiet moment and is repeated if it was disturbed
(--patience seconds in total). `others` is how many cores they used meanwhile: from 0.2 on, trust no figure.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.support import harness, processes
from bench.support.harness import Launch

BROWSER = (
    "Connection: keep-alive",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=harness.names, default=["epoll"], metavar="M,N")
    parser.add_argument("--kinds", type=harness.names, default=["web", "echo"], help="web, echo (default: both)")
    parser.add_argument("--head", choices=("wrk", "browser"), default="wrk", help="head that wrk sends")
    parser.add_argument("--calls", choices=("inline", "pool"), default="inline", help="place where calls run")
    parser.add_argument(
        "--also", default="", metavar="OPTIONS", help="further options, with which each model runs once more"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="seconds of each measurement, per contender and round"
    )
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a quiet machine, in total")
    parser.add_argument("--no-nginx", dest="nginx", action="store_false")


def run(args: argparse.Namespace) -> None:
    figures = {}
    for kind in args.kinds:
        measured = rounds(kind, contenders(kind, args), args)
        report(kind, measured)
        figures[kind] = measured
    harness.save("cost" if args.head == "wrk" else f"cost-{args.head}", figures)


def contenders(kind: str, args: argparse.Namespace) -> dict[str, Launch]:
    """Return contenders by name; the first is the floor."""
    if kind == "echo":
        floor = Launch([str(harness.compiled("floor/echo_floor.c")), "0"])
        return {"floor in C": floor, "floor in Python": python_floor("echo")} | ours("Echo", args)
    found = {"floor in C": harness.hello("floor"), "floor in Python": python_floor("http")}
    if args.nginx:
        try:
            found["nginx"] = harness.hello("nginx")
        except harness.CannotMeasureError as error:
            harness.warn(str(error))
    return found | ours("Hello", args)


def ours(app: str, args: argparse.Namespace) -> dict[str, Launch]:
    """Yield each model, and each once more with the options of --also."""
    found = {}
    for model in args.models:
        launch = harness.allcomers("run", f"bench/support/apps.py:{app}", "-m", model, "--calls", args.calls)
        found[f"allcomers {model}"] = launch
        if args.also:
            found[f"allcomers {model} {args.also}"] = Launch([*launch.command, *args.also.split()])
    return found


def python_floor(kind: str) -> Launch:
    return Launch([sys.executable, str(harness.HERE / "floor/python_floor.py"), kind])


def rounds(kind: str, launches: dict[str, Launch], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in launches}
    disturbance = harness.Disturbance(args.patience)
    floor = next(iter(launches))
    for _ in range(args.rounds):
        for name in random.sample(list(launches), len(launches)):
            measured[name].append(disturbance.undisturbed(partial(measure, kind, launches[name], args, disturbance)))
        for samples in measured.values():
            samples[-1]["ratio"] = samples[-1]["micros"] / measured[floor][-1]["micros"]
    return measured


def measure(kind: str, launch: Launch, args: argparse.Namespace, disturbance: harness.Disturbance) -> dict[str, Any]:
    """Measure one contender once: start, warm up, load, end."""
    with harness.serving(launch) as server:
        drive(kind, server, 0.5, args)
        disturbance.wait_for_quiet()
        disturbance.begin()
        before = processes.cpu_seconds(server.pid)
        result = drive(kind, server, args.seconds, args)
        used = processes.cpu_seconds(server.pid) - before
        others = disturbance.others(used)
    if not result["requests"]:
        raise harness.CannotMeasureError(f"not one answer from {' '.join(launch.command)}")
    return {**result, "micros": used / result["requests"] * 1e6, "busy": used / result["seconds"], "others": others}


def drive(kind: str, server: harness.Server, seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    if kind == "echo":
        return harness.echo_load(server.address, seconds)
    return harness.wrk(server.address, seconds, heads=BROWSER if args.head == "browser" else ())


def report(kind: str, measured: dict[str, list[dict[str, Any]]]) -> None:
    def column(samples: Sequence[dict[str, Any]], key: str) -> list[float]:
        return [sample[key] for sample in samples if key in sample]

    print(f"\n{kind}: 64 keep-alive connections; median (lowest..highest) of the rounds\n")
    harness.table(
        ["server", "CPU µs/request", "/ floor", "requests/s", "p99 ms", "busy", "others", "errors"],
        [
            [
                name,
                harness.spread(column(samples, "micros")),
                harness.spread(column(samples, "ratio")),
                f"{statistics.median(s['requests'] / s['seconds'] for s in samples):,.0f}",
                harness.spread(column(samples, "p99")),
                f"{statistics.median(column(samples, 'busy')):.0%}",
                harness.spread(column(samples, "others")),
                sum(sample["errors"] for sample in samples),
            ]
            for name, samples in measured.items()
        ],
    )
