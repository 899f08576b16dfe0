"""The order of trials: three stages, each planned when the one before is known. What the journal has, is done.

Rounds are shuffled, each anew, but for the first where time may run out: chance drops no candidate. Each trial starts
its server anew: what drifts, or lasts, is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from statistics import fmean
from typing import Final, Protocol

from allcomers.commands.lab.analysis import analysis, verdict
from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.data import plan, race
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.data.plan import Probe, Stage, Untried
from allcomers.commands.lab.run import trial
from allcomers.commands.lab.run.journal import Journal
from allcomers.commands.lab.run.trial import Load, Setup
from allcomers.errors import ConfigError

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

    def check(self, start: float) -> None:
        """Raises ConfigError: servers that take `start` seconds to start leave no time for each of the models given."""
        if self.models and not self.is_race:
            plan.check_budget(self.models, self.budget, _beside_look(start) + self.least)


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

    def untried(self, probe: Probe) -> Untried:
        """Return the candidates that there was no time for, and a budget that has time for a first look at all."""
        tried = {done.candidate for done in self.trials}
        every = self._candidates(probe)
        left = tuple(candidate for candidate in every if candidate not in tried)
        if not left:
            return Untried()
        budget = plan.budget_for(len(every), self._conditions.least + self._beside_looks(), plan.SCREEN)
        return Untried(left, plan.as_budget(budget))

    def _candidates(self, probe: Probe) -> list[Candidate]:
        given = self._conditions
        every = race.entrants if given.is_race else plan.candidates
        return every(probe, given.cores, given.models)

    def run(self, probe: Probe) -> None:
        """Run until the journal is complete. Raises ConfigError: one of the models given cannot have its look."""
        if not self.trials:
            self._conditions.check(probe.start)
            found = {candidate.model for candidate in self._candidates(probe)}
            for name in self._conditions.models or ():
                if name not in found:
                    raise ConfigError(f"--models {name}: it does not run an app that is async")
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
            entrants = self._candidates(probe)
            clients = min(plan.crowd(probe, given.cores, given.patience), given.most)
            return plan.screen(entrants, clients, given.budget, _beside_look(probe.start), given.least)
        overhead, pause = _costs(known)
        if kind == "ladder":
            ranked = analysis.rank(known, given.cores)
            available = given.budget * (plan.SCREEN + plan.LADDER) - self.spent
            most = max((plan.most_clients(one, given.descriptors, given.most) for one in ranked), default=1)
            choice = plan.ladders(most, plan.crowd(probe, given.cores, given.patience))
            first = plan.of_each_model(ranked) if given.models else _varied(ranked, self._likeliest())
            order = [*first, *(candidate for candidate in ranked if candidate not in first)]
            return plan.climb(order, available, overhead, pause, choice, given.least)
        standings = analysis.standings(known, given.cores, given.think)
        ranked = [one.candidate for one in verdict.preferred(standings)]
        return plan.open_loop(ranked, given.budget - self.spent, overhead, pause, given.least)

    def _likeliest(self) -> Candidate:
        """Return the likeliest candidate of the screen."""
        stage = self._journal.find("stage", name="screen")
        assert stage is not None
        return Stage.from_dict(stage["stage"]).entrants[0]

    def _run_stage(self, stage: Stage) -> None:
        for count, (number, candidate) in enumerate(_order(stage, self._journal.records[0]["seed"]), 1):
            self._listener.trial(count, self.spent)
            if self._is_done(stage, number, candidate):
                continue
            if self._is_late(stage, number, candidate):
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

    def _is_late(self, stage: Stage, number: int, candidate: Candidate) -> bool:
        """Whether there is no time for another trial. Two of the screen, one of each model that the user gave, and one
        round of the ladder always run."""
        alike = [done for done in self.trials if done.stage == stage.kind]
        if len(alike) < 2 or (stage.kind == "ladder" and not number):
            return stage.kind == "open" and self.spent > self._allowed("open")
        allowed = self._allowed(stage.kind)
        if stage.kind == "screen" and candidate in plan.of_each_model(stage.entrants):
            allowed = inf if self._conditions.models else plan.MODELS * self._conditions.budget
        return self.spent + 0.5 * fmean(done.took for done in alike) > allowed

    def _allowed(self, kind: str) -> float:
        if self._conditions.is_race:
            return self._conditions.budget
        parts = {"screen": plan.SCREEN, "ladder": plan.SCREEN + plan.LADDER, "open": 1.0}
        return parts[kind] * self._conditions.budget

    def _loads(self, stage: Stage, candidate: Candidate) -> Iterator[Load]:
        most = plan.most_clients(candidate, self._conditions.descriptors, self._conditions.most)
        if stage.kind != "open":
            rungs = sorted({min(int(clients), most) for clients in stage.steps})
            seconds = self._look(stage) if stage.kind == "screen" else stage.seconds
            yield from (Load(clients=clients, seconds=seconds) for clients in rungs)
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

    def _look(self, stage: Stage) -> float:
        """Return the seconds of the next first look: shorter if those before took longer than they were planned."""
        done = len(self.trials)
        available = self._allowed("screen") - self.spent
        beside = self._beside_looks() if done else 0.0
        return min(stage.seconds, plan.look(len(stage.entrants) - done, available, beside, self._conditions.least))

    def _beside_looks(self) -> float:
        """Return the seconds that a first look takes beside its step, the mean of those so far."""
        looks = [done for done in self.trials if done.stage == "screen"]
        return fmean(done.took - sum(one.seconds for one in done.steps) for done in looks)

    def _peak(self, candidate: Candidate) -> Step | None:
        """Return the peak of the candidate's median ladder: the same for all rounds of the open loop."""
        own = [done for done in self.trials if done.candidate == candidate and done.stage == "ladder"]
        found = [step for step in (analysis.score(done, self._conditions.cores)[1] for done in own) if step]
        return sorted(found, key=lambda step: step.tps)[len(found) // 2] if found else None


def trials(journal: Journal) -> list[Trial]:
    """Return all trials of a journal."""
    return [Trial.from_dict(record["trial"]) for record in journal.all("trial")]


def _varied(ranked: Sequence[Candidate], likeliest: Candidate) -> list[Candidate]:
    """Return the best four, the likeliest among them; then the best of each other model."""
    first = ranked[:4] if likeliest in ranked[:4] or likeliest not in ranked else [*ranked[:3], likeliest]
    models = {one.model for one in first}
    return [*first, *(one for one in plan.of_each_model(ranked) if one.model not in models)]


def _order(stage: Stage, seed: int) -> Iterator[tuple[int, Candidate]]:
    """Yield each round in an order of its own, which a seed decides. But where want of time may end a first round,
    which is not on the ladder, the order is that of the entrants: chance drops none of them."""
    for number in range(stage.rounds):
        entrants = list(stage.entrants)
        if number or stage.kind == "ladder":
            Random(f"{seed} {stage.kind} {number}").shuffle(entrants)
        yield from ((number, candidate) for candidate in entrants)


def _beside_look(start: float) -> float:
    """Return the seconds that a trial of the screen takes beside its step: `start` is those of its server."""
    return start + trial.WARM_UP + 1.0


def _costs(trials: Sequence[Trial]) -> tuple[float, float]:
    """Return measured (seconds of a trial beside its steps, seconds of a step beside its measuring)."""
    whole = [done.took - sum(step.seconds for step in done.steps) for done in trials if done.steps and not done.failure]
    beside = fmean(whole) if whole else 2.0
    return 0.7 * beside, 0.3 * beside
