"""From the journal to the report: the place where analysis, verdict and pages come together."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from allcomers.commands.lab.analysis import analysis, results, verdict, what_if
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Verdict
from allcomers.commands.lab.data.plan import Probe, Untried
from allcomers.commands.lab.report import page, terminal, verdict_picture
from allcomers.server.charts.picture import picture


def analyse(
    trials: Sequence[Trial],
    probe: Probe,
    goal: str,
    *,
    untried: Untried,
    command: str,
    words: tuple[str, ...],
    place: dict[str, Any],
    think: float,
    is_race: bool,
) -> Results:
    """Return the results of the trials."""
    cores = len(place["server_cores"]) or 1
    standings = analysis.standings(trials, cores, think)
    others = analysis.disturbance(trials)
    if is_race:
        ranked = verdict.race_results(standings)
        judged = Verdict(chosen=None, runners_up=ranked, others=(), cautions=verdict.disturbed(others))
    else:
        judged = verdict.judge(standings, probe, goal=goal, others=others, cores=cores)
    return Results(
        command=command,
        target=words[1],
        words=words,
        goal=goal,
        place=place,
        probe=probe,
        standings=tuple(standings),
        verdict=judged,
        trials=tuple(trials),
        others=others,
        untried=untried,
        think=think,
        is_race=is_race,
    )


def write(found: Results, folder: Path) -> list[Path]:
    """Write results.json, report.html, its plots and, with a recommendation, verdict.svg and allcomers.toml; return
    the files to look at."""
    explored = what_if.explore(found)
    as_json = results.as_json(found, [one.as_dict() for one in explored])
    shown = {"report.html": page.page(found, explored), "results.json": as_json}
    if chosen := found.verdict.chosen:
        shown["verdict.svg"] = verdict_picture.svg(found, chosen)
        shown["allcomers.toml"] = results.toml(found, chosen, results.own_options(found.words))
    drawn = {f"plots/{name}.svg": picture(chart) for name, chart in page.charts(found).items()}
    swap(
        folder,
        shown | drawn,
        earlier=[folder / "allcomers.toml", folder / "verdict.svg", *(folder / "plots").glob("*.svg")],
    )
    return [folder / name for name in shown]


def swap(folder: Path, files: Mapping[str, str], earlier: Iterable[Path] = ()) -> None:
    """Write files, by their names in `folder`: all beside, then each takes its place. Those of an `earlier` report that
    have no successor go."""
    beside = folder / ".new"
    for name, text in files.items():
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        (beside / name).write_text(text, encoding="utf-8")
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (beside / name).replace(folder / name)
    shutil.rmtree(beside)
    for path in earlier:
        if str(path.relative_to(folder)) not in files:
            path.unlink(missing_ok=True)


def show(found: Results, written: Sequence[Path]) -> None:
    """Show the results on standard output."""
    terminal.show(found, sys.stdout)
    print("\n" + "\n".join(map(str, written)))
