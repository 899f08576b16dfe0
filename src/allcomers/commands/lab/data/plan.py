"""The plan: what to try, with how many clients, for how long, from the cost of a call, the cores and the budget.

Pure. Three stages, each planned when the one before has shown how long a trial takes here:

    screen   every candidate once, with clients enough to keep the cores busy: which have a chance
    ladder   the finalists, closed loop, from one client to very many, in rounds
    open     the best of them, open loop, at given fractions of the rate that they reached

Little's law gives the first guess of how many calls are in progress when the cores are just busy: with a response time
R of which C is CPU, one core is busy with R / C calls at once (Little, 1961).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, Final

from allcomers.commands.lab.data.candidate import Candidate, accepts, has_loop, runnable
from allcomers.errors import ConfigError
from allcomers.models import best
from allcomers.system.sockets import FD_SETSIZE

MOST_CLIENTS: Final = 10_000
MOST_THREADS: Final = 1024
FRACTIONS: Final = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Fractions of the peak, in the open loop."""

SCREEN, LADDER, OPEN = 0.34, 0.42, 0.24
"""Shares of the budget."""

MODELS: Final = 0.5
"""Share of the budget that the first look may take for one candidate of each model, if need be."""

_LOOK: Final = 2.0
"""Seconds of a step of the first look, at most."""

_SLACK: Final = 0.9
"""Share of the time of the first look that is planned: trials take a little longer than they should."""

STEP: Final = (0.6, 5.0)
"""Seconds of a step, at least and at most: below, the tail of response times is not seen; above, more rounds are
better."""

HOLD: Final = (8.0, 60.0)
"""Seconds at the peak, to see whether it lasts: a change cannot be detected in fewer than eight points."""

ROUNDS: Final = (3, 15)
_FINALISTS: Final = 6
_IN_OPEN: Final = 4
_ROUND_TRIP: Final = 0.5e-3
"""Seconds: a lone client and a server that sleep in turn wake each other in less, also on a busy machine."""

_RATIOS: Final = (2, 4, 8)
_BEYOND: Final = 10
_QUEUE: Final = 64
_SPARE_FDS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The costs of one call, with one client, one call after another.

    response  seconds, the mean: R of Little's law
    cpu       seconds of the server's CPU for each, at least 1 µs
    is_async  the app runs on an event loop
    start     seconds from the start of a server to its first response
    redirects every response is a redirect
    """

    response: float
    cpu: float
    is_async: bool
    start: float
    redirects: bool = False

    @property
    def warning(self) -> str:
        """A reason to distrust the lab's result, or nothing."""
        return "Every response is a redirect: --path sets the path to request." if self.redirects else ""

    @property
    def waiting(self) -> float:
        """Share of the response time in which the server does nothing, 0 to 1."""
        return max(0.0, 1 - self.cpu / self.response)

    @property
    def waits(self) -> bool:
        """Whether waiting is most of it, and more than a request's way through the kernel takes."""
        return self.waiting > 0.5 and self.response - self.cpu > _ROUND_TRIP

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Trials that are alike.

    kind       "screen", "ladder" or "open"
    entrants   candidates that take part
    rounds     at most: the ladder has as many as there is time for
    steps      clients of each step; in "open", fractions of the peak
    seconds    of a step
    hold       seconds at the peak before the open loop; 0 for none
    """

    kind: str
    entrants: tuple[Candidate, ...]
    rounds: int
    steps: tuple[float, ...]
    seconds: float
    hold: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "entrants": [entrant.as_dict() for entrant in self.entrants]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Stage:
        entrants = tuple(Candidate.from_dict(entrant) for entrant in fields["entrants"])
        return cls(**{**fields, "entrants": entrants, "steps": tuple(fields["steps"])})


@dataclass(frozen=True, slots=True)
class Untried:
    """The candidates that there was no time for, and the value of --budget that has time for all."""

    candidates: tuple[Candidate, ...] = ()
    budget: str = ""

    def __str__(self) -> str:
        """Return a sentence, or "" if there are none."""
        names = ", ".join(candidate.name for candidate in self.candidates)
        return f"{names}; --budget {self.budget} has them." if names else ""


def at_once(probe: Probe, cores: int) -> int:
    """Return the calls in progress when `cores` are just busy: Little's law; a power of two."""
    return _power(min(MOST_THREADS, max(1.0, cores * probe.response / probe.cpu)))


def _power(value: float) -> int:
    """Return the next power of two above."""
    return int(2 ** ceil(log2(max(1.0, value))))


def candidates(probe: Probe, cores: int, models: Iterable[str] | None = None) -> list[Candidate]:
    """Return all candidates worth a look: the likeliest of each model, then the others, each the likeliest first; a
    short budget leaves out the last.

    cores   number of the server's cores
    models  names to choose from; None for all
    """
    wanted = [name for name in runnable(probe.is_async) if models is None or name in models]
    found = [candidate for name in wanted for candidate in _of_model(name, probe, cores)]
    found.sort(key=lambda candidate: _unlikely(candidate, probe, cores))
    first = of_each_model(found)
    return [*first, *(candidate for candidate in found if candidate not in first)]


def of_each_model(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the first candidate of each model."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate.model, candidate)
    return list(found.values())


def _of_model(name: str, probe: Probe, cores: int) -> list[Candidate]:
    wide = {1, cores, 2 * cores} if name == best() else {1, cores}
    return [
        Candidate(model=name, workers=workers, calls=calls, threads=threads)
        for workers in sorted(wide)
        for calls, threads in _calls(name, probe)
    ]


def _calls(name: str, probe: Probe) -> list[tuple[str, int]]:
    """Return (--calls, --threads) for a worker: Python code of one process runs on one core at a time."""
    usual = max(8, at_once(probe, 1))
    around = sorted({usual // 2, usual, min(MOST_THREADS, 2 * usual)})
    if name == "thread-pool":
        return [("", threads) for threads in around]
    if not has_loop(name) or probe.is_async:
        return [("", 0)]
    choices = [("inline", 0), *([("auto", usual)] if accepts("calls", "auto") else []), ("pool", usual)]
    others = [("pool", threads) for threads in around if threads != usual] if name == best() else []
    return choices + others


def _unlikely(candidate: Candidate, probe: Probe, cores: int) -> int:
    """Return the number of unusual features."""
    of_async = has_loop(candidate.model) and not candidate.calls
    oddities = (
        candidate.model != best() and not (of_async and candidate.model == "asyncio"),
        candidate.model in ("iterative", "process"),
        candidate.model in ("select", "poll"),
        candidate.calls == "inline" and probe.waits,
        candidate.workers != cores,
        candidate.workers > cores,
    )
    return sum(oddities)


def crowd(probe: Probe, cores: int, patience: float) -> int:
    """Return the clients that keep `cores` busy, with a queue in which none waits for half of `patience` seconds."""
    queue = int(0.5 * patience * cores / probe.cpu)
    return max(2 * at_once(probe, cores), min(_QUEUE, queue))


def most_clients(candidate: Candidate, descriptors: int, most: int = MOST_CLIENTS) -> int:
    """Return the most clients at once: each is a descriptor of the server, and one of the load."""
    if candidate.model == "select":
        most = min(most, (FD_SETSIZE - _SPARE_FDS) * candidate.workers)
    return max(1, min(most, descriptors - _SPARE_FDS))


def ladder(most: int, ratio: int = 2) -> tuple[int, ...]:
    """Return 1, 2, 4 … and `most` itself as the last."""
    rungs = []
    clients = 1
    while clients < most:
        rungs.append(clients)
        clients *= ratio
    return (*rungs, most)


# ------------------------------------------------------------ time


def screen(
    entrants: Sequence[Candidate], clients: int, budget: float, overhead: float, least: float = STEP[0]
) -> Stage:
    """Plan each candidate once. For which of them there is time, shows while it runs: one of each model precedes all
    others.

    budget    seconds for all stages
    overhead  seconds that a trial takes beside its steps
    least     seconds of a step
    """
    seconds = look(len(entrants), budget * SCREEN, overhead, least)
    return Stage(kind="screen", entrants=tuple(entrants), rounds=1, steps=(clients,), seconds=seconds)


def look(count: int, available: float, overhead: float, least: float) -> float:
    """Return the seconds of a step with which `count` first looks fit into the time, if any does."""
    return _within(_SLACK * available / max(1, count) - overhead, (least, max(least, _LOOK)))


def budget_for(looks: int, each: float, share: float) -> float:
    """Return seconds of a budget with time for so many first looks of `each` seconds, in a `share` of it: a round
    figure that people give."""
    needed = looks * each / (share * _SLACK)
    step = 10 if needed <= 120 else 60
    return step * ceil(needed / step)


def check_budget(models: Sequence[str], budget: float, each: float) -> None:
    """Raises ConfigError: the budget has no time for a first look, of `each` seconds, at all of `models`."""
    if len(models) > 1 and len(models) * each > MODELS * budget:
        enough = as_budget(budget_for(len(models), each, MODELS))
        raise ConfigError(f"--budget {as_budget(budget)} is too short for {len(models)} models; {enough} would do")


def as_budget(seconds: float) -> str:
    """Return the value of --budget: "90s", "4m"."""
    return f"{seconds / 60:g}m" if seconds % 60 == 0 else f"{seconds:g}s"


def climb(
    ranked: Sequence[Candidate],
    available: float,
    overhead: float,
    pause: float,
    ladders: Sequence[tuple[int, ...]],
    least: float = STEP[0],
) -> Stage:
    """Plan as many of the `ranked` as fit, in three rounds at least; a coarser ladder is preferred to fewer than four.

    pause    seconds that a step takes beside its measuring
    ladders  the best first
    """
    for counts in (range(_FINALISTS, 3, -1), range(3, 1, -1)):
        for rungs in ladders:
            for count in counts:
                each = overhead + len(rungs) * (least + pause)
                if count <= len(ranked) and count * ROUNDS[0] * each <= available:
                    return _climb(ranked[:count], rungs, available, overhead, pause, least)
    return _climb(ranked[:2], ladders[-1], available, overhead, pause, least)


def ladders(most: int, crowd: int) -> list[tuple[int, ...]]:
    """Return ladders from the finest to the coarsest: all the way up, to ten times the crowd, four rungs."""
    short = min(most, _BEYOND * crowd)
    four = sorted({min(most, max(1, clients)) for clients in (1, crowd // 4, crowd, 4 * crowd)})
    return [*(ladder(top, ratio) for top in dict.fromkeys((most, short)) for ratio in _RATIOS), tuple(four)]


def _climb(
    chosen: Sequence[Candidate],
    rungs: tuple[int, ...],
    available: float,
    overhead: float,
    pause: float,
    least: float,
) -> Stage:
    """Plan steps of such a length that five rounds fit, if three do; while there is time, there are more."""
    each = available / max(1, len(chosen))
    rounds = int(_within(each / (overhead + len(rungs) * (least + pause)), (ROUNDS[0], 5)))
    seconds = _within((each / rounds - overhead) / len(rungs) - pause, (least, max(least, STEP[1])))
    return Stage(kind="ladder", entrants=tuple(chosen), rounds=ROUNDS[1], steps=rungs, seconds=seconds)


def open_loop(
    ranked: Sequence[Candidate], available: float, overhead: float, pause: float, least: float = STEP[0]
) -> Stage:
    """Plan the open loop for the first of the `ranked`; the time at the peak is a third of it, or none."""
    chosen = tuple(ranked[:_IN_OPEN])
    parts = len(FRACTIONS)
    bare = overhead + parts * (least + pause)
    while len(chosen) > 2 and len(chosen) * (bare + HOLD[0]) > available:
        chosen = chosen[:-1]
    each = available / max(1, len(chosen))
    rounds = int(_within(each / (2 * (bare + HOLD[0])), (1, ROUNDS[1])))
    each /= rounds
    hold = _within(each / 3, HOLD) if bare + HOLD[0] <= each else 0.0
    seconds = _within((each - overhead - hold) / parts - pause, (least, max(least, STEP[1])))
    return Stage(kind="open", entrants=chosen, rounds=rounds, steps=FRACTIONS, seconds=seconds, hold=hold)


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
