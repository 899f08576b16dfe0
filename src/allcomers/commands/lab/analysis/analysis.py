"""From trials to standings: the capacity of each candidate, its confidence, and its ratio to the best. Pure."""

from __future__ import annotations

import statistics as middle
from collections.abc import Iterable, Sequence
from itertools import combinations
from math import inf, isfinite, nan
from typing import Final

from allcomers.commands.lab.analysis import scaling, statistics
from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.analysis.standing import OpenRung, Rung, Standing
from allcomers.commands.lab.analysis.statistics import Interval, Steadiness
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.data.plan import FRACTIONS

_STRAINED: Final = 0.75
"""Share of its cores from which on the load generator limits a server that uses less of its own. Well below 1: of
candidates that all wait for the load some are measured just below its limit and some just above."""

_KEPT_UP: Final = 0.98
"""Share of a rate that must be answered, for a server to have kept up with it."""


def capacity(step: Step, cores: int) -> float:
    """Return requests/s; if the load generator was the limit, those for which the server's CPU would suffice."""
    return step.tps * cores / step.busy if is_limited(step, cores) else step.tps


def is_limited(step: Step, cores: int) -> bool:
    """Whether the load generator reached its limit before the server did."""
    return step.load_busy > max(_STRAINED, step.busy / cores) and step.busy > 0


def score(trial: Trial, cores: int) -> tuple[float, Step | None]:
    """Return (capacity, step) of the best step of the closed loop that met the goal; (0, None) without one."""
    fit = [step for step in trial.steps if not step.rate and step.met]
    best = max(fit, key=lambda step: capacity(step, cores), default=None)
    return (capacity(best, cores) if best else 0.0), best


def rank(trials: Sequence[Trial], cores: int) -> list[Candidate]:
    """Return the candidates by capacity in the trials given, the best first, without those that failed.

    A trial that missed the goal counts half: one look may be unlucky.
    """
    found: dict[Candidate, list[float]] = {}
    for trial in trials:
        if trial.steps and not trial.failure:
            missed = 0.5 * max(capacity(step, cores) for step in trial.steps)
            found.setdefault(trial.candidate, []).append(max(score(trial, cores)[0], missed))
    return sorted(found, key=lambda candidate: middle.median(found[candidate]), reverse=True)


def standings(trials: Sequence[Trial], cores: int, think: float = 0.0) -> list[Standing]:
    """Return the standings of all candidates, compared with the best: those of the ladder first, by capacity.

    think  seconds from a response to the client's next request
    """
    order = list(dict.fromkeys(trial.candidate for trial in trials))
    last = last_stage(trials)
    scores = {candidate: _scores(trials, candidate, last, cores) for candidate in order}
    best = max(order, key=lambda candidate: _middle(scores[candidate].values()), default=None)
    found = [
        _standing(candidate, [trial for trial in trials if trial.candidate == candidate], scores, best, cores, think)
        for candidate in order
    ]
    stages = ("screen", "ladder", "open")
    return sorted(found, key=lambda one: (stages.index(one.stage) > 0, _or_zero(one.capacity.value)), reverse=True)


def last_stage(trials: Iterable[Trial]) -> str:
    """Return the last stage of a closed loop that there is a trial of."""
    return "ladder" if any(trial.stage == "ladder" for trial in trials) else "screen"


def _scores(trials: Iterable[Trial], candidate: Candidate, stage: str, cores: int) -> dict[int, float]:
    """Return the capacity in each round, by its number."""
    own = [trial for trial in trials if trial.candidate == candidate and trial.stage == stage]
    return {trial.number: score(trial, cores)[0] for trial in own if trial.steps}


def _standing(
    candidate: Candidate,
    own: Sequence[Trial],
    scores: dict[Candidate, dict[int, float]],
    best: Candidate | None,
    cores: int,
    think: float,
) -> Standing:
    climbed = [trial for trial in own if trial.stage == "ladder"] or [trial for trial in own if trial.stage == "screen"]
    bests = [score(trial, cores) for trial in climbed if trial.steps]
    steps = [step for _, step in bests if step]
    to_best = _to_best(scores[candidate], scores[best] if best else {})
    rungs = _rungs(climbed)
    opened = [step for trial in own if trial.stage == "open" for step in trial.steps]
    open_rungs = _open_rungs([step for step in opened if step.rate])
    most = statistics.typical([value for value, _ in bests])
    near = None if most.count and most.value > 0 else _nearest(climbed)
    alone = next((rung.mean for rung in rungs if rung.clients == 1), nan)
    return Standing(
        candidate=candidate,
        stage=own[-1].stage,
        failure=_failure(own),
        capacity=most,
        limited=any(is_limited(step, cores) for step in steps),
        clients=near.clients if near else int(middle.median_low(step.clients for step in steps)) if steps else 0,
        rate=near.tps if near else nan,
        missed=", ".join(near.missed) if near else "",
        first=_median(score(trial, cores)[0] for trial in own if trial.stage == "screen"),
        to_best=to_best,
        tied=statistics.is_tie(to_best),
        alone=alone,
        knee=nan if near else scaling.knee(alone, most.value, think),
        law=scaling.fit(tuple(tuple((step.clients, step.tps) for step in trial.steps) for trial in climbed)),
        cpu=statistics.typical([step.cpu for step in steps]),
        memory=_memory(climbed),
        switches=_median(trial.switches for trial in climbed),
        threads=max((step.threads for trial in own for step in trial.steps), default=0),
        processes=max((step.processes for trial in own for step in trial.steps), default=0),
        rungs=rungs,
        open_rungs=open_rungs,
        curve=_curve([step for step in opened if step.rate], open_rungs),
        sustained=max((rung.rate for rung in open_rungs if rung.met), default=0.0),
        steadiness=_steadiness([step for step in opened if not step.rate]),
        errors=_errors(own),
    )


def _nearest(climbed: Iterable[Trial]) -> Step | None:
    """Return the step that missed the goal by the least, of the trial that is the median in that."""
    missed = [[step for step in trial.steps if not step.met] for trial in climbed]
    nearest = sorted((min(steps, key=lambda step: step.excess) for steps in missed if steps), key=lambda s: s.excess)
    return nearest[len(nearest) // 2] if nearest else None


def _to_best(mine: dict[int, float], best: dict[int, float]) -> Interval:
    """Return the ratio over the rounds that both have."""
    return statistics.ratio([(mine[number], best[number]) for number in mine.keys() & best.keys()])


def _failure(own: Sequence[Trial]) -> str:
    """Return the reason of the last trial that failed."""
    return next((trial.failure for trial in reversed(own) if trial.failure), "")


def _rungs(trials: Sequence[Trial]) -> tuple[Rung, ...]:
    steps: dict[int, list[Step]] = {}
    for trial in trials:
        for step in trial.steps:
            steps.setdefault(step.clients, []).append(step)
    return tuple(
        Rung(
            clients=clients,
            tps=statistics.typical([step.tps for step in found]),
            mean=_median(step.mean for step in found),
            p50=_median(step.time("50") for step in found),
            p99=_median(step.time("99") for step in found),
            p999=_median(step.time("99.9") for step in found),
            traffic=_median(step.bytes_in + step.bytes_out for step in found),
            cpu=_median(step.cpu for step in found),
            memory=_median(step.memory for step in found),
            failing=_median(step.failing for step in found),
            held=_median(step.held for step in found),
        )
        for clients, found in sorted(steps.items())
    )


def _open_rungs(steps: Sequence[Step]) -> tuple[OpenRung, ...]:
    """Return one rung for each rate, from the lowest; met if most trials met the goal and kept up."""
    rates: dict[float, list[Step]] = {}
    for step in steps:
        rates.setdefault(step.rate, []).append(step)
    return tuple(
        OpenRung(
            rate=rate,
            tps=_median(step.tps for step in found),
            p50=_median(step.time("50") for step in found),
            p99=_median(step.time("99") for step in found),
            p999=_median(step.time("99.9") for step in found),
            failing=_median(step.failing for step in found),
            met=2 * sum(step.met and step.tps >= _KEPT_UP * rate for step in found) > len(found),
        )
        for rate, found in sorted(rates.items())
    )


def _curve(steps: Sequence[Step], rungs: Sequence[OpenRung]) -> tuple[tuple[float, float], ...]:
    """Return the curve of the first trial's step nearest to 80 % of the peak; the last rate is a known part of that."""
    if not rungs:
        return ()
    wanted = 0.8 * rungs[-1].rate / FRACTIONS[-1]
    return min(steps, key=lambda step: abs(step.rate - wanted)).curve


def _steadiness(holds: Sequence[Step]) -> Steadiness:
    """Return the steadiness of the longest time at the peak; the last second is incomplete."""
    longest = max(holds, key=lambda step: step.seconds, default=None)
    return statistics.steadiness(longest.series[:-1] if longest else ())


def _memory(trials: Sequence[Trial]) -> float:
    """Return bytes for each connection: the median slope between any two steps of a trial (Theil 1950, Sen 1968)."""
    slopes = [
        (b.memory - a.memory) / (b.held - a.held)
        for trial in trials
        for a, b in combinations([step for step in trial.steps if step.memory], 2)
        if b.held >= 2 * a.held and b.held - a.held >= 50
    ]
    return max(0.0, middle.median(slopes)) if slopes else nan


def _errors(own: Sequence[Trial]) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for trial in own:
        for step in trial.steps:
            for kind, count in step.errors.items():
                found[kind] = found.get(kind, 0) + count
    return tuple(sorted(found.items()))


def disturbance(trials: Sequence[Trial]) -> float:
    """Return the cores that other processes used, the median over all steps."""
    return middle.median([step.others for done in trials for step in done.steps] or [0.0])


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if isfinite(value)]
    return middle.median(known) if known else nan


def _middle(values: Iterable[float]) -> float:
    known = list(values)
    return middle.median(known) if known else -inf


def _or_zero(value: float) -> float:
    return value if isfinite(value) else 0.0
