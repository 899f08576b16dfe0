"""The benchmarks' own figures: an interval that holds what it should, reports read aright, floors that answer."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench.comparison import loads, page, peers, performance, report, rounds
from bench.comparison.journal import Journal
from bench.comparison.workloads import QUICK, WORKLOADS, Workload
from bench.request import guard, instructions
from bench.support import estimates, harness
from bench.support.harness import CannotMeasureError, Launch

from support.harness import free_port, wait_for

BY_NAME = {workload.name: workload for workload in WORKLOADS}
FLOORED = [workload for workload in WORKLOADS if workload.baseline == "floor"]


def check(workload: Workload, address: harness.Address) -> None:
    loads.LOADS[workload.load].check(workload, address, 0)


# Statistics ----------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    ratio = estimates.ratio([(20.0, 10.0), (30.0, 10.0), (800.0, 10.0)])
    assert ratio.median == pytest.approx(3.0)
    assert ratio.rounds == 3
    assert ratio.low == pytest.approx(2.0)
    assert ratio.high == pytest.approx(80.0)


def test_without_spread_the_interval_is_a_point() -> None:
    assert estimates.ratio([(13.0, 10.0)] * 5) == pytest.approx((1.3, 1.3, 1.3, 5))
    assert math.isnan(estimates.ratio([]).median)


def test_the_same_rounds_give_the_same_interval() -> None:
    values = (0.1, 0.4, 0.2, 0.9)
    first = estimates.interval(values)
    estimates.interval.cache_clear()
    assert estimates.interval(values) == first


def test_the_interval_agrees_with_theory_where_that_is_known() -> None:
    """Of normal values the median has a standard error of 1.2533 / √n: of 200, an interval that is 0.347 wide."""
    draw = random.Random(7)
    widths = []
    for seed in range(20):
        low, high = estimates.interval(tuple(draw.gauss(5.0, 1.0) for _ in range(200)), seed)
        widths.append(high - low)
    assert statistics.fmean(widths) == pytest.approx(0.347, rel=0.15)


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
@pytest.mark.parametrize("workload", FLOORED, ids=[each.name for each in FLOORED])
def test_each_floor_answers_what_its_workload_expects(workload: Workload) -> None:
    if workload.tls and not (Path("/usr/include/openssl/ssl.h").exists() and shutil.which("openssl")):
        pytest.skip("needs OpenSSL and its headers")
    peers.prepare()
    with harness.serving(peers.launch("floor", workload), core=None) as server:
        check(workload, server.address)


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
                check(workload, server.address)


def test_nobody_there_is_told() -> None:
    address = ("127.0.0.1", free_port())
    with pytest.raises(CannotMeasureError, match="does not answer: ConnectionRefusedError"):
        check(BY_NAME["text"], address)


@pytest.mark.parametrize("name", ["sse-10", "websocket", "broadcast"])
def test_clients_in_python_are_answered(name: str) -> None:
    workload = BY_NAME[name]
    load = loads.LOADS[workload.load]
    assert isinstance(load.hold, partial)
    with harness.serving(peers.launch("allcomers asgi stdlib", workload), core=None) as server:
        check(workload, server.address)
        with load.hold.func(4, *load.hold.args[1:], server) as held:
            wait_for(lambda: load.drive(workload, server, held, 0.2)["requests"], "answers")


# Who takes part ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", WORKLOADS, ids=BY_NAME)
def test_everybody_in_the_table_is_known(workload: Workload) -> None:
    ours = {"allcomers", "floor", "nginx"}
    assert workload.load in loads.LOADS
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


def record(number: int, servers: dict[str, float], others: float = 0.0, workload: str = "text") -> dict[str, Any]:
    """Return a round in which the servers cost so many µs."""
    samples = {name: sample(number, micros, others) for name, micros in servers.items()}
    return {"workload": workload, "round": number, "samples": samples, "failed": {}}


def test_a_round_is_of_those_whose_figures_are_not_narrow() -> None:
    measured = rounds.Measured(replace(BY_NAME["text"], servers=("floor", "nginx", "bjoern", "granian wsgi")))
    for number in range(rounds.LEAST):
        assert measured.due() == ["floor", "nginx", "bjoern", "granian wsgi"]
        measured.add(record(number, {"floor": 10, "nginx": 11, "bjoern": 11 + 2 * number, "granian wsgi": 50 + number}))
    assert measured.due() == ["floor", "bjoern"]
    while measured.due():
        measured.add(record(measured.rounds, {"floor": 10, "bjoern": 13}))
    assert rounds.LEAST < measured.rounds <= rounds.MOST


def test_a_figure_that_stays_wide_has_an_end() -> None:
    measured = rounds.Measured(replace(BY_NAME["text"], servers=("floor", "nginx")))
    while measured.due():
        measured.add(record(measured.rounds, {"floor": 10, "nginx": 10.0 * (1 + measured.rounds)}))
    assert measured.rounds == rounds.MOST


def test_disturbed_rounds_count_only_where_few_others_are_left() -> None:
    quiet, loud = [(sample(at, 20.0), sample(at, 10.0)) for at in range(3)], (sample(3, 90.0, 0.9), sample(3, 10.0))
    ours, floor = zip(*quiet, loud, strict=True)
    assert report.ratio(list(ours), list(floor))[:2] == (2.0, 2.0)
    assert report.ratio(list(ours[1:]), list(floor[1:])).high == 9.0
    assert report.row("x", list(ours), list(floor)).micros == 20.0


def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    about = {"commit": "abc", "python": "3.13.0", "cpu": "a CPU", "seconds": 1.0}
    journal = Journal(tmp_path)
    journal.begin(about)
    journal.add("round", record(0, {"floor": 10.0}))
    with journal.path.open("a") as file:
        file.write('{"round": {"workload": "te')
    again = Journal(tmp_path)
    again.begin(about)
    again.add("round", record(1, {"floor": 11.0}))
    assert [each["round"] for each in Journal(tmp_path).of("round")] == [0, 1]
    assert len(Journal(tmp_path).of("run")) == 2
    with pytest.raises(CannotMeasureError, match="figures of commit abc, now abd: name another --out"):
        Journal(tmp_path).begin({**about, "commit": "abd"})


def test_figures_are_those_of_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add("round", record(0, {"floor": 10.0, "nginx": 12.0}))
    journal.add("round", record(0, {"floor": 10.0}, workload="echo"))
    journal.add("instructions", {"way": "web", "steps": [["wrk's head", 7000.0]]})
    for number in (1, 2):
        journal.add("round", {**record(number, {"floor": 10.0}), "failed": {"bjoern": "did not start"}})
    measured = [rounds.Measured(BY_NAME["text"])]
    performance.resume(measured, journal)
    found = performance.figures(journal, measured)
    assert set(found["figures"]) == set(BY_NAME)
    assert [row.name for row in report.rows(found["figures"]["text"])] == ["floor", "nginx"]
    assert [row.name for row in report.rows(found["figures"]["echo"])] == ["floor"]
    assert found["figures"]["text"]["failed"] == {"bjoern": "did not start"}
    assert "bjoern" in measured[0].due()  # it may try again
    assert found["instructions"] == {"web": [["wrk's head", 7000.0]]}


def sample(number: int, micros: float, others: float = 0.05) -> dict[str, Any]:
    times = {"p50": 1.0, "p99": 2.0, "max": 3.0}
    load = {"requests": 1000, "seconds": 1.0, "errors": 0, "memory_kib": 2000, "busy": 0.95, "load_busy": 0.5}
    return {"round": number, "micros": micros, "others": others, **times, **load}


def saved(count: int = 5, others: float = 0.05) -> dict[str, Any]:
    def figures(workload: Workload) -> dict[str, Any]:
        servers = {workload.baseline: 10.0, "allcomers wsgi": 12.0, "granian wsgi": 30.0, "nginx": 14.0}
        samples = {name: [sample(n, micros + n, others) for n in range(count)] for name, micros in servers.items()}
        kind = {"title": workload.title, "shows": workload.shows, "of": workload.of, "baseline": workload.baseline}
        return {**kind, "samples": samples, "failed": {"bjoern": "cannot be installed"}}

    about = {"command": "python -m bench", "when": "2026-01-02T03:04:05", "commit": "abc", "python": "3.13.0"}
    machine = {"kernel": "6.1", "cpu": "a CPU", "cores": 2, "siblings": False, "allcomers": "allcomers 1"}
    return {
        "runs": [{**about, **machine, "seconds": 1.0, "versions": {"gunicorn": "1"}}],
        "figures": {workload.name: figures(workload) for workload in WORKLOADS},
        "instructions": {"web": [["wrk's head", 7000.0]]},
    }


def test_only_whole_figures_of_a_quiet_machine_are_published() -> None:
    assert page.unfit(saved()) == ""
    assert "not quiet" in page.unfit(saved(others=0.9))
    assert "instructions" in page.unfit({**saved(), "instructions": {}})
    part = saved()
    part["runs"][0]["commit"] = "abc-dirty"
    assert "not committed" in page.unfit(part)
    assert "fewer than 3 rounds of text" in page.unfit(saved(count=2))
    part = saved()
    del part["figures"]["echo"]
    assert page.unfit(part) == "fewer than 3 rounds of echo"


def test_the_page_tells_all(tmp_path: Path) -> None:
    page.write(json.loads(json.dumps(saved())), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert text.startswith("# Performance\n")
    assert "`python -m bench`" in text
    assert "others used 0.05 cores at the median" in text
    assert "bjoern is left out: cannot be installed" in text
    assert "| allcomers wsgi |" in text
    assert "| web | wrk's head | 7,000 |" in text
    for workload in WORKLOADS:
        picture = tmp_path / "images" / "performance" / f"{workload.name}.svg"
        assert f"](images/performance/{workload.name}.svg)" in text
        root = ElementTree.parse(picture).getroot()
        shown = "".join(root.itertext())
        assert "granian wsgi" in shown
        assert "prefers-color-scheme: dark" in shown


def test_a_row_says_what_limits_it() -> None:
    floors = [sample(0, 10.0)]
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


# The command ---------------------------------------------------------------------------------------------


def test_an_unknown_workload_is_one_line() -> None:
    command = [sys.executable, "-m", "bench", "--workloads", "txet", "--minutes", "0"]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("bench performance: no workload is called txet: there are text, browser, ")


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
