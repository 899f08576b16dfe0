"""Two results compared: candidates that are known to be faster, slower or alike."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from allcomers.commands.lab.analysis import recorded, results
from allcomers.commands.lab.analysis.comparison import Change, Comparison, compare
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.report import comparison
from support.measured import EPOLL, ITERATIVE, PLACE, POOL, THREAD, judged, ladder, pooled, step


def trials(factor: float = 1.0, **fields: float) -> list[Trial]:
    """Return a lab of four: two loops, one of which `factor` makes faster, threads, and one that had a look alone."""
    look = Trial(stage="screen", number=0, candidate=ITERATIVE, steps=(step(64, 90),))
    return [
        *ladder(EPOLL, pooled(1000), noise=0.01, seed=int(10 * factor), **fields),
        *ladder(POOL, pooled(2000 * factor), noise=0.01, seed=2),
        *ladder(THREAD, pooled(1500 / factor), noise=0.01, seed=3),
        look,
    ]


def written(folder: Path, given: list[Trial], **place: object) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(results.as_json(replace(judged(given), place={**PLACE, **place})))
    return folder


def compared(a: Path, b: Path) -> Comparison:
    return compare(recorded.read(a), recorded.read(b))


def test_what_is_faster_slower_and_alike(tmp_path: Path) -> None:
    found = compared(written(tmp_path / "a", trials()), written(tmp_path / "b", trials(1.2), cpu="another"))
    changes = {pair.candidate: pair.change for pair in found.pairs}
    assert changes == {
        EPOLL: Change.ALIKE, POOL: Change.FASTER, THREAD: Change.SLOWER, ITERATIVE: Change.UNKNOWN,
    }  # fmt: skip
    faster = next(pair for pair in found.pairs if pair.candidate == POOL)
    assert faster.tps.value == pytest.approx(1.2, rel=0.03)
    assert faster.tps.low <= 1.2 <= faster.tps.high
    assert found.sentence.startswith("Both recommend epoll + pool of 64: B has 1.2")
    assert (
        "Of 3 candidates that both had in rounds: 1 faster in B, 1 not seen to differ, 1 slower in B" in found.sentence
    )
    assert found.cautions == ("They differ in the CPU: a core and another.",)


def test_a_lab_is_like_itself(tmp_path: Path) -> None:
    one = written(tmp_path / "a", trials())
    found = compared(one, one / "results.json")
    assert all(1.0 in pair.tps for pair in found.pairs)
    assert {pair.change for pair in found.pairs} == {Change.ALIKE, Change.UNKNOWN}
    assert found.cautions == ()


def test_what_missed_the_goal_in_one_has_no_ratio(tmp_path: Path) -> None:
    a = written(tmp_path / "a", trials())
    b = written(tmp_path / "b", [*ladder(EPOLL, pooled(1000), limit=1e-6), *ladder(POOL, pooled(2000))])
    pair = next(pair for pair in compared(a, b).pairs if pair.candidate == EPOLL)
    assert (pair.change, pair.tps.count) == (Change.MISSED, 0)
    assert comparison.cells(pair)[2:5] == ["missed", "–", "failed or missed the goal"]


def test_by_hand(tmp_path: Path) -> None:
    """Rounds of 100, 110, 105 and 200, 220, 210: twice as much, 1.82 to 2.2."""
    folders = []
    for name, rates in (("a", (100, 110, 105)), ("b", (200, 220, 210))):
        given = [Trial(stage="ladder", number=n, candidate=POOL, steps=(step(1, r),)) for n, r in enumerate(rates)]
        folders.append(written(tmp_path / name, given))
    (pair,) = compared(*folders).pairs
    assert comparison.cells(pair) == [
        "epoll + pool of 64", "105", "210", "2.00 (1.82–2.20)", "faster", "1.00 (1.00–1.00)", "28.6 ms", "14.3 ms",
    ]  # fmt: skip


def test_chance_alone_is_seldom_a_change(tmp_path: Path) -> None:
    """Labs of three rounds of the same server, whose rounds differ by 3 %."""
    draw = Random(3)
    seen = []
    place = recorded.read(written(tmp_path / "a", trials()))
    for _ in range(100):
        a, b = (
            replace(place, trials=tuple(ladder(EPOLL, pooled(1000), noise=0.03, clients=(1, 64), seed=seed)))
            for seed in (draw.randrange(1 << 30), draw.randrange(1 << 30))
        )
        seen += [pair.change for pair in compare(a, b).pairs]
    assert seen.count(Change.ALIKE) >= 85


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "allcomers", "lab", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_shows_and_writes_the_same(tmp_path: Path) -> None:
    """Into the folder of a lab, whose files stay."""
    a, b = written(tmp_path / "a", trials()), written(tmp_path / "b", trials(1.2))
    (a / "plots").mkdir()
    for name in ("allcomers.toml", "plots/tps.svg"):
        (a / name).write_text("")
    before = {path.name for path in a.rglob("*")}
    done = run("--compare", a, b, "--out", a)
    assert (done.returncode, done.stderr) == (0, "")
    kept = json.loads((a / "comparison.json").read_text())
    assert kept["sentence"] in done.stdout
    shown = {tuple(line.split("  ")[0:1]) for line in done.stdout.splitlines()}
    assert {(one["name"],) for one in kept["candidates"]} <= shown
    assert {path.name for path in a.rglob("*")} - before == set(FILES)
    assert before <= {path.name for path in a.rglob("*")}
    found = io.StringIO()
    comparison.show(compared(a, b), found)
    assert found.getvalue() in done.stdout


FILES = ("comparison.html", "comparison.json")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--compare", "a"), "expected 2 arguments"),
        (("app:app", "--compare", "a", "b"), "measures nothing: without app:app"),
        (("--compare", "nowhere", "b"), "nowhere: No such file or directory"),
        (("--compare", "{}", "{}"), "results.json: No such file or directory"),
        (("--compare", "{}/wrong", "{}/wrong"), "wrong has no results of this version's `allcomers lab`"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    (tmp_path / "wrong").write_text('{"verdict": []}')
    done = run(*(word.format(tmp_path) for word in words), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
