"""Two results of one load: what changed, within which interval, and the gate that comes of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random

import pytest

from allcomers.commands.load import command
from allcomers.commands.load.data import slo
from allcomers.commands.load.data.comparison import Judgement, compare
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import SENT, Record
from allcomers.commands.load.data.result import Result, summarize
from allcomers.commands.load.data.verdict import Verdict
from allcomers.commands.load.report import comparing, figures, markdown
from allcomers.errors import ConfigError
from support.harness import ROOT, serving


def result(seconds: int = 20, rate: int = 200, mean: float = 0.01, spread: float = 0.2, seed: int = 1) -> Result:
    """Return so many seconds with about so many responses each, of about this time, as the seed has them."""
    draw, record = Random(seed), Record()
    for _ in range(10):
        record.opened()
    for _ in range(seconds):
        for _ in range(round(draw.gauss(rate, 0.02 * rate))):
            record.counters[SENT] += 1
            record.recorder.answered(0, 0, int(1e9 * mean * draw.lognormvariate(0, spread)), 200)
        record.end_interval(1.0)
    return summarize(Plan.make(url="http://127.0.0.1/", seconds=float(seconds)), record, False)


def judgements(base: Result, new: Result, tolerance: float = 0.05) -> dict[str, Judgement]:
    found = compare("base.json", base, new, tolerance)
    for change in found.changes:
        assert not change.low > change.change  # nan where there is none
        assert not change.high < change.change
    return {change.name: change.judgement for change in found.changes}


def test_the_same_load_twice_makes_no_difference() -> None:
    alike = dict.fromkeys(("tps", "p50", "p90", "p99", "errors"), Judgement.ALIKE)
    assert judgements(result(), result(seed=2)) == alike
    assert compare("base.json", result(), result(seed=2), 0.05).met


def test_what_got_slower_is_worse_and_what_got_faster_better() -> None:
    slower, faster = result(rate=160, mean=0.012, seed=2), result(rate=240, mean=0.008, seed=2)
    assert set(list(judgements(result(), slower).values())[:3]) == {Judgement.WORSE}
    assert set(list(judgements(result(), faster).values())[:3]) == {Judgement.BETTER}
    assert judgements(result(), slower, tolerance=0.5)["p50"] is Judgement.ALIKE
    base, new = compare("b", result(), slower, 0.05).changes[1], compare("b", slower, result(), 0.05).changes[1]
    assert base.change == pytest.approx(0.2, abs=0.03)
    assert base.low < 0.2 < base.high
    assert (1 + base.change) * (1 + new.change) == pytest.approx(1)


def test_an_interval_holds_the_true_change_mostly() -> None:
    """Check how often the 95 % intervals of TPS and p50 have the true change: none. The seeds are fixed."""
    held = 0
    for seed in range(10):
        found = compare("b", result(20, 30, seed=seed), result(20, 30, seed=1000 + seed), 0.0)
        held += sum(change.low <= 0 <= change.high for change in found.changes[:2])
    assert held >= 16, held


def test_what_may_be_chance_is_no_failure() -> None:
    """p99 of some 60 responses a second moves by more than the tolerance, within an interval that has 0."""
    base = result(6, 10, spread=1.0)
    moved = [compare("b", base, result(6, 10, spread=1.0, seed=seed), 0.05).changes[3] for seed in range(2, 12)]
    beyond = [change for change in moved if abs(change.change) > 0.05]
    assert beyond
    assert any(change.judgement is Judgement.ALIKE for change in beyond)


def test_errors_are_compared_as_shares() -> None:
    some = replace(result(), errors={"status": 40})
    assert judgements(result(), some)["errors"] is Judgement.WORSE
    assert judgements(some, result())["errors"] is Judgement.BETTER
    assert judgements(result(), replace(result(), errors={"status": 3}))["errors"] is Judgement.ALIKE


def test_a_result_that_is_too_short_is_never_met() -> None:
    found = compare("base.json", result(), result(3), 0.05)
    assert not found.met
    assert found.changes[0].judgement is Judgement.UNCLEAR
    assert comparing.sections(found)[0].title == "Against base.json: too short to tell"


def test_what_differs_between_the_plans_is_told() -> None:
    base = result()
    new = replace(result(), plan={**base.plan, "clients": 64, "seconds": 5.0, "targets": ()})
    again = Result.from_json(base.to_json())
    assert compare("base.json", again, new, 0.05).differences == ("clients: 10 before, 64 now",)


# ---------------------------------------------------------------- reports


def test_the_verdict_comes_first() -> None:
    verdict = Verdict(result(), slo.parse("p99<1s,tps>1000"), compare("base.json", result(), result(mean=0.02), 0.05))
    assert not verdict.met
    first = json.loads(result().to_json(verdict.as_dict()))
    assert next(iter(first)) == "verdict"
    assert [term["met"] for term in first["verdict"]["slo"]] == [True, False]
    assert {change["judgement"] for change in first["verdict"]["comparison"]["changes"]} == {"worse", "no difference"}
    assert figures.sections(verdict.result, verdict.terms)[0].title == "Service level"
    out = StringIO()
    markdown.write(verdict, out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "### ❌ allcomers load"
    assert lines.index("| ❌ tps\\>1000 | 200 | missed |") < lines.index("<details><summary>All figures</summary>")
    row = re.compile(r"\| ❌ p50 \| \\\+1?[09]\d\.\d % \| [\d.]+ ms → [\d.]+ ms; 95 %: ")
    assert any(map(row.match, lines)), lines


def test_markdown_has_nothing_of_the_users_unescaped() -> None:
    plain = result()
    hostile = replace(plain, plan={**plain.plan, "url": "http://127.0.0.1/<b>|`x`\n# [a](b)"}, errors={"x: <i>|": 1})
    out = StringIO()
    markdown.write(Verdict(hostile), out)
    text = re.sub(r"\\.", "", out.getvalue())  # what is escaped
    assert not re.search(r"<b>|<i>|`|\[|^# ", text, re.MULTILINE)
    assert out.getvalue().startswith("### allcomers load\n")


def test_percentiles_over_time_are_in_the_table_and_in_json() -> None:
    (course,) = (section for section in figures.sections(result()) if section.title == "Over time")
    assert [row.name for row in course.rows] == ["p50", "p90", "p99"]
    assert {len(row.note) for row in course.rows} == {20}
    interval = json.loads(result().to_json())["intervals"][0]
    assert 0.008 < interval["p50"] < interval["p90"] < interval["p99"]
    assert not [section for section in figures.sections(result(1)) if section.title == "Over time"]


# ---------------------------------------------------------------- the command


def load(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "allcomers", "load", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_a_load_that_is_worse_than_its_base_ends_with_4(tmp_path: Path) -> None:
    base, summary, page = tmp_path / "base.json", tmp_path / "summary.md", tmp_path / "page.html"
    base.write_text(result(6, 500, mean=1e-6).to_json())  # 1 µs: nothing is as fast
    with serving("run", "tests/support/apps/served.py:Hello", "--access-log", "off") as server:
        url = f"http://127.0.0.1:{server.address[1]}/"
        outputs = ("--markdown", str(summary), "--html", str(page))
        done = load(url, "-n", "200", "-r", "40", "--compare", str(base), "--tolerance", "10%", *outputs)
    assert (done.returncode, done.stderr) == (4, "")
    assert re.search(r"^Against .*base.json: TPS, p50, p90, p99 worse \(tolerance 10 %\)$", done.stdout, re.MULTILINE)
    assert "rate: 0.0 before, 40.0 now" in done.stdout
    assert done.stdout.index("Against") < done.stdout.index("Rates")
    assert summary.read_text().startswith("### ❌ allcomers load")
    assert "p99 worse" in page.read_text()


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, (), "No such file or directory"),
        ("[]", (), "is no --json of allcomers load"),
        ('{"verdict": 1}', (), "is no --json of allcomers load"),
        (result(3, 10).to_json(), (), "3.0 s of responses; 5 s are needed"),
        (result(6, 10).to_json(), ("-d", "2s"), "--compare needs 5 s at least"),
    ],
)
def test_a_base_that_is_none_is_told_before_the_load(
    content: str | None, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    base = tmp_path / "base.json"
    if content is not None:
        base.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(words)):
        command.main(["http://127.0.0.1:1/", "--compare", str(base), *arguments])
