"""The race: its candidates, and the report of each."""

from __future__ import annotations

from dataclasses import replace

from allcomers.commands.lab.analysis import analysis, verdict
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.data import plan, race
from allcomers.commands.lab.data.plan import Probe, Untried
from allcomers.commands.lab.report import page, report
from allcomers.server.charts.palette import COLOURS
from support.measured import EPOLL, ITERATIVE, PLACE, THREAD, ladder, step, usl

PROBE = Probe(response=0.001, cpu=50e-6, is_async=False, start=0.2)
MANY = (1, 10, 100, 1000, 10_000)


def test_the_old_models_and_the_hybrids_run() -> None:
    found = race.entrants(PROBE, 1)
    assert {"iterative", "process", "thread", "thread-pool", "select", "epoll"} <= {one.model for one in found}
    assert any(one.workers > 1 and one.model == "epoll" for one in found)
    assert any(one.calls == "pool" for one in found)
    assert len({one.name for one in found}) == len(found) <= COLOURS


def test_an_async_app_runs_without_choices_that_it_does_not_have() -> None:
    assert all(one.calls == "" for one in race.entrants(replace(PROBE, is_async=True), 1) if one.model == "epoll")


def test_only_the_given_models_run() -> None:
    assert {one.model for one in race.entrants(PROBE, 1, ("poll", "epoll"))} == {"poll", "epoll"}


def test_a_race_goes_up_to_the_most_however_short_it_is() -> None:
    entrants = race.entrants(PROBE, 1)
    for budget in (10, 100, 1000, 10_000):
        stage = race.stage(entrants, budget, 2.0, 0.5, 10_000, plan.STEP[0])
        assert (stage.steps[0], stage.steps[-1]) == (1, 10_000)
        assert stage.rounds >= 1
        assert stage.entrants == tuple(entrants)


def test_the_effect_of_ten_thousand_clients_is_reported() -> None:
    lost = [step(n, 90.0 if n < 10_000 else 1.0, failing=0.4 if n == 10_000 else 0.0, held=min(n, 50)) for n in MANY]
    trials = [
        *ladder(EPOLL, usl(9000, 0.5, 0.0), clients=MANY),
        Trial(stage="ladder", number=0, candidate=ITERATIVE, steps=tuple(lost)),
        Trial(stage="ladder", number=0, candidate=THREAD, failure="it ended with signal 9: out of memory"),
    ]
    reported = {place.standing.candidate: place.why for place in verdict.race_results(analysis.standings(trials, 1))}
    assert reported[ITERATIVE].startswith("With 10,000 clients, of which 50 were let in, it answered 1/s: p50 ")
    assert "40 % of requests failed. At its best it gave 90/s, with 1 client." in reported[ITERATIVE]
    assert reported[EPOLL].startswith("With 10,000 clients it answered 17,9")
    assert reported[THREAD] == "It failed: it ended with signal 9: out of memory."
    found = report.analyse(
        trials, PROBE, "p99<100ms", command="allcomers lab --race app:app", words=("run", "app:app"), place=PLACE,
        think=0.0, is_race=True, untried=Untried(),
    )  # fmt: skip
    text = page.page(found)
    assert "under many clients" in text
    assert "out of memory" in text
    assert "Run " not in text
