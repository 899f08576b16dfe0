"""Two experiments, A and B, of two commits, machines or versions: what B changes of each candidate. Pure.

They share no rounds, so their trials are not paired: a ratio is that of medians, each with its own trials drawn anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from allcomers.commands.lab.analysis import analysis, statistics, wording
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.recorded import Recorded
from allcomers.commands.lab.analysis.standing import Standing
from allcomers.commands.lab.analysis.statistics import INDIFFERENT, NOTHING, Interval
from allcomers.commands.lab.data.candidate import Candidate


class Change(Enum):
    """A candidate in B beside itself in A."""

    FASTER = "faster"
    ALIKE = "no difference seen"
    SLOWER = "slower"
    UNKNOWN = "one look, too little to tell"
    MISSED = "failed or missed the goal"


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate in both. tps, cpu: B's requests/s and CPU for each response over A's."""

    a: Standing
    b: Standing
    tps: Interval
    cpu: Interval

    @property
    def candidate(self) -> Candidate:
        return self.a.candidate

    @property
    def change(self) -> Change:
        """The change, if the interval is beyond 1 by more than is worth a thought."""
        if not self.tps.count:
            return Change.MISSED
        if self.tps.count == 1:
            return Change.UNKNOWN
        if self.tps.low > 1 / (1 - INDIFFERENT):
            return Change.FASTER
        return Change.SLOWER if self.tps.high < 1 - INDIFFERENT else Change.ALIKE


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """pairs: those that both had in rounds first, by B's requests/s. `overall`: the median of their ratios."""

    a: Recorded
    b: Recorded
    pairs: tuple[Pair, ...]
    overall: Interval

    @property
    def sentence(self) -> str:
        return " ".join((_recommended(self), _counted(self)))

    @property
    def cautions(self) -> tuple[str, ...]:
        """What differs beside what is compared, perhaps: a sentence each."""
        return tuple(_differences(self.a, self.b))

    def as_dict(self) -> dict[str, Any]:
        """Return the form in JSON; unknown figures are nan."""
        return {
            **{name: _experiment(one) for name, one in (("a", self.a), ("b", self.b))},
            "sentence": self.sentence,
            "cautions": list(self.cautions),
            "overall": self.overall.as_dict(),
            "candidates": [
                {
                    "name": pair.candidate.name,
                    "change": pair.change.value,
                    "tps": pair.tps.as_dict(),
                    "cpu": pair.cpu.as_dict(),
                    **{name: _figures(one) for name, one in (("a", pair.a), ("b", pair.b))},
                }
                for pair in self.pairs
            ],
        }


def compare(a: Recorded, b: Recorded) -> Comparison:
    """Compare all candidates that both have."""
    mine, theirs = _by_candidate(a), _by_candidate(b)
    pairs = [_pair(mine[one], theirs[one], a.cores, b.cores) for one in theirs if one in mine]
    pairs.sort(key=lambda pair: (pair.tps.count > 1, pair.b.capacity.value), reverse=True)
    repeated = [(pair.tps.value, 1.0) for pair in pairs if pair.tps.count > 1]
    return Comparison(a=a, b=b, pairs=tuple(pairs), overall=statistics.ratio(repeated))


def _by_candidate(one: Recorded) -> dict[Candidate, list[Trial]]:
    found: dict[Candidate, list[Trial]] = {}
    for trial in one.trials:
        found.setdefault(trial.candidate, []).append(trial)
    return found


def _pair(mine: Sequence[Trial], theirs: Sequence[Trial], cores: int, other_cores: int) -> Pair:
    """Compare a candidate by the trials of the last stage that both have of it."""
    stages = {analysis.last_stage(mine), analysis.last_stage(theirs)}
    stage = stages.pop() if len(stages) == 1 else "screen"
    a, b = (
        _measured([trial for trial in trials if trial.stage == stage], count)
        for trials, count in ((mine, cores), (theirs, other_cores))
    )
    if not a.standing.capacity.value > 0 or not b.standing.capacity.value > 0:
        return Pair(a.standing, b.standing, NOTHING, NOTHING)
    return Pair(a.standing, b.standing, statistics.quotient(b.tps, a.tps), statistics.quotient(b.cpu, a.cpu))


class _Measured(NamedTuple):
    """A candidate's standing by itself; requests/s, and CPU for each response, at the best step of each trial."""

    standing: Standing
    tps: list[float]
    cpu: list[float]


def _measured(trials: Sequence[Trial], cores: int) -> _Measured:
    (standing,) = analysis.standings(trials, cores)
    scores = [analysis.score(trial, cores) for trial in trials if trial.steps]
    return _Measured(standing, [value for value, _ in scores], [step.cpu for _, step in scores if step])


# ------------------------------------------------------------ in words


def _recommended(found: Comparison) -> str:
    a, b = found.a.chosen, found.b.chosen
    if not a or not b:
        return f"{'A' if b else 'B' if a else 'Neither'} has {'no' if a or b else 'a'} recommendation."
    if a == b:
        return f"Both recommend {b.name}{_what(found, b)}."
    return f"A recommends {a.name}{_what(found, a)}; B recommends {b.name}{_what(found, b)}."


def _what(found: Comparison, candidate: Candidate) -> str:
    """Return what B has of A's figures for a candidate."""
    pair = next((pair for pair in found.pairs if pair.candidate == candidate), None)
    if pair is None or not pair.tps.count:
        return ", which one of them has no figures of"
    return (
        f": B has {wording.ratio(pair.tps)} of A's requests/s and {wording.ratio(pair.cpu)} of its CPU a request"
        f" ({pair.change.value})"
    )


def _counted(found: Comparison) -> str:
    counts = Counter(pair.change for pair in found.pairs if pair.tps.count > 1)
    if not counts:
        return "No candidate had several rounds in both."
    parts = [f"{counts[change]} {words}" for change, words in _COUNTED.items() if counts[change]]
    return (
        f"Of {wording.many(sum(counts.values()), 'candidate')} that both had in rounds: {', '.join(parts)};"
        f" the median is {wording.ratio(found.overall)} of A's requests/s."
    )


_COUNTED: Final = {
    Change.FASTER: "faster in B",
    Change.ALIKE: "not seen to differ",
    Change.SLOWER: "slower in B",
}

_PLACE: Final = {
    "allcomers": "allcomers",
    "leaf": "its leaf",
    "python": "Python",
    "system": "the system",
    "cpu": "the CPU",
    "server_cores": "the server's cores",
    "load_cores": "the load's cores",
}


def _differences(a: Recorded, b: Recorded) -> Iterator[str]:
    if a.target != b.target:
        yield f"The apps have different names: {a.target} and {b.target}."
    if a.goal != b.goal:
        yield f"The goals differ, {a.goal} and {b.goal}: each has what it answered within its own."
    for name, words in _PLACE.items():
        mine, theirs = a.place.get(name), b.place.get(name)
        if name.endswith("cores"):
            mine, theirs = (len(one) if isinstance(one, Sequence) else one for one in (mine, theirs))
        if mine != theirs:
            yield f"They differ in {words}: {mine} and {theirs}."


# ------------------------------------------------------------ in JSON


def _experiment(one: Recorded) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "target": one.target,
        "goal": one.goal,
        "place": dict(one.place),
        "chosen": one.chosen.name if one.chosen else None,
    }


def _figures(one: Standing) -> dict[str, Any]:
    return {
        "capacity": one.capacity.as_dict(),
        "clients": one.clients,
        "p99": one.p99(one.clients),
        "cpu": one.cpu.as_dict(),
        "memory": one.memory,
        "missed": one.missed,
    }
