"""From trials to a recommendation: of candidates with known laws, the right one, for the right reason."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from allcomers.commands.lab.analysis import analysis, results
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.data.goal import describe, goal
from allcomers.commands.lab.data.plan import Probe
from allcomers.commands.lab.report import page
from support.measured import EPOLL, ITERATIVE, POOL, THREAD, WAITS, everything, grown, judged, ladder, pooled, step, usl

WORKS = Probe(response=0.005, cpu=0.005, is_async=False, start=0.2)


def test_the_best_is_chosen_and_the_others_have_reasons() -> None:
    found = judged(
        [
            *ladder(EPOLL, pooled(100), noise=0.02),
            *ladder(POOL, pooled(3000), noise=0.02),
            *ladder(THREAD, pooled(2000), noise=0.02, seed=2),
        ]
    ).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == POOL
    assert "64 threads can have them" in found.chosen.why
    assert [place.standing.candidate for place in found.runners_up] == [THREAD, EPOLL]
    assert "0.6" in found.runners_up[0].why
    assert "holds the loop up" in found.runners_up[1].why


def test_of_the_tied_the_one_with_the_quicker_responses() -> None:
    law = pooled(3000)
    slow = {"times": {"50": 0.01, "90": 0.02, "99": 0.09, "99.9": 0.2, "100": 0.3}}
    quick = {"times": {"50": 0.01, "90": 0.02, "99": 0.03, "99.9": 0.2, "100": 0.3}}
    trials = [*ladder(EPOLL, law, noise=0.02, **slow), *ladder(THREAD, law, noise=0.02, seed=3, **quick)]
    found = judged(trials).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == THREAD
    assert "Tied on requests/s" in found.runners_up[0].why
    assert "its p99 is 90 ms, not 30 ms" in found.runners_up[0].why


def test_of_the_tied_the_one_that_uses_less_cpu() -> None:
    trials = [*ladder(EPOLL, pooled(3000), cpu=2e-4), *ladder(POOL, pooled(3000), cpu=1e-4)]
    found = judged(trials).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == POOL
    assert "200 µs of CPU a request, not 100 µs" in found.runners_up[0].why


def test_of_equals_the_plainest() -> None:
    same = [*ladder(POOL, pooled(200)), *ladder(THREAD, pooled(200)), *ladder(EPOLL, pooled(200))]
    found = judged(same, WORKS).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == EPOLL
    assert all("less plain" in place.why for place in found.runners_up)


def test_a_candidate_that_died_is_not_chosen_but_reported() -> None:
    dead = [replace(trial, failure="it ended with signal 9: Listening") for trial in ladder(THREAD, pooled(9000))]
    found = judged([*dead, *ladder(EPOLL, pooled(100))]).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == EPOLL
    assert found.others[0].why == "It failed: it ended with signal 9: Listening."


def test_a_candidate_that_died_without_a_figure_is_reported() -> None:
    dead = Trial(stage="screen", number=0, candidate=ITERATIVE, failure="it did not listen")
    found = judged([dead, *ladder(EPOLL, pooled(100))])
    assert found.verdict.others[0].standing.candidate == ITERATIVE
    assert "it did not listen" in page.page(found)


def test_no_figures_at_all_are_reported() -> None:
    dead = Trial(stage="screen", number=0, candidate=ITERATIVE, failure="it did not listen")
    for trials in ([dead], []):
        found = judged(trials)
        assert found.verdict.chosen is None
        assert "Nothing could be measured" in page.page(found)


def test_rates_that_miss_the_goal_do_not_count() -> None:
    """A queue of 1,024 clients gives most; but clients in it wait too long."""
    trials = ladder(EPOLL, usl(1000, 0.02, 0.0), limit=0.02)
    standing = analysis.standings(trials, 1)[0]
    assert standing.clients < 1024
    assert standing.p99(standing.clients) < 0.02
    never = judged(ladder(EPOLL, usl(1000, 0.02, 0.0), limit=1e-6))
    assert never.verdict.chosen is None
    assert "never met the goal" in never.verdict.others[0].why


def test_a_first_look_forgives_once() -> None:
    """A candidate that missed the goal by bad luck precedes one that is ten times slower; a dead one is out."""
    unlucky = Trial(stage="screen", number=0, candidate=POOL, steps=(step(64, 3000, met=False),))
    slow = Trial(stage="screen", number=0, candidate=EPOLL, steps=(step(64, 100),))
    good = Trial(stage="screen", number=0, candidate=THREAD, steps=(step(64, 2000),))
    dead = Trial(stage="screen", number=0, candidate=ITERATIVE, steps=(step(64, 9000),), failure="signal 9")
    assert analysis.rank([slow, unlucky, dead, good], 1) == [THREAD, POOL, EPOLL]


def test_a_load_generator_at_its_limit_is_detected() -> None:
    """Both give 20,000/s, as the load can do no more; one of them has half of its core left."""
    trials = [
        *ladder(EPOLL, pooled(20_000, 1e-4), load_busy=0.99, busy=0.5, cpu=25e-6),
        *ladder(THREAD, pooled(20_000, 1e-4), load_busy=0.99, busy=0.95, cpu=48e-6),
    ]
    found = judged(trials).verdict
    assert found.chosen is not None
    assert found.chosen.standing.candidate == EPOLL
    assert found.chosen.standing.limited
    assert found.chosen.standing.capacity.value == pytest.approx(40_000)
    assert any("load generator" in caution for caution in found.cautions)


def test_a_limited_candidate_is_not_better_for_being_detected() -> None:
    """As with examples/calls.py:AtOnce: of two that are alike, the load reached its limit for only one."""
    found = analysis.standings(
        [
            *ladder(EPOLL, pooled(80_000, 1e-4), load_busy=0.89, busy=0.84),
            *ladder(POOL, pooled(81_000, 1e-4), load_busy=0.91, busy=0.85),
        ],
        cores=1,
    )
    assert {one.candidate: one.limited for one in found} == {EPOLL: True, POOL: True}
    assert all(one.tied for one in found)


def test_memory_is_the_slope_over_connections() -> None:
    trials = [grown(trial) for trial in ladder(EPOLL, pooled(3000))]
    assert analysis.standings(trials, 1)[0].memory == pytest.approx(900)


def test_the_highest_rate_that_was_kept_up_with() -> None:
    steps = tuple(step(64, 0.99 * rate, rate=rate) for rate in (1000, 2000, 3000))
    late = step(64, 3500, rate=4000)
    slow = step(64, 5000, rate=5000, met=False)
    opened = Trial(stage="open", number=0, candidate=POOL, steps=(*steps, late, slow))
    found = analysis.standings([*ladder(POOL, pooled(3000)), opened], 1)[0]
    assert found.sustained == 3000
    assert [rung.met for rung in found.open_rungs] == [True, True, True, False, False]


# ------------------------------------------------------------ the goal


def test_the_goal_is_the_users_or_the_default() -> None:
    assert describe(goal("p50<11ms,errors<2%", WAITS)) == "p50<11ms, errors<2%"
    assert describe(goal("p99<1s", WAITS)) == "p99<1s, errors<0.1%"
    assert describe(goal("", WAITS)) == "p99<100ms, errors<0.1%"
    assert describe(goal("", replace(WAITS, response=0.5))) == "p99<5000ms, errors<0.1%"


# ------------------------------------------------------------ what is written


def test_results_are_json_that_others_can_read(tmp_path: Path) -> None:
    results.save(everything(), tmp_path)

    def refuse(text: str) -> None:
        raise AssertionError(text)  # NaN and Infinity are not JSON (RFC 8259, section 6)

    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert [one["name"] for one in read["standings"]] == ["epoll + pool of 64", "epoll"]
    assert read["standings"][0]["law"]["peak"] > 50
    assert read["verdict"]["chosen"]["standing"]["candidate"]["threads"] == 64


def test_the_recommendation_is_toml(tmp_path: Path) -> None:
    found = everything()
    assert found.verdict.chosen is not None
    read = tomllib.loads(results.toml(found, found.verdict.chosen, ['target = "app:app"']))
    assert read == {"target": "app:app", "model": "epoll", "workers": 1, "calls": "pool", "threads": 64}


def test_the_page_needs_nothing_else_and_its_plots_are_whole() -> None:
    text = page.page(everything())
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//", text)
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) == 8
    for plot in plots:
        for element in ElementTree.fromstring(plot).iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
                assert math.isfinite(float(element.get(name, "0")))


def test_user_input_is_escaped() -> None:
    trials = ladder(EPOLL, pooled(100))
    found = replace(judged(trials), target="<script>alert(1)</script>", command="allcomers lab '<b>'")
    assert "<script>alert" not in page.page(found)
    assert "<b>'" not in page.page(found)
