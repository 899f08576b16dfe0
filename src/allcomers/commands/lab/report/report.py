"""From the journal to the report: the place where analysis, verdict and pages come together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allcomers.commands.lab.analysis import analysis, results, verdict
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.results import Results
from allcomers.commands.lab.analysis.standing import Verdict
from allcomers.commands.lab.data.plan import Probe
from allcomers.commands.lab.report import page, plots, terminal


def analyse(
    trials: Sequence[Trial],
    probe: Probe,
    goal: str,
    *,
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
        is_race=is_race,
    )


def write(found: Results, folder: Path) -> list[Path]:
    """Write results.json, report.html, its plots and, with a recommendation, allcomers.toml; return the files to look
    at."""
    results.save(found, folder)
    results.write(folder / "report.html", page.page(found))
    (folder / "plots").mkdir(exist_ok=True)
    for name, svg in page.pictures(found).items():
        results.write(folder / "plots" / f"{name}.svg", plots.alone(svg))
    written = [folder / "report.html", folder / "results.json"]
    if found.verdict.chosen:
        results.save_toml(found, found.verdict.chosen, folder)
        written.append(folder / "allcomers.toml")
    return written


def show(found: Results, written: Sequence[Path]) -> None:
    """Show the results on standard output."""
    terminal.show(found)
    print("\n" + "\n".join(map(str, written)))
