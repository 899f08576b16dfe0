"""The load generator itself: the cost of a request beside wrk and h2load, and the accuracy of its figures.

cost     nginx, and allcomers' epoll with a response of 13 bytes, 64 connections: wrk, h2load (one request in flight on
         each connection) and allcomers load in turn, each in one process on the load's core: requests/s, CPU of the
         load per request, response times
agree    p50, p90, p99 by the three in shuffled rounds, and the ratio of ours to each of the others' with its interval:
         of nginx, and of an app that waits 10 ms, which limits none of them
truth    a server of known response times (bench/measuring/known.py): p50, p90 and p99 against the theory for the same
         arrivals, for constant response times and for a queue with one server (M/D/1)
freeze   the server does nothing for the second half of a run of 10 s at 100 requests per second
late     nginx, 5,000 requests per second: how many were sent within 1 ms of when they were due
held     nginx, 10,000 connections for a minute
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from allcomers.commands.load import Plan, Result
from bench.comparison import loads
from bench.comparison.loads import UNIT
from bench.measuring.known import due_at, waits
from bench.support import estimates, harness
from bench.support.harness import LOAD_CORE, SERVER_CORE, CannotMeasureError

CONNECTIONS = 64


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=harness.names, default=["cost", "truth", "freeze", "late"], metavar="P,Q")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="seconds of each measurement, except freeze and held")


def run(args: argparse.Namespace) -> None:
    measured = {part: PARTS[part](args) for part in args.parts}
    harness.save("generator", measured)


def ours(url: str, *arguments: str) -> tuple[Result, float]:
    """Return our load's result, and the CPU seconds of its processes."""
    with tempfile.NamedTemporaryFile(prefix="load-", suffix=".json") as file:
        used = command([sys.executable, "-m", "allcomers", "load", url, "-q", "--json", file.name, *arguments])[1]
        return Result.from_json(Path(file.name).read_text()), used


def command(words: list[str]) -> tuple[str, float]:
    """Return a load's output, and the CPU seconds that it took on the load's core."""
    if shutil.which(words[0]) is None:
        raise CannotMeasureError(f"{words[0]} is needed (Debian: apt-get install wrk nghttp2-client)")
    before = os.times()
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, preexec_fn=harness.in_child(LOAD_CORE))
    after = os.times()
    if done.returncode:
        raise CannotMeasureError(f"{words[0]} failed: {done.stderr.strip() or done.stdout.strip()[-300:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, used


# Cost ----------------------------------------------------------------------------------------------------


def cost(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for model in ("nginx", "epoll"):
        with harness.serving(harness.hello(model)) as server:
            url = "http://{}:{}/".format(*server.address)
            for _ in range(args.rounds):
                rows += [{"server": model, **flood(name, url, args.seconds)} for name in LOADS]
    print(f"\n{CONNECTIONS} connections, {args.rounds} rounds: median (lowest..highest)\n")
    harness.table(
        ["server, load", "requests/s", "CPU µs/request", "p50 ms", "p99 ms"],
        [summary(model, name, rows) for model in ("nginx", "epoll") for name in LOADS],
    )
    return rows


def summary(model: str, name: str, rows: list[dict[str, Any]]) -> list[str]:
    found = [row for row in rows if (row["server"], row["load"]) == (model, name)]
    return [f"{model}, {name}", *(harness.spread([row[key] for row in found], digits) for key, digits in FIGURES)]


LOADS = ("wrk", "h2load", "allcomers load")
FIGURES = (("rate", 0), ("cpu", 2), ("p50", 3), ("p99", 3))


def flood(name: str, url: str, seconds: int) -> dict[str, Any]:
    """Run a load as fast as it goes, for `seconds`."""
    if name == "allcomers load":
        result, used = ours(url, f"-c{CONNECTIONS}", f"-d{seconds}")
        times = [1000 * time for time in result.response.percentiles(50, 90, 99)]
        count, rate = result.answered, result.tps
    elif name == "h2load":
        count, rate, times, used = h2load(url, seconds)
    else:
        output, used = command(f"wrk -t1 -c{CONNECTIONS} -d{seconds} --latency {url}".split())
        count, rate, times = wrk_report(output)
    return {
        "load": name,
        "rate": rate,
        "cpu": 1e6 * used / count,
        **dict(zip(PERCENTS, times, strict=True)),
    }


def wrk_report(output: str) -> tuple[int, float, list[float]]:
    """Return (requests, per second, p50, p90 and p99 in ms)."""
    count = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    times = re.findall(r"(?:50|90|99)% +([\d.]+)(us|ms|s)", output)
    if count is None or rate is None or len(times) != 3:
        raise CannotMeasureError(f"wrk's report cannot be read: {output[-300:]!r}")
    return int(count[1]), float(rate[1]), [1000 * float(number) * UNIT[unit] for number, unit in times]


def h2load(url: str, seconds: int) -> tuple[int, float, list[float], float]:
    """Return the same for h2load, which has the times in a log; and its CPU seconds."""
    with tempfile.NamedTemporaryFile(prefix="h2load-", suffix=".log") as log:
        output, used = command(f"h2load --h1 -t1 -c{CONNECTIONS} -m1 -D{seconds} --log-file={log.name} {url}".split())
        found, times = loads.h2load_report(output), loads.h2load_times(Path(log.name).read_text())
    return found["requests"], found["requests"] / seconds, [times[name] for name in PERCENTS], used


# Agreement -----------------------------------------------------------------------------------------------

PERCENTS = ("p50", "p90", "p99")


def agree(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    waits = harness.allcomers("run", "examples/calls.py:Waits", "-m", "thread")
    for name, launch in (("nginx", harness.nginx()), ("waits 10 ms", waits)):
        with harness.serving(launch) as server:
            url = "http://{}:{}/".format(*server.address)
            for number in range(args.rounds):
                order = random.Random(number).sample(LOADS, len(LOADS))
                rows += [{"server": name, "round": number, **flood(load, url, args.seconds)} for load in order]
    servers = list(dict.fromkeys(row["server"] for row in rows))
    print(f"\n{CONNECTIONS} connections, {args.rounds} rounds, ms: median (lowest..highest)\n")
    harness.table(
        ["server, load", *PERCENTS],
        [
            [f"{name}, {load}", *(harness.spread(times_of(rows, name, load, percent), 3) for percent in PERCENTS)]
            for name in servers
            for load in LOADS
        ],
    )
    print("\nours over theirs, round by round: median, 95 % interval\n")
    harness.table(["server, load", *PERCENTS], [agreement(rows, name, load) for name in servers for load in LOADS[:2]])
    return rows


def times_of(rows: list[dict[str, Any]], server: str, load: str, percent: str) -> list[float]:
    return [row[percent] for row in rows if (row["server"], row["load"]) == (server, load)]


def agreement(rows: list[dict[str, Any]], server: str, load: str) -> list[str]:
    cells = [f"{server}, {load}"]
    for percent in PERCENTS:
        ours, theirs = (times_of(rows, server, load_name, percent) for load_name in (LOADS[-1], load))
        found = estimates.ratio(list(zip(ours, theirs, strict=True)))
        cells.append(f"{found.median:.3f} ({found.low:.3f}..{found.high:.3f})")
    return cells


# Truth ---------------------------------------------------------------------------------------------------


class Known:
    """A server of known response times (bench/measuring/known.py), on the server's core; `late` is set at its end."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.measuring.known", *arguments],
            cwd=harness.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=harness.in_child(SERVER_CORE),
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self.late: list[float] = []
        """How late its own responses were: p50 and p99 in ms."""

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        self.late = [float(word) for word in self._process.communicate()[0].split()]


def truth(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name, service, rate, alone in (
        # At 60 %, as the server and the load do not sleep while a response is due: others must have their share of the
        # cores, or with chrt for both the kernel takes 50 ms of each second for them (sched(7)).
        ("constant, 6 ms", 0.006, 0.6 / 0.006, False),
        ("constant, 50 ms", 0.05, 0.6 / 0.05, False),
        ("M/D/1, 6 ms, 70 %", 0.006, 0.7 / 0.006, True),
        ("M/D/1, 20 ms, 80 %", 0.02, 0.8 / 0.02, True),
    ):
        rows += [{"server": name, **compared(service, rate, alone, args.seconds)} for _ in range(args.rounds)]
    print("\nmeasured over theory, p50, p90, p99; sends that were late; how late the server itself was\n")
    harness.table(
        ["server", "theory ms", "measured/theory", "late by 1 ms", "server's p50 p99 ms"],
        [
            [
                row["server"],
                " ".join(f"{1000 * time:.2f}" for time in row["theory"]),
                " ".join(f"{found / time:.3f}" for found, time in zip(row["measured"], row["theory"], strict=True)),
                f"{row['late']:.1%}",
                " ".join(f"{time:.3f}" for time in row["server late"]),
            ]
            for row in rows
        ],
    )
    return rows


def compared(service: float, rate: float, alone: bool, seconds: float) -> dict[str, Any]:
    """Return measured response times, and those of theory for the very same arrivals."""
    arrivals = "poisson" if alone else "constant"
    with Known(str(service), *(["alone"] if alone else [])) as server:
        result, _ = ours(server.url, "-c200", f"-r{rate:.6f}", f"-d{seconds}", "--arrivals", arrivals)
    plan = Plan.make(url=server.url, clients=200, rate=float(f"{rate:.6f}"), arrivals=arrivals, seconds=seconds)
    due = due_at(plan)
    times = sorted(waits(due, service) if alone else [service] * len(due))
    return {
        "theory": [harness.percentile(times, percent) for percent in (50, 90, 99)],
        "measured": result.response.percentiles(50, 90, 99),
        "late": result.lateness.share_above(0.001),
        "server late": server.late,
    }


def freeze(args: argparse.Namespace) -> dict[str, float]:
    with Known("0", "4", "9") as server:
        result, _ = ours(server.url, "-c64", "-r100", "-d10")
    found = {
        "p50": result.response.percentile(50),
        "p75": result.response.percentile(75),
        "max": result.response.max,
        "service p75": result.service.percentile(75),
        "answered": result.answered,
    }
    print("\nfrozen for 5 s of 10: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


# Rates and connections -----------------------------------------------------------------------------------


def late(args: argparse.Namespace) -> dict[str, float]:
    with harness.serving(harness.nginx()) as server:
        result, _ = ours("http://{}:{}/".format(*server.address), "-c64", "-r5000", f"-d{args.seconds}")
    found = {
        "sent per second": result.qps,
        "within 1 ms": 1 - result.lateness.share_above(0.001),
        "p99 of lateness ms": 1000 * result.lateness.percentile(99),
        "cpu": result.cpu,
    }
    print("\n5,000 per second: " + ", ".join(f"{name} {value:,.4g}" for name, value in found.items()))
    return found


def held(args: argparse.Namespace) -> dict[str, Any]:
    with harness.serving(harness.nginx()) as server:
        result, _ = ours("http://{}:{}/".format(*server.address), "-c10000", "-t2", "-d60", "--think", "20")
    found = {
        "held": result.connections_held,
        "opened": result.connections_opened,
        "answered": result.answered,
        "errors": dict(result.errors),
        "warnings": result.warnings,
    }
    print(f"\n10,000 connections for a minute: {found}")
    return found


PARTS = {"cost": cost, "agree": agree, "truth": truth, "freeze": freeze, "late": late, "held": held}
