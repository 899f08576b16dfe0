"""What if the goal were p99 < X: the same trials judged by other limits, as a report's slider shows them. Pure.

A page has the verdict for each limit; so it says what `verdict` says, and has no second copy of its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor, inf, isfinite, log10
from typing import Any, Final

from allcomers.commands.lab.analysis import analysis, verdict, wording
from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Standing, Verdict
from allcomers.commands.load.data import slo
from allcomers.commands.load.data.slo import Term

_ROUND: Final = (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9)
"""Limits of a decade, that people may name."""

_UNITS: Final = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_MOST: Final = 120
"""Limits that a slider has at most: the lowest are then left out, which no candidate meets anyway."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The same trials under another goal: `limit` is that of p99, in seconds, `goal` all of it in words."""

    limit: float
    goal: str
    standings: tuple[Standing, ...]
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the form in JSON: of the candidates, the requests/s that count."""
        chosen = self.verdict.chosen
        return {
            "limit": self.limit,
            "goal": self.goal,
            "chosen": chosen.standing.candidate.name if chosen else None,
            "capacities": {one.candidate.name: one.capacity.value for one in self.standings},
        }


def explore(results: Results) -> list[WhatIf]:
    """Return the verdicts for all limits, from the lowest; that of the goal itself is among them. A race has none."""
    return [] if results.is_race else [_explored(results, term) for term in limits(results.trials, results.goal)]


def _explored(results: Results, term: Term) -> WhatIf:
    cores = results.cores
    standings = analysis.standings(with_limit(results.trials, term), cores, results.think)
    goal = with_term(results.goal, term)
    judged = verdict.judge(standings, results.probe, goal=goal, others=results.others, cores=cores)
    return WhatIf(term.limit, goal, tuple(standings), judged)


def limits(trials: Sequence[Trial], goal: str) -> list[Term]:
    """Return round limits from the quickest p99 of all steps to one that the slowest meets, and the goal's own."""
    seen = [p99 for trial in trials for step in trial.steps if isfinite(p99 := step.time("99")) and p99 > 0]
    if not seen:
        return []
    powers = range(floor(log10(min(seen))), floor(log10(max(seen))) + 2)
    every = [_term(float(f"{step}e{power}")) for power in powers for step in _ROUND]
    enough = next(term.limit for term in every if term.limit > max(seen))
    kept = {term.limit: term for term in every if min(seen) <= term.limit <= enough}
    if own := own_term(goal):
        kept[own.limit] = own
    return sorted(kept.values(), key=lambda term: term.limit)[-_MOST:]


def own_term(goal: str) -> Term | None:
    """Return the goal's limit of p99; None if it has none."""
    return min((term for term in slo.parse(goal) if _is_p99(term)), key=lambda term: term.limit, default=None)


def with_term(goal: str, term: Term) -> str:
    """Return the goal in words with this limit of p99 in the place of its own."""
    return ", ".join((term.text, *(other.text for other in slo.parse(goal) if not _is_p99(other))))


def with_limit(trials: Sequence[Trial], term: Term) -> list[Trial]:
    """Return the trials, each step judged by this limit of p99 and by whatever else its goal had."""
    return [replace(trial, steps=tuple(_judged(step, term) for step in trial.steps)) for trial in trials]


def _judged(step: Step, term: Term) -> Step:
    p99 = step.time("99")
    others = tuple(words for words in step.missed if not words.startswith("p99 "))
    besides = step.excess if others else 0.0
    if p99 < term.limit:
        return replace(step, met=not others, missed=others, excess=besides)
    is_known = isfinite(p99)
    late = wording.shortfall(term, p99 if is_known else None)
    return replace(step, met=False, missed=(late, *others), excess=max(p99 / term.limit if is_known else inf, besides))


def _term(limit: float) -> Term:
    unit, size = next(((unit, size) for unit, size in _UNITS if limit >= size), _UNITS[-1])
    return slo.parse(f"p99<{limit / size:.12g}{unit}")[0]


def _is_p99(term: Term) -> bool:
    return term.name == "p99" and term.comparison.startswith("<")
