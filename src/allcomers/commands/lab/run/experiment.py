"""The order of trials: three stages, each planned when the one before is known. What the journal has, is done.

Rounds are shuffled, each anew, and each trial starts its server anew: what drifts, or lasts, is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Final, Protocol

from allcomers.commands.lab.analysis import analysis, verdict
from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.data import plan, race
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.data.plan import Probe, Stage
from allcomers.commands.lab.run import trial
from allcomers.commands.lab.run.journal import Journal
from allcomers.commands.lab.run.trial import Load, Setup

STAGES: Final = ("screen", "ladder", "open")


class ProgressListener(Protocol):
    """The receiver of progress."""

    def stage(self, stage: Stage) -> None: ...
    def trial(self, number: int, spent: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditions of an experiment.

    budget       seconds
    cores        number of the server's cores
    descriptors  limit of a process
    most         limit of clients
    models       names to choose from; None for all
    patience     seconds that the goal allows for a response
    think        seconds from a response to the client's next request
    is_race      see race.py
    """

    budget: float
    cores: int
    descriptors: int
    most: int = plan.MOST_CLIENTS
    models: tuple[str, ...] | None = None
    patience: float = 0.1
    think: float = 0.0
    is_race: bool = False

    @property
    def least(self) -> float:
        """Least seconds of a step: enough for several requests of each client."""
        return max(plan.STEP[0], 4 * self.think)


class Experiment:
    """Runs, or resumes, until the journal is complete."""

    def __init__(self, setup: Setup, journal: Journal, conditions: Conditions, listener: ProgressListener) -> None:
        self._bench = setup
        self._journal = journal
        self._conditions = conditions
        self._listener = listener

    @property
    def trials(self) -> list[Trial]:
        """All trials so far."""
        return trials(self._journal)

    @property
    def spent(self) -> float:
        """Seconds of all trials so far."""
        return sum(done.took for done in self.trials)

    def run(self, probe: Probe) -> None:
        for kind in ("ladder",) if self._conditions.is_race else STAGES:
            stage = self._stage(kind, probe)
            self._listener.stage(stage)
            self._run_stage(stage)

    def _race(self, probe: Probe) -> Stage:
        given = self._conditions
        entrants = race.entrants(probe, given.cores, given.models)
        most = max(plan.most_clients(one, given.descriptors, given.most) for one in entrants)
        return race.stage(entrants, given.budget, probe.start + 2.0, 0.5, most, given.least)

    def _stage(self, kind: str, probe: Probe) -> Stage:
        record = self._journal.find("stage", name=kind)
        if record is None:
            stage = self._plan(kind, probe)
            record = {"kind": "stage", "name": kind, "stage": stage.as_dict()}
            self._journal.add(record)
        return Stage.from_dict(record["stage"])

    def _plan(self, kind: str, probe: Probe) -> Stage:
        given, known = self._conditions, self.trials
        if given.is_race:
            return self._race(probe)
        if kind == "screen":
            entrants = plan.candidates(probe, given.cores, given.models)
            clients = min(plan.crowd(probe, given.cores, given.patience), given.most)
            return plan.screen(entrants, clients, given.budget, probe.start + trial.WARM_UP + 1.0, given.least)
        overhead, pause = _costs(known)
        if kind == "ladder":
            ranked = analysis.rank(known, given.cores)
            available = given.budget * (plan.SCREEN + plan.LADDER) - self.spent
            most = max((plan.most_clients(one, given.descriptors, given.most) for one in ranked), default=1)
            choice = plan.ladders(most, plan.crowd(probe, given.cores, given.patience))
            return plan.climb(_varied(ranked, self._plainest()), available, overhead, pause, choice, given.least)
        standings = analysis.standings(known, given.cores, given.think)
        ranked = [one.candidate for one in verdict.preferred(standings)]
        return plan.open_loop(ranked, given.budget - self.spent, overhead, pause, given.least)

    def _plainest(self) -> Candidate:
        """Return the plainest candidate of the screen."""
        stage = self._journal.find("stage", name="screen")
        assert stage is not None
        return Stage.from_dict(stage["stage"]).entrants[0]

    def _run_stage(self, stage: Stage) -> None:
        for count, (number, candidate) in enumerate(_order(stage, self._journal.records[0]["seed"]), 1):
            self._listener.trial(count, self.spent)
            if self._is_done(stage, number, candidate):
                continue
            if self._is_late(stage, number):
                return
            loads = self._loads(stage, candidate)
            done = trial.run(
                self._bench,
                stage.kind,
                number,
                candidate,
                loads,
                patience=trial.FOREVER if self._conditions.is_race else 1 if number else 2,
            )
            self._journal.add({"kind": "trial", "trial": done.as_dict()})

    def _is_done(self, stage: Stage, number: int, candidate: Candidate) -> bool:
        return any((done.stage, done.number, done.candidate) == (stage.kind, number, candidate) for done in self.trials)

    def _is_late(self, stage: Stage, number: int) -> bool:
        """Whether there is no time for another trial. Two of the screen, and one round of the ladder, always run."""
        alike = [done for done in self.trials if done.stage == stage.kind]
        if len(alike) < 2 or (stage.kind == "ladder" and not number):
            return stage.kind == "open" and self.spent > self._allowed("open")
        return self.spent + 0.5 * fmean(done.took for done in alike) > self._allowed(stage.kind)

    def _allowed(self, kind: str) -> float:
        if self._conditions.is_race:
            return self._conditions.budget
        parts = {"screen": plan.SCREEN, "ladder": plan.SCREEN + plan.LADDER, "open": 1.0}
        return parts[kind] * self._conditions.budget

    def _loads(self, stage: Stage, candidate: Candidate) -> Iterator[Load]:
        most = plan.most_clients(candidate, self._conditions.descriptors, self._conditions.most)
        if stage.kind != "open":
            rungs = sorted({min(int(clients), most) for clients in stage.steps})
            yield from (Load(clients=clients, seconds=stage.seconds) for clients in rungs)
            return
        peak = self._peak(candidate)
        if peak is None:
            return
        if stage.hold:
            yield Load(clients=peak.clients, seconds=stage.hold)
        clients = min(
            most, max(2 * peak.clients, 64)
        )  # an open loop needs a free connection for each request that is due
        for part in stage.steps:
            yield Load(clients=clients, seconds=stage.seconds, rate=part * peak.tps)

    def _peak(self, candidate: Candidate) -> Step | None:
        """Return the peak of the candidate's median ladder: the same for all rounds of the open loop."""
        own = [done for done in self.trials if done.candidate == candidate and done.stage == "ladder"]
        found = [step for step in (analysis.score(done, self._conditions.cores)[1] for done in own) if step]
        return sorted(found, key=lambda step: step.tps)[len(found) // 2] if found else None


def trials(journal: Journal) -> list[Trial]:
    """Return all trials of a journal."""
    return [Trial.from_dict(record["trial"]) for record in journal.all("trial")]


def _varied(ranked: Sequence[Candidate], plainest: Candidate) -> list[Candidate]:
    """Return the best four, the plainest of all among them; then the best of each other model, then the rest."""
    first = list(ranked[:4] if plainest in ranked[:4] or plainest not in ranked else [*ranked[:3], plainest])
    for candidate in ranked:
        if candidate.model not in {one.model for one in first}:
            first.append(candidate)
    return [*first, *(candidate for candidate in ranked if candidate not in first)]


def _order(stage: Stage, seed: int) -> Iterator[tuple[int, Candidate]]:
    """Yield each round in an order of its own, which a seed decides."""
    for number in range(stage.rounds):
        entrants = list(stage.entrants)
        Random(f"{seed} {stage.kind} {number}").shuffle(entrants)
        yield from ((number, candidate) for candidate in entrants)


def _costs(trials: Sequence[Trial]) -> tuple[float, float]:
    """Return measured (seconds of a trial beside its steps, seconds of a step beside its measuring)."""
    whole = [done.took - sum(step.seconds for step in done.steps) for done in trials if done.steps and not done.failure]
    beside = fmean(whole) if whole else 2.0
    return 0.7 * beside, 0.3 * beside
