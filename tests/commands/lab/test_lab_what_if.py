"""Other goals for the same trials: each verdict is that of a lab that had the goal from the start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis import what_if
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.standing import Verdict
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.load.data import slo
from support.measured import EPOLL, POOL, THREAD, judged, ladder, pooled, step, usl

TERM = st.floats(1e-5, 10).map(lambda limit: slo.parse(f"p99<{limit * 1e6:.0f}us")[0])


def measured(limit: float) -> list[Trial]:
    """Return trials of a lab whose goal is a p99 below `limit`: the pool has more, and the threads wait less."""
    return [
        *ladder(EPOLL, pooled(100), limit=limit),
        *ladder(POOL, usl(100, 0.02, 1e-4), noise=0.02, limit=limit),
        *ladder(THREAD, usl(120, 0.05, 1e-5), noise=0.02, seed=2, limit=limit),
    ]


def said(verdict: Verdict) -> list[tuple[Candidate, str]]:
    ranking = (*((verdict.chosen,) if verdict.chosen else ()), *verdict.runners_up, *verdict.others)
    return [(ranked.standing.candidate, ranked.why) for ranked in ranking]


@given(TERM)
@example(slo.parse("p99<30ms")[0])  # as long as a lone client of the loop waits, to the last bit
def test_another_goal_is_as_if_it_had_been_the_goal(term: slo.Term) -> None:
    assert what_if.with_limit(measured(0.1), term) == measured(term.limit)


def test_another_goal_may_have_another_verdict() -> None:
    """Threads answer a lone client sooner; the pool bears more clients, who wait longer."""
    found = judged(measured(0.1))
    explored = what_if.explore(found)
    chosen = [one.verdict.chosen for one in explored]
    best = [max(place.capacity.value for place in one.standings) for one in explored]
    assert best == sorted(best)
    assert best[-1] > 10 * best[0]
    assert len({ranked.standing.candidate for ranked in chosen if ranked}) > 1
    for one, ranked in zip(explored, chosen, strict=True):
        assert ranked is None or f"within {one.goal}." in ranked.why
    own = next(one for one in explored if one.limit == 0.1)
    assert own.goal == found.goal
    assert said(own.verdict) == said(found.verdict)


def test_the_rest_of_a_goal_stays() -> None:
    late = step(1, 100, missed=("p99 30 ms > 10 ms", "errors 1 % > 0.1 %"), met=False, excess=10.0)
    (trial,) = what_if.with_limit(
        [Trial(stage="screen", number=0, candidate=POOL, steps=(late,))], slo.parse("p99<1s")[0]
    )
    assert (trial.steps[0].met, trial.steps[0].missed, trial.steps[0].excess) == (False, ("errors 1 % > 0.1 %",), 10.0)
    goal = "p50<10ms, p99<20ms, errors<0.1%"
    assert what_if.with_term(goal, slo.parse("p99<1s")[0]) == "p99<1s, p50<10ms, errors<0.1%"


@pytest.mark.parametrize("goal", ["p99<100ms, errors<0.1%", "p50<10ms"])
@given(st.lists(st.floats(1e-6, 100), max_size=20))
def test_limits_are_round_and_reach_from_the_quickest_to_the_slowest(goal: str, seen: Sequence[float]) -> None:
    steps = tuple(step(1, 1.0, times={"99": p99}) for p99 in (*seen, math.nan))
    found = what_if.limits([Trial(stage="screen", number=0, candidate=POOL, steps=steps)], goal)
    assert bool(found) == bool(seen)
    limits = [term.limit for term in found]
    assert limits == sorted(set(limits))
    assert len(limits) <= 120
    if seen:
        assert limits[-1] > max(seen)
        assert ("p99<100ms" in [term.text for term in found]) == (
            goal.startswith("p99") or min(seen) <= 0.1 <= limits[-1]
        )
