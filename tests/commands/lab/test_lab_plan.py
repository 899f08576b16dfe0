"""The plan: seeded from the cores and the cost of a call, and fitted to the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.data import plan
from allcomers.commands.lab.data.candidate import Candidate, runnable
from allcomers.commands.lab.data.plan import Probe, Stage
from allcomers.errors import ConfigError

AT_ONCE = Probe(response=60e-6, cpu=30e-6, is_async=False, start=0.2)
WAITS = Probe(response=0.010, cpu=300e-6, is_async=False, start=0.2)
WORKS = Probe(response=0.005, cpu=0.005, is_async=False, start=0.2)


def test_littles_law_gives_the_threads() -> None:
    assert plan.at_once(WORKS, 1) == 1
    assert plan.at_once(WAITS, 1) == 64  # 33, and the power of two above
    assert plan.at_once(WAITS, 4) == 256


def test_every_model_is_tried_that_runs_here() -> None:
    found = plan.candidates(WAITS, 1)
    assert {candidate.model for candidate in found} == set(runnable(False))
    assert len(set(found)) == len(found) == len({candidate.name for candidate in found})


def test_each_model_comes_before_any_variant() -> None:
    for probe in (AT_ONCE, WAITS, WORKS):
        found = plan.candidates(probe, 4)
        models = [candidate.model for candidate in found]
        assert set(models[: len(set(models))]) == set(models)
    first = plan.candidates(WAITS, 1)[0]
    assert (first.model, first.calls) == ("epoll", "auto")  # inline would hold up the loop
    assert plan.candidates(WORKS, 1)[0].calls == "inline"


def test_the_seconds_of_a_first_look_by_hand() -> None:
    """90 % of 40 s are 36: of 18 looks each has 2, of which 1.4 pass beside its step."""
    assert plan.look(18, 40, 1.4, 0.5) == pytest.approx(0.6)
    assert plan.look(18, 30, 1.4, 0.5) == 0.5
    assert plan.look(2, 300, 1.4, 0.5) == 2.0


def test_the_budget_that_has_all_by_hand() -> None:
    """28 looks of 2.3 s are 64.4 s: 90 % of 34 % of 210.5 s, so that 4 minutes have them."""
    assert plan.budget_for(28, 2.3, plan.SCREEN) == 240
    assert plan.as_budget(240) == "4m"
    assert plan.budget_for(2, 2.0, plan.MODELS) == 10
    assert plan.as_budget(10) == "10s"


def test_a_budget_that_is_too_short_is_refused_with_one_that_is_not() -> None:
    plan.check_budget(("epoll", "thread"), 20, 2.0)
    plan.check_budget(("epoll",), 1, 2.0)
    with pytest.raises(ConfigError, match="--budget 20s is too short for 6 models; 30s would do"):
        plan.check_budget(("epoll",) * 6, 20, 2.0)
    plan.check_budget(("epoll",) * 6, 30, 2.0)


def test_threads_are_tried_below_and_above_the_guess() -> None:
    pools = {one.threads for one in plan.candidates(WAITS, 1) if one.model == "epoll" and one.calls == "pool"}
    assert pools == {32, 64, 128}


def test_workers_follow_the_cores() -> None:
    assert {one.workers for one in plan.candidates(AT_ONCE, 4) if one.model == "poll"} == {1, 4}
    assert {one.workers for one in plan.candidates(AT_ONCE, 4) if one.model == "epoll"} == {1, 4, 8}


def test_an_async_app_has_no_calls_to_choose() -> None:
    asynchronous = Probe(response=0.01, cpu=1e-4, is_async=True, start=0.3)
    found = plan.candidates(asynchronous, 2)
    assert all(one.calls == "" for one in found)
    assert {one.model for one in found[:2]} == {"epoll", "asyncio"}


def test_only_the_given_models() -> None:
    assert {one.model for one in plan.candidates(AT_ONCE, 1, ("thread", "epoll"))} == {"thread", "epoll"}


def test_a_candidate_is_the_servers_options() -> None:
    candidate = Candidate(model="epoll", workers=2, calls="pool", threads=64)
    assert candidate.flags() == ["--model", "epoll", "--workers", "2", "--calls", "pool", "--threads", "64"]
    assert candidate.name == "2 × epoll + pool of 64"
    assert Candidate.from_dict(candidate.as_dict()) == candidate


@given(st.integers(1, 20_000), st.sampled_from([2, 4, 8]))
def test_a_ladder_rises_from_one_to_the_most(most: int, ratio: int) -> None:
    rungs = plan.ladder(most, ratio)
    assert rungs[0] == 1
    assert rungs[-1] == most
    assert list(rungs) == sorted(set(rungs))


def test_what_a_model_and_the_descriptors_allow() -> None:
    assert plan.most_clients(Candidate(model="select"), 20_000) < 1024
    assert plan.most_clients(Candidate(model="epoll"), 20_000) == 10_000
    assert plan.most_clients(Candidate(model="epoll"), 1024) < 1024
    assert plan.most_clients(Candidate(model="epoll"), 10) == 1


@given(st.integers(1, 20_000), st.integers(32, 2048))
def test_ladders_get_coarser_and_shorter(most: int, crowd: int) -> None:
    found = plan.ladders(most, crowd)
    assert [len(rungs) for rungs in found[:3]] == sorted((len(rungs) for rungs in found[:3]), reverse=True)
    assert found[0][-1] == most
    assert found[-2][-1] == min(most, 10 * crowd)
    assert len(found[-1]) <= 4
    assert all(list(rungs) == sorted(set(rungs)) and rungs[0] >= 1 and rungs[-1] <= most for rungs in found)


def cost(stage: Stage, overhead: float, pause: float) -> float:
    """Return seconds: of three rounds of the ladder, and of all else."""
    rounds = plan.ROUNDS[0] if stage.kind == "ladder" else stage.rounds
    return rounds * len(stage.entrants) * (overhead + stage.hold + len(stage.steps) * (stage.seconds + pause))


@given(st.floats(60, 7200), st.floats(0.5, 3), st.floats(0.1, 1.0), st.integers(64, 10_000))
def test_stages_fit_the_budget(budget: float, overhead: float, pause: float, most: int) -> None:
    entrants = plan.candidates(WAITS, 2)
    first = plan.screen(entrants, 64, budget, overhead)
    assert first.entrants == tuple(entrants)
    assert first.seconds == plan.STEP[0] or cost(first, overhead, 0) <= budget * plan.SCREEN
    climbing, opened = (budget * part for part in (plan.LADDER, plan.OPEN))
    second = plan.climb(first.entrants, climbing, overhead, pause, plan.ladders(most, 64))
    third = plan.open_loop(second.entrants, opened, overhead, pause)
    if len(second.entrants) > 2:  # two always run, whatever they cost
        assert cost(second, overhead, pause) <= climbing * 1.01
    if len(third.entrants) > 2:
        assert cost(third, overhead, pause) <= opened * 1.01
    assert third.hold == 0 or third.hold >= plan.HOLD[0]
    assert Stage.from_dict(third.as_dict()) == third


def test_more_time_is_more_finalists_and_longer_steps() -> None:
    entrants = plan.candidates(WAITS, 1)
    stages = [plan.climb(entrants, budget, 1.5, 0.4, plan.ladders(10_000, 64)) for budget in (40, 120, 600, 7200)]
    assert [len(stage.entrants) for stage in stages] == sorted(len(stage.entrants) for stage in stages)
    assert [len(stage.steps) for stage in stages] == sorted(len(stage.steps) for stage in stages)
    assert stages[-1].seconds > stages[0].seconds


@pytest.mark.parametrize("probe", [AT_ONCE, WAITS, WORKS])
def test_the_crowd_keeps_the_cores_busy_and_can_be_served_in_time(probe: Probe) -> None:
    clients = plan.crowd(probe, 1, 0.1)
    assert clients >= 2 * plan.at_once(probe, 1)
    assert clients * probe.cpu <= 0.2
