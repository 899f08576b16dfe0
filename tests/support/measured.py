"""Steps and trials as if they had been measured, on a server of a known law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.data.plan import Probe, Untried
from allcomers.commands.lab.report import report

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

EPOLL = Candidate(model="epoll", calls="inline")
POOL = Candidate(model="epoll", calls="pool", threads=64)
THREAD = Candidate(model="thread")
ITERATIVE = Candidate(model="iterative")


def usl(rate: float, contention: float, coherency: float) -> Callable[[int], float]:
    return lambda clients: rate * clients / (1 + contention * (clients - 1) + coherency * clients * (clients - 1))


def step(clients: int, tps: float, *, limit: float = 10.0, **fields: Any) -> Step:
    """Return a step with the mean by Little's law, p50 as long, and p99 three times that; the goal is a p99 below
    `limit`."""
    p50 = clients / tps
    met = fields.get("met", 3 * p50 < limit)
    sign = ">" if 3 * p50 > limit else "="
    times = {"50": p50, "90": 2 * p50, "99": 3 * p50, "99.9": 4 * p50, "100": 5 * p50}
    values = {
        "answered": int(tps),
        "held": clients,
        "times": times,
        "cpu": 1e-4,
        "busy": 1e-4 * tps,
        "load_busy": 0.3,
        "mean": p50,
        "met": met,
        "missed": () if met else (f"p99 {wording.seconds(3 * p50)} {sign} {wording.seconds(limit)}",),
        "excess": 0.0 if met else 3 * p50 / limit,
    }
    return Step(clients=clients, tps=tps, **{"seconds": 1.0, **values, **fields})


def ladder(
    candidate: Candidate,
    law: Callable[[int], float],
    *,
    rounds: int = 3,
    noise: float = 0.0,
    seed: int = 1,
    clients: Sequence[int] = CLIENTS,
    **fields: Any,
) -> list[Trial]:
    draw = Random(seed)
    return [
        Trial(
            stage="ladder",
            number=number,
            candidate=candidate,
            steps=tuple(step(n, law(n) * (1 + draw.gauss(0, noise)), **fields) for n in clients),
            start=0.2,
            switches=2.0,
            took=10.0,
        )
        for number in range(rounds)
    ]


WAITS = Probe(response=0.010, cpu=300e-6, is_async=False, start=0.2)


ALL_TRIED = Untried()

PLACE = {
    "when": "today", "cpu": "a core", "server_cores": [0], "load_cores": [1], "system": "Linux", "python": "3",
    "allcomers": "0", "leaf": "compiled",
}  # fmt: skip


def pooled(most: float, response: float = 0.010) -> Any:
    """Throughput that is linear up to a limit, as of a pool of threads."""
    return lambda clients: min(clients / response, most)


def judged(
    trials: Sequence[Trial], probe: Probe = WAITS, untried: Untried = ALL_TRIED, goal: str = "p99<100ms"
) -> Results:
    words = ("run", "app:app")
    return report.analyse(
        trials,
        probe,
        goal,
        untried=untried,
        command="allcomers lab app:app",
        words=words,
        place=PLACE,
        think=0.0,
        is_race=False,
    )


def everything() -> Results:
    steps = tuple(step(64, rate, rate=rate, curve=((0.01, 0.5), (0.04, 1.0))) for rate in (1000.0, 2000.0))
    opened = Trial(stage="open", number=0, candidate=POOL, steps=steps)
    found = [*ladder(EPOLL, pooled(100)), *ladder(POOL, usl(100, 0.02, 1e-4), noise=0.02), opened]
    return judged([grown(trial) for trial in found])


def grown(trial: Trial) -> Trial:
    """With 900 bytes for each connection."""
    steps = (replace(one, memory=20_000_000 + 900 * one.held) for one in trial.steps)
    return replace(trial, steps=tuple(steps))
