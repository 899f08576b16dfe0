"""The lab itself: its recommendations, checked by hand: the best, or within 5 % of it.

For each app of examples/calls.py, several times: `allcomers lab` measures it anew; then its recommendation and its
runners-up are each started with the flags it gives, in shuffled rounds, and loaded in a closed loop by as many clients
as were best for each. The requests/s of the recommendation over those of the best of the others, round by round. Four
apps, three times, at five minutes: an hour and a quarter.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from allcomers.commands.lab.data.candidate import Candidate
from bench.measuring.generator import ours
from bench.support import estimates, harness
from bench.support.harness import CannotMeasureError

APPS = ("AtOnce", "Waits", "Works", "Mixed")
ENOUGH = 0.95
"""Of the best: a recommendation that reaches it was right."""


class Choice(NamedTuple):
    """One way to serve, and the number of clients that the lab found best for it."""

    candidate: Candidate
    clients: int


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apps", type=harness.names, default=list(APPS), metavar="A,B")
    parser.add_argument("--times", type=int, default=3, help="runs of the lab for each app")
    parser.add_argument("--budget", default="5m", help="budget of each run of the lab")
    parser.add_argument("--rounds", type=int, default=5, help="rounds by hand, after each run of the lab")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of each load by hand")


def run(args: argparse.Namespace) -> None:
    rows = []
    for time in range(args.times):
        for app in args.apps:
            rows.append(checked(app, time, args))
            print(f"{app}, {time + 1}: {cells(rows[-1])[1]}, {cells(rows[-1])[2]} of the best other", flush=True)
            harness.save("lab", rows)
    print()
    harness.table(["app", "recommended", "of the best other", "the best other"], [cells(row) for row in rows])
    good = sum(row["ratio"]["median"] >= ENOUGH for row in rows)
    print(f"\n{good} of {len(rows)} are the best or within {1 - ENOUGH:.0%} of it")


def checked(app: str, time: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return the lab's recommendation for the app, and the same measured by hand."""
    target = f"examples/calls.py:{app}"
    choices = recommended(target, f"{app}-{time}", args.budget)
    rates: list[list[float]] = [[] for _ in choices]
    for number in range(args.rounds):
        for place in random.Random(f"{app} {time} {number}").sample(range(len(choices)), len(choices)):
            rates[place].append(by_hand(target, choices[place], args.seconds))
    best = max(range(1, len(choices)), key=lambda place: statistics.median(rates[place]))
    return {
        "app": app,
        "time": time,
        "choices": [
            {"name": choice.candidate.name, "clients": choice.clients, "rates": found}
            for choice, found in zip(choices, rates, strict=True)
        ],
        "best other": choices[best].candidate.name,
        "ratio": estimates.ratio(list(zip(rates[0], rates[best], strict=True)))._asdict(),
    }


def recommended(target: str, name: str, budget: str) -> list[Choice]:
    """Return the recommendation, then the runners-up."""
    out = harness.OUT / "lab" / name
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "allcomers", "lab", target, "--budget", budget, "--out", str(out)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, preexec_fn=harness.in_child(None))
    if done.returncode:
        raise CannotMeasureError(f"the lab failed: {done.stderr.strip()[-300:]}")
    verdict = json.loads((out / "results.json").read_text())["verdict"]
    standings = [place["standing"] for place in (verdict["chosen"], *verdict["runners_up"])]
    if len(standings) < 2:
        raise CannotMeasureError(f"the lab had no time for a second candidate: --budget {budget} is too short")
    return [Choice(Candidate.from_dict(one["candidate"]), one["clients"]) for one in standings]


def by_hand(target: str, choice: Choice, seconds: int) -> float:
    """Return requests/s that are answered well, from a server started anew, as the lab warms it up."""
    flags = choice.candidate.flags()
    with harness.serving(harness.allcomers("run", target, "--access-log", "off", *flags)) as server:
        url = "http://{}:{}/".format(*server.address)
        ours(url, f"-c{choice.clients}", "-d1")
        result, _ = ours(url, f"-c{choice.clients}", f"-d{seconds}")
    if result.failed or result.errors:
        harness.warn(f"{choice.candidate.name}: {result.failed} failed, {dict(result.errors)}")
    return result.tps


def cells(row: dict[str, Any]) -> list[str]:
    ratio = row["ratio"]
    between = f"{ratio['median']:.3f} ({ratio['low']:.3f}..{ratio['high']:.3f})"
    return [row["app"], row["choices"][0]["name"], between, row["best other"]]
