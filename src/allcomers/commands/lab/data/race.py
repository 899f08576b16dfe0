"""The plan of a race: one handler under models side by side, each up to as many clients as possible.

No candidate is left out or spared: the race shows what ten thousand clients do to a model that was not made for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from allcomers.commands.lab.data import plan
from allcomers.commands.lab.data.candidate import Candidate, has_loop, runnable
from allcomers.commands.lab.data.plan import Probe, Stage
from allcomers.models import best

MAX_CONNECTIONS: Final = 12_000
"""--max-connections of the model thread: its default is 1,000, and here all clients are to be admitted."""

_RUNNERS: Final = ("iterative", "process", "thread", "thread-pool", "select")
"""Beside the best poller: the others differ from that, or from select, by less than a plot shows."""

_POOL: Final = 64


def entrants(probe: Probe, cores: int, models: Iterable[str] | None = None) -> list[Candidate]:
    """Return each model by itself, from the oldest on, then the hybrids."""
    poller, wide = best(), max(2, cores)
    known = [name for name in runnable(probe.is_async) if name in (models or (*_RUNNERS, poller))]
    plain = [_plain(name, probe) for name in known]
    hybrids = [
        Candidate(model=poller, calls="pool", threads=_POOL),
        Candidate(model=poller, workers=wide, calls="inline"),
        Candidate(model="thread", workers=wide, max_connections=MAX_CONNECTIONS),
    ]
    if probe.is_async:
        hybrids = [Candidate(model=poller, workers=wide)]
    return [*plain, *(one for one in hybrids if one.model in known)]


def _plain(name: str, probe: Probe) -> Candidate:
    if name == "thread-pool":
        return Candidate(model=name, threads=_POOL)
    if name == "thread":
        return Candidate(model=name, max_connections=MAX_CONNECTIONS)
    return Candidate(model=name, calls="inline" if has_loop(name) and not probe.is_async else "")


def stage(
    entrants: Sequence[Candidate], budget: float, overhead: float, pause: float, most: int, least: float
) -> Stage:
    """Plan as many rounds as fit, one at least; half of the rungs if two do not.

    least  seconds of a step
    """
    for ratio in (2, 4, 10):
        rungs = plan.ladder(most, ratio)
        each = overhead + len(rungs) * (least + pause)
        rounds = int(budget / (each * len(entrants)))
        if rounds >= 2:
            break
    return Stage(kind="ladder", entrants=tuple(entrants), rounds=max(1, rounds), steps=rungs, seconds=least)
