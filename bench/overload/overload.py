"""Goodput under overload: responses in time, at 0.5 to 5 times the load that the server can take.

Goodput is the number of responses per second that are no refusal and are complete within the goal of the moment when
their request was due (open loop, `allcomers load -r`). The load is in peaks: the responses per second of a closed loop.
The calls have a known length: 10 ms of waiting in a pool, 2 ms of computing in the loop (--calls auto), 2 ms in two
steps of an async app. Server and load have a core each, and root gives their sessions precedence there (sched(7)).
"""

import argparse
import os
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from allcomers.commands.load.data.result import Result
from allcomers.server.charts.chart import Axis, Lines, Series
from allcomers.server.charts.picture import picture
from bench.measuring.generator import ours
from bench.support import harness
from bench.support.harness import Server


class Kind(NamedTuple):
    """A way to serve: its name, its app in apps.py, its options."""

    name: str
    app: str
    options: tuple[str, ...]


KINDS = {
    "pool": Kind("WSGI, pool", "waits", ("--calls", "pool", "--threads", "16")),
    "auto": Kind("WSGI, auto", "computes", ("--calls", "auto")),
    "asgi": Kind("ASGI", "tasks", ()),
}
LOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
MODES = ("auto", "off")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", type=harness.names, default=list(KINDS), metavar="A,B")
    parser.add_argument("--loads", type=harness.names, default=[str(load) for load in LOADS], metavar="X,Y")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of each load")
    parser.add_argument("--rounds", type=int, default=1, help="rounds; the median counts")
    parser.add_argument("--goal", type=float, default=0.25, help="seconds within which a response is in time")
    parser.add_argument("--connections", type=int, default=600)
    parser.add_argument("--plot", metavar="FOLDER", help="write goodput-KIND.svg there")


def prefer(pid: int) -> None:
    """Let the session of a process come before others (sched(7), autogroup), where that is allowed."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def run(args: argparse.Namespace) -> None:
    prefer(os.getpid())
    rows: list[dict[str, Any]] = []
    for key in args.kinds:
        kind = KINDS[key]
        peak = statistics.median(peak_of(kind, args) for _ in range(args.rounds))
        print(f"{kind.name}: {peak:.0f} responses/s at its peak", flush=True)
        for mode in MODES:
            rows += measured(kind, mode, peak, args)
            harness.save("overload", rows)
        if args.plot:
            svg = plot(kind, [row for row in rows if row["kind"] == kind.name])
            Path(args.plot, f"goodput-{key}.svg").write_text(svg)
    print()
    harness.table(
        ["kind, --overload, load", "goodput/peak", "p99 ms", "503/s", "unanswered/s", "others"], map(cells, rows)
    )


def served(kind: Kind, mode: str) -> Any:
    launch = harness.allcomers(
        "run", f"bench/overload/apps.py:{kind.app}", "--access-log", "off", "--overload", mode, *kind.options
    )
    return harness.serving(launch)


def load(server: Server, *arguments: str) -> Result:
    prefer(server.pid)
    return ours("http://{}:{}/".format(*server.address), *arguments)[0]


def peak_of(kind: Kind, args: argparse.Namespace) -> float:
    with served(kind, "off") as server:
        return load(server, "-c32", f"-d{args.seconds}").tps


def measured(kind: Kind, mode: str, peak: float, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each load; each has a server of its own, for that of an overload has to recover."""
    rows = []
    for multiple in map(float, args.loads):
        found = [one(kind, mode, multiple * peak, args) for _ in range(args.rounds)]
        middle = {name: statistics.median(row[name] for row in found) for name in found[0]}
        rows.append({"kind": kind.name, "mode": mode, "load": multiple, "peak": peak, **middle})
        print("  ".join(cells(rows[-1])), flush=True)
    return rows


def one(kind: Kind, mode: str, rate: float, args: argparse.Namespace) -> dict[str, float]:
    with served(kind, mode) as server:
        before, began = harness.busy_seconds(), time.monotonic()
        rates = ("-r", f"{rate:.1f}", f"-c{args.connections}", f"-d{args.seconds}", "--timeout", "3")
        result = load(server, *rates)
        busy = (harness.busy_seconds() - before) / (time.monotonic() - began)
    return {
        "goodput": result.goodput(args.goal),
        "p99": 1000 * result.response.percentile(99),
        "refused": result.statuses.get(503, 0) / result.seconds,
        "p99 of refusals": 1000 * result.wrong.percentile(99),
        "unanswered": (result.failed + result.unsent) / result.seconds,
        "busy": busy,
        "load average": os.getloadavg()[0],
    }


def cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['kind']}, {row['mode']}, {row['load']:g}",
        f"{row['goodput'] / row['peak']:.2f}",
        f"{row['p99']:.0f}",
        f"{row['refused']:.0f}",
        f"{row['unanswered']:.0f}",
        f"{row['load average']:.1f}",
    ]


def plot(kind: Kind, rows: list[dict[str, Any]]) -> str:
    series = [
        Series(
            name=f"--overload {mode}",
            colour=colour,
            points=[(row["load"], row["goodput"] / row["peak"]) for row in rows if row["mode"] == mode],
        )
        for colour, mode in enumerate(MODES)
    ]
    x = Axis(title="load, in peaks", unit="times", log=True)
    y = Axis(unit="share", low=0.0, high=1.0)
    return picture(Lines(title=f"{kind.name}: responses in time, of those at the peak", x=x, y=y, series=series))
