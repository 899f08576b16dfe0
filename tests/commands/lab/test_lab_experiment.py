"""The order of trials, and what a short budget leaves out, with trials that are made up: nothing is left out in
silence."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from allcomers.commands.lab.analysis import results
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.data.candidate import Candidate, runnable
from allcomers.commands.lab.data.plan import Probe, Stage
from allcomers.commands.lab.report import page, terminal
from allcomers.commands.lab.run import trial
from allcomers.commands.lab.run.experiment import Conditions, Experiment, trials
from allcomers.commands.lab.run.journal import Journal
from allcomers.commands.lab.run.trial import Load, Setup
from allcomers.errors import ConfigError
from support.measured import WAITS, judged, step

MODELS = set(runnable(False))


class Silent:
    def stage(self, stage: Stage) -> None: ...
    def trial(self, number: int, spent: float) -> None: ...


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """Return a function that runs an experiment whose trials take `beside` seconds beside their steps."""

    def run(budget: float, beside: float, models: tuple[str, ...] | None = None, probe: Probe = WAITS) -> Experiment:
        def made_up(
            setup: Setup, stage: str, number: int, candidate: Candidate, loads: Iterable[Load], *, patience: int
        ) -> Trial:
            steps = tuple(step(load.clients, 100.0 * load.clients, seconds=load.seconds) for load in loads)
            took = beside + sum(one.seconds for one in steps)
            return Trial(stage=stage, number=number, candidate=candidate, steps=steps, took=took)

        monkeypatch.setattr(trial, "run", made_up)
        with Journal(tmp_path / str(budget), {}, resume=False) as journal:
            journal.add({"kind": "probe", "probe": probe.as_dict()})
            given = Conditions(budget=budget, cores=1, descriptors=20_000, models=models)
            found = Experiment(cast(Any, None), journal, given, Silent())
            found.run(probe)
        return found

    return run


def looks(experiment: Experiment) -> list[Candidate]:
    return [done.candidate for done in experiment.trials if done.stage == "screen"]


@pytest.mark.parametrize("beside", [1.0, 2.0, 3.0])
def test_in_two_minutes_each_model_is_looked_at(lab: Callable[..., Experiment], beside: float) -> None:
    """Trials that take longer than they were planned leave out variants, the least likely first, and no model."""
    experiment = lab(120, beside)
    found = looks(experiment)
    assert {candidate.model for candidate in found[: len(MODELS)]} == MODELS
    assert experiment.spent < 1.2 * 120


def test_looks_that_take_long_go_over_their_share_for_models_alone(lab: Callable[..., Experiment]) -> None:
    """Of 60 s the looks have 20, in which seven fit that take 3; half of the budget is for models."""
    found = looks(lab(60, 2.4))
    assert len(found) == len({candidate.model for candidate in found}) > 7


def test_five_minutes_have_all(lab: Callable[..., Experiment]) -> None:
    experiment = lab(300, 1.5)
    assert experiment.untried(WAITS).candidates == ()
    assert str(experiment.untried(WAITS)) == ""


def test_chance_drops_nobody(lab: Callable[..., Experiment]) -> None:
    """Those that had no look are the last of the order, whatever the seed of the journal."""
    first, second = (looks(lab(budget, 2.6)) for budget in (90, 90.001))
    assert first == second


def test_what_there_was_no_time_for_stands_in_terminal_report_and_json(
    lab: Callable[..., Experiment],
) -> None:
    experiment = lab(40, 2.0)
    left = experiment.untried(WAITS)
    tried = looks(experiment)
    assert {*tried, *left.candidates} >= {Candidate(model="epoll", calls="inline"), Candidate(model="thread")}
    assert not {*tried} & {*left.candidates}
    assert f"{left.candidates[0].name}, {left.candidates[1].name}" in str(left)
    assert str(left).endswith(f"; --budget {left.budget} has them.")
    found = judged(experiment.trials, untried=left)
    shown = io.StringIO()
    terminal.show(found, shown)
    assert f"No time for: {left}" in shown.getvalue()
    assert f"No time for: {left}" in page.page(found)
    read = json.loads(results.as_json(found))["untried"]
    assert [one["name"] for one in read["candidates"]] == [one.name for one in left.candidates]
    assert read["budget"] == left.budget


@pytest.mark.parametrize("beside", [1.0, 2.0, 3.0])
def test_the_budget_that_is_told_has_them(lab: Callable[..., Experiment], beside: float) -> None:
    told = lab(40, beside).untried(WAITS).budget
    assert lab(int(told[:-1]) * {"s": 1, "m": 60}[told[-1]], beside).untried(WAITS).candidates == ()


def test_two_models_in_twenty_seconds_are_both_measured(lab: Callable[..., Experiment]) -> None:
    experiment = lab(20, 1.5, ("epoll", "thread"))
    climbed = {done.candidate.model for done in experiment.trials if done.stage == "ladder"}
    assert climbed == {"epoll", "thread"}


def test_a_model_that_cannot_run_the_app_is_refused(lab: Callable[..., Experiment]) -> None:
    with pytest.raises(ConfigError, match="--models gevent: it does not run an app that is async"):
        lab(20, 1.5, ("epoll", "gevent"), replace(WAITS, is_async=True))


def test_models_that_have_no_time_are_refused(lab: Callable[..., Experiment], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--budget 5s is too short for 2 models; 10s would do"):
        lab(5, 1.5, ("epoll", "thread"))
    with Journal(tmp_path / "5", {}, resume=True) as journal:
        assert trials(journal) == []
