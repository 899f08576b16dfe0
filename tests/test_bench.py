"""The benchmarks' own figures: an interval that holds what it should, reports read aright, floors that answer."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench.comparison import check, loads, page, peers, plot, report, rounds
from bench.comparison.workloads import QUICK, WORKLOADS, Workload
from bench.request import guard, instructions
from bench.support import estimates, harness
from bench.support.harness import CannotMeasureError, Launch

from support.harness import free_port

BY_NAME = {workload.name: workload for workload in WORKLOADS}


# Statistics ----------------------------------------------------------------------------------------------


def test_a_ratio_is_the_geometric_mean_of_the_rounds() -> None:
    ratio = estimates.ratio([(20.0, 10.0), (80.0, 10.0)])
    assert ratio.mean == pytest.approx(4.0)
    assert ratio.rounds == 2
    assert ratio.low == pytest.approx(2.0)
    assert ratio.high == pytest.approx(8.0)


def test_without_spread_the_interval_is_a_point() -> None:
    assert estimates.ratio([(13.0, 10.0)] * 5) == pytest.approx((1.3, 1.3, 1.3, 5))
    assert math.isnan(estimates.ratio([]).mean)


def test_the_same_rounds_give_the_same_interval() -> None:
    values = (0.1, 0.4, 0.2, 0.9)
    first = estimates.interval(values)
    estimates.interval.cache_clear()
    assert estimates.interval(values) == first


def test_the_interval_agrees_with_theory_where_that_is_known() -> None:
    """Of 200 normal values the mean has a 95 % interval of 1.96 standard errors: here 0.139 to each side."""
    draw = random.Random(7)
    values = tuple(draw.gauss(5.0, 1.0) for _ in range(200))
    low, high = estimates.interval(values)
    mean = sum(values) / 200
    assert mean - low == pytest.approx(0.139, rel=0.15)
    assert high - mean == pytest.approx(0.139, rel=0.15)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(1)
    held = 0
    for number in range(60):
        low, high = estimates.interval(tuple(draw.gauss(0.0, 1.0) for _ in range(20)), seed=number)
        held += low <= 0.0 <= high
    assert 50 <= held <= 60


def test_what_all_rounds_share_is_not_in_the_ratio() -> None:
    """A round that is slow for all, floor and server alike, is as good as any."""
    assert estimates.ratio([(20, 10), (40, 20), (200, 100)]) == pytest.approx((2.0, 2.0, 2.0, 3))


# What loads print ----------------------------------------------------------------------------------------

H2LOAD = """\
starting benchmark...
Application protocol: http/1.1

finished in 2.01s, 173528.00 req/s, 24.00MB/s
requests: 347056 total, 347072 started, 347056 done, 347050 succeeded, 6 failed, 4 errored, 1 timeout
status codes: 347050 2xx, 0 3xx, 2 4xx, 0 5xx
traffic: 47.99MB (50323120) total, 43.69MB (45811936) headers (space savings 0.00%), 5.86MB (6139744) data
                     min         max         mean         sd        +/- sd
time for request:      458us     21.31ms      5.93ms      3.79ms    67.06%
"""


def test_h2load_s_report() -> None:
    told = loads.h2load_report(H2LOAD)
    assert told == {"requests": 347050, "seconds": pytest.approx(2.0, rel=1e-3), "errors": 7}


def test_h2load_s_report_when_nobody_answered() -> None:
    nothing = H2LOAD.replace("2.01s, 173528.00", "888us, 0.00").replace("347056 done, 347050", "0 done, 0")
    assert loads.h2load_report(nothing)["requests"] == 0
    with pytest.raises(CannotMeasureError, match="cannot be read"):
        loads.h2load_report("starting benchmark...\n")


def test_h2load_s_log() -> None:
    log = "".join(f"1795490942072265\t200\t{micros}\n" for micros in range(1000, 101_000, 1000))
    assert loads.h2load_times(log + "1795490942072265\t-1\t9\n") == {
        "p50": 50.0,
        "p90": 90.0,
        "p99": 99.0,
        "max": 100.0,
    }


needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@needs_cc
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_wrk_s_report() -> None:
    with harness.serving(harness.hello("floor"), core=None) as server:
        told = harness.wrk(server.address, 1, connections=4)
    assert told["requests"] > 100
    assert told["errors"] == 0
    assert 0 < told["p50"] <= told["p99"] <= told["max"]
    assert told["seconds"] == pytest.approx(1, abs=0.5)


@needs_cc
def test_the_echo_load_tells_times() -> None:
    launch = Launch(peers.floor(BY_NAME["echo"]))
    with harness.serving(launch, core=None) as server:
        told = harness.echo_load(server.address, 0.2, connections=4)
    assert told["requests"] > 10
    assert told["errors"] == 0
    assert 0 < told["p50"] <= told["p99"] <= told["max"] < 200


# Floors, and the check of answers ------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("workload", WORKLOADS, ids=BY_NAME)
def test_each_floor_answers_what_its_workload_expects(workload: Workload) -> None:
    if workload.tls and not (Path("/usr/include/openssl/ssl.h").exists() and shutil.which("openssl")):
        pytest.skip("needs OpenSSL and its headers")
    peers.prepare()
    with harness.serving(peers.launch("floor", workload), core=None) as server:
        check.check(workload, server.address, 0)


@needs_cc
def test_a_wrong_answer_is_told() -> None:
    with harness.serving(harness.hello("floor"), core=None) as server:
        wrong = replace(BY_NAME["text"], expected=b"Hello, Moon!!")
        for workload, reason in (
            (wrong, "not the expected body"),
            (BY_NAME["stream"], "not the expected body"),
            (replace(wrong, expected=b"Hello, World!", chunked=True), "does not answer in chunks"),
            (BY_NAME["connections"], "keeps a connection"),
            (replace(BY_NAME["pipelined"], expected=b"no"), "answers 200"),
        ):
            with pytest.raises(CannotMeasureError, match=reason):
                check.check(workload, server.address, 0)


def test_nobody_there_is_told() -> None:
    address = ("127.0.0.1", free_port())
    with pytest.raises(CannotMeasureError, match="does not answer: ConnectionRefusedError"):
        check.check(BY_NAME["text"], address, 0)


# Who takes part ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", WORKLOADS, ids=BY_NAME)
def test_everybody_in_the_table_is_known(workload: Workload) -> None:
    ours = {"allcomers", "floor", "nginx"}
    assert workload.servers[0] == "floor"
    assert len(set(workload.servers)) == len(workload.servers)
    assert {name for name in workload.servers if name.split()[0] not in ours} <= set(peers.PEERS)
    assert set(QUICK.get(workload.name, ())) <= set(workload.servers)


def test_a_server_that_fails_twice_in_a_row_is_left_out() -> None:
    measured = rounds.Measured(replace(BY_NAME["text"], servers=("floor", "bjoern")))
    measured.failed("bjoern", CannotMeasureError("did not start: bjoern (exit 1)\nlong\nwhy"))
    assert measured.takes_part() == ["floor", "bjoern"]
    measured.failed("bjoern", CannotMeasureError("did not start: bjoern (exit 1)\nlong\nwhy"))
    assert measured.takes_part() == ["floor"]
    assert measured.failures["bjoern"][0] == "did not start … why"


# The page ------------------------------------------------------------------------------------------------


def sample(number: int, micros: float, others: float = 0.05) -> dict[str, Any]:
    times = {"p50": 1.0, "p99": 2.0, "max": 3.0}
    load = {"requests": 1000, "seconds": 1.0, "errors": 0, "memory_kib": 2000, "busy": 0.95, "load_busy": 0.5}
    return {"round": number, "micros": micros, "others": others, **times, **load}


def saved(count: int = 5, others: float = 0.05) -> dict[str, Any]:
    def figures(workload: Workload) -> dict[str, Any]:
        servers = {"floor": 10.0, "allcomers wsgi": 12.0, "granian wsgi": 30.0, "nginx": 14.0}
        samples = {name: [sample(n, micros + n, others) for n in range(count)] for name, micros in servers.items()}
        failed = {"bjoern": "cannot be installed"}
        return {"title": workload.title, "shows": workload.shows, "samples": samples, "failed": failed}

    about = {"command": "python -m bench", "when": "2026-01-02T03:04:05", "commit": "abc", "python": "3.13.0"}
    machine = {"kernel": "6.1", "cpu": "a CPU", "cores": 2, "load average": [1.0, 1.0, 1.0], "siblings": False}
    machine["allcomers"] = "allcomers 1"
    every = {workload.name: figures(workload) for workload in WORKLOADS}
    return {**about, **machine, "seconds": 2.0, "versions": {"gunicorn": "1"}, "figures": every}


def test_only_whole_figures_of_a_quiet_machine_are_published() -> None:
    assert page.unfit(saved()) == ""
    assert "not quiet" in page.unfit(saved(others=0.9))
    assert "not committed" in page.unfit({**saved(), "commit": "abc-dirty"})
    assert "rounds" in page.unfit(saved(count=2))
    part = saved()
    del part["figures"]["echo"]
    assert page.unfit(part) == "not all was measured: echo"


def test_the_page_tells_all(tmp_path: Path) -> None:
    page.write(json.loads(json.dumps(saved())), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "`python -m bench`" in text
    assert "others used 0.05 cores" in text
    assert "bjoern is left out: cannot be installed" in text
    assert "| allcomers wsgi |" in text
    for workload in WORKLOADS:
        picture = tmp_path / "images" / "performance" / f"{workload.name}.svg"
        assert f"](images/performance/{workload.name}.svg)" in text
        root = ElementTree.parse(picture).getroot()
        shown = "".join(root.itertext())
        assert "granian wsgi" in shown
        assert "prefers-color-scheme: dark" in shown


def test_a_row_says_what_limits_it() -> None:
    floors = {0: 10.0}
    for changes, limit in (
        ({}, "server"),
        ({"busy": 0.4, "load_busy": 0.97}, "load"),
        ({"busy": 0.1, "others": 0.8}, "others"),
        ({"busy": 0.1}, "waiting"),
    ):
        assert report.row("x", [{**sample(0, 20.0), **changes}], floors).limited_by == limit


def test_digits() -> None:
    written = {1234.5: "1,234", 13.24: "13.2", 1.3456: "1.35", 0.0123: "0.01", 0: "0", math.nan: "-"}
    assert {value: report.digits(value) for value in written} == written


def test_a_plot_escapes_its_text() -> None:
    drawn = plot.svg("<&>", "x", [plot.Point("a<b", 2.0, 1.0, 3.0, "2 ×", ours=True)], line=1.0)
    assert "".join(ElementTree.fromstring(drawn).itertext()).count("a<b") == 1


# The command ---------------------------------------------------------------------------------------------


def test_an_unknown_workload_is_one_line() -> None:
    command = [sys.executable, "-m", "bench", "--workloads", "txet"]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("bench comparison: no workload is called txet: there are text, browser, ")


# The guard of instructions --------------------------------------------------------------------------------


def guarded(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    counts: dict[str, float],
    *,
    record: bool = False,
    where: str = "here",
) -> None:
    """Run the guard where the ways of `counts` cost so many instructions."""
    monkeypatch.setattr(guard, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(guard, "counted", lambda kind: [("a step", counts[kind])])
    monkeypatch.setattr(guard, "surroundings", lambda: {"python": where})
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    guard.run(Namespace(record=record, kinds=list(counts)))


def test_the_guard_allows_two_percent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded(monkeypatch, tmp_path, {"web": 1000, "wsgi": 1000}, record=True)
    guarded(monkeypatch, tmp_path, {"web": 1020, "wsgi": 900})
    with pytest.raises(SystemExit) as ended:
        guarded(monkeypatch, tmp_path, {"web": 1021, "wsgi": 1000})
    assert ended.value.code == 1
    assert "more than 2% above what was recorded: web: a step" in capsys.readouterr().out


def test_the_guard_compares_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded(monkeypatch, tmp_path, {"web": 1000}, record=True)
    guarded(monkeypatch, tmp_path, {"web": 2000}, where="there")
    assert "nothing is compared: the figures were recorded with here" in capsys.readouterr().out


def test_the_guard_records_some_ways_beside_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guarded(monkeypatch, tmp_path, {"web": 1000, "wsgi": 1000}, record=True)
    guarded(monkeypatch, tmp_path, {"wsgi": 2000}, record=True)
    guarded(monkeypatch, tmp_path, {"web": 1000, "wsgi": 2000})


def test_the_guard_counts_eight_ways_that_are_recorded() -> None:
    recorded = json.loads(guard.RECORDED.read_text())
    assert set(recorded["figures"]) == set(guard.KINDS) <= set(instructions.KINDS)
    assert len(guard.KINDS) == 8
