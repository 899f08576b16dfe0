"""The lab itself: its recommendations, checked by hand: the best, or within 5 % of it; and that it leaves no model out.

For each app, those of examples/calls.py and those of lab_apps.py, several times and for each budget: `allcomers lab`
measures it anew; then its recommendation and its runners-up are each started with the flags it gives, in shuffled
rounds, and loaded in a closed loop by as many clients as were best for each. The requests/s of the recommendation over
those of the best of the others, round by round. Every model that runs here must be in its report, and each candidate
that is left out must have its reason. Eight apps, three times, at two minutes and at five: four hours and a half.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from allcomers.commands.lab.data.candidate import Candidate, runnable
from bench.measuring.generator import ours
from bench.support import estimates, harness
from bench.support.harness import CannotMeasureError

APPS = {
    **{name: f"examples/calls.py:{name}" for name in ("AtOnce", "Waits", "Works", "Mixed")},
    **{name: f"bench/measuring/lab_apps.py:{name}" for name in ("Locked", "Leaks", "Computes", "Crowded")},
}
ENOUGH = 0.95
"""Of the best: a recommendation that reaches it was right."""


class Choice(NamedTuple):
    """One way to serve, and the number of clients that the lab found best for it."""

    candidate: Candidate
    clients: int


class Finding(NamedTuple):
    """What the lab found: the recommendation, then the runners-up; models without a figure; candidates without a
    reason."""

    choices: list[Choice]
    unseen: list[str]
    silent: list[str]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apps", type=harness.names, default=list(APPS), metavar="A,B")
    parser.add_argument("--times", type=int, default=3, help="runs of the lab for each app and budget")
    parser.add_argument(
        "--budgets", type=harness.names, default=["2m", "5m"], metavar="A,B", help="of a run of the lab"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds by hand, after each run of the lab")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of each load by hand")


def run(args: argparse.Namespace) -> None:
    rows = []
    for time, budget, app in itertools.product(range(args.times), args.budgets, args.apps):
        rows.append(checked(app, budget, time, args))
        print(", ".join(cells(rows[-1])), flush=True)
        harness.save("lab", rows)
    print()
    heads = ["app", "budget", "recommended", "of the best other", "the best other", "models unseen", "without a reason"]
    harness.table(heads, [cells(row) for row in rows])
    good = sum(row["ratio"]["median"] >= ENOUGH for row in rows)
    whole = sum(not row["unseen"] and not row["silent"] for row in rows)
    print(f"\n{good} of {len(rows)} are the best or within {1 - ENOUGH:.0%} of it; {whole} left nothing out in silence")


def checked(app: str, budget: str, time: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return the lab's recommendation for the app, and the same measured by hand."""
    target = APPS[app]
    choices, unseen, silent = found(target, f"{app}-{budget}-{time}", budget)
    rates: list[list[float]] = [[] for _ in choices]
    for number in range(args.rounds):
        for place in random.Random(f"{app} {time} {number}").sample(range(len(choices)), len(choices)):
            rates[place].append(by_hand(target, choices[place], args.seconds))
    best = max(range(1, len(choices)), key=lambda place: statistics.median(rates[place]))
    return {
        "app": app,
        "budget": budget,
        "time": time,
        "choices": [
            {"name": choice.candidate.name, "clients": choice.clients, "rates": measured}
            for choice, measured in zip(choices, rates, strict=True)
        ],
        "best other": choices[best].candidate.name,
        "ratio": estimates.ratio(list(zip(rates[0], rates[best], strict=True)))._asdict(),
        "unseen": unseen,
        "silent": silent,
    }


def found(target: str, name: str, budget: str) -> Finding:
    """Run the lab; return what it found."""
    out = harness.OUT / "lab" / name
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "allcomers", "lab", target, "--budget", budget, "--out", str(out)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, preexec_fn=harness.in_child(None))
    if done.returncode:
        raise CannotMeasureError(f"the lab failed: {done.stderr.strip()[-300:]}")
    results = json.loads((out / "results.json").read_text())
    verdict = results["verdict"]
    first = [verdict["chosen"], *verdict["runners_up"]]
    if len(first) < 2:
        raise CannotMeasureError(f"the lab had no time for a second candidate: --budget {budget} is too short")
    standings = [one["standing"] for one in first]
    every = [Candidate.from_dict(one["candidate"]) for one in results["standings"]]
    reasons = {Candidate.from_dict(one["standing"]["candidate"]) for one in (*first, *verdict["others"]) if one["why"]}
    models = {candidate.model for candidate in every}
    return Finding(
        [Choice(Candidate.from_dict(one["candidate"]), one["clients"]) for one in standings],
        [model for model in runnable(results["probe"]["is_async"]) if model not in models],
        [candidate.name for candidate in every if candidate not in reasons],
    )


def by_hand(target: str, choice: Choice, seconds: int) -> float:
    """Return requests/s that are answered well, from a server started anew, as the lab warms it up."""
    flags = choice.candidate.flags()
    with harness.serving(harness.allcomers("run", target, "--access-log", "off", *flags)) as server:
        url = "http://{}:{}/".format(*server.address)
        ours(url, f"-c{choice.clients}", "-d1")
        result, _ = ours(url, f"-c{choice.clients}", f"-d{seconds}")
    if result.failed or result.errors:
        harness.warn(f"{choice.candidate.name}: {result.failed} failed, {dict(result.errors)}")
    return result.tps * (1 - result.errors.get("status", 0) / result.answered) if result.answered else 0.0


def cells(row: dict[str, Any]) -> list[str]:
    ratio = row["ratio"]
    between = f"{ratio['median']:.3f} ({ratio['low']:.3f}..{ratio['high']:.3f})"
    left = (" ".join(row[name]) or "none" for name in ("unseen", "silent"))
    return [row["app"], row["budget"], row["choices"][0]["name"], between, row["best other"], *left]
