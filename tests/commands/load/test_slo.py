"""Service level objectives, and reasons to distrust a result."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.load.data import slo
from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import SENT, Record
from allcomers.commands.load.data.result import Result, summarize
from allcomers.commands.load.data.trust import with_warnings
from allcomers.errors import ConfigError


def found(answers: int = 2000, milliseconds: float = 10.0, **plan: Any) -> Result:
    """A second in which `answered` requests were answered, each after so long."""
    plan_read = Plan.make(url="http://127.0.0.1/", seconds=1.0, **plan)
    record = Record()
    for _ in range(plan_read.clients):
        record.opened()
    for _ in range(answers):
        record.counters[SENT] += 1
        record.recorder.answered(0, 0, int(milliseconds * 1e6), 200)
    record.end_interval(1.0)
    return summarize(plan_read, record, False)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("p99<10.1ms", True),
        ("p99<9.9ms", False),
        ("p99.9<=11000us", True),
        ("mean>0.009s", True),
        ("max<10ms", False),
        ("tps>=2000", True),
        ("qps>2000", False),
        ("errors<0.1%", True),
        ("errors<=0", True),
        (" p50 < 1s , errors < 1 % ", True),
    ],
)
def test_terms_are_judged(text: str, met: bool) -> None:
    assert all(term.met(found()) for term in slo.parse(text)) is met


def test_errors_are_a_share_or_a_count() -> None:
    with_errors = replace(found(90), errors={"reset": 10})
    share, count, fewer = slo.parse("errors<11%,errors<11,errors<10%")
    assert share.measured(with_errors) == pytest.approx(0.1)
    assert [term.met(with_errors) for term in (share, count, fewer)] == [True, True, False]


def test_without_a_response_no_time_is_met() -> None:
    assert not slo.parse("p99<1s")[0].met(found(0))


@pytest.mark.parametrize(
    "text",
    ["p99", "p99<50", "p999<1s", "p99=1s", "tps>5ms", "errors<1ms", "nonsense<1", "p99<1s,", "p99<-1s", "qps>1%"],
)
def test_invalid_terms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--slo"):
        slo.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_terms_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert len(slo.parse(text)) == (text.count(",") + 1 if text else 0)


# ---------------------------------------------------------------- trust


def test_a_good_result_has_no_warning() -> None:
    assert with_warnings(found(clients=1)).warnings == ()


def test_every_reason_for_distrust_is_a_warning() -> None:
    good = found()
    late = Histogram()
    late.add(2_000_000, 10)
    for bad, expected in (
        (replace(good, cpu=0.95), "used 95% of a core"),
        (replace(good, lateness=late), "100.0% of requests were sent more than 1 ms late"),
        (replace(found(rate=5000.0), qps=2000.0), "5,000 requests per second were planned, 2,000 were sent"),
        (replace(good, unsent=5), "5 requests were due and never sent"),
        (replace(good, connections_held=5), "10 connections were planned, 5 were open"),
        (replace(good, sent=good.sent + 1), "the counts do not add up: 2,001 sent, but 2,000 answered"),
        (found(100), "100 responses are few"),
        (replace(good, statuses={302: 2000}), "every response is a redirect (302)"),
    ):
        (line,) = with_warnings(bad).warnings
        assert expected in line
    (line,) = with_warnings(good, shared=0.5).warnings
    assert "on the same core in 50% of all samples" in line
    assert with_warnings(good, missing=("process 1 was killed",)).warnings == ("process 1 was killed",)


def test_a_ramp_lowers_the_planned_rate() -> None:
    assert with_warnings(replace(found(rate=4000.0, ramp=1.0), qps=2000.0)).warnings == ()


def test_json_loses_nothing() -> None:
    one = with_warnings(replace(found(), errors={"reset": 1}))
    again = Result.from_json(one.to_json())
    for name in ("response", "service", "lateness", "wrong"):
        assert getattr(again, name).counts == getattr(one, name).counts
    assert (
        replace(again, **{name: getattr(one, name) for name in ("response", "service", "lateness", "wrong", "plan")})
        == one
    )
    assert again.plan["url"] == "http://127.0.0.1/"
