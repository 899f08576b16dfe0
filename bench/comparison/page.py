"""docs/performance.md and its plots from the figures of a comparison.

The figures stand in the page between two comments; what is around them is written by hand. They are put there only if
they are complete, of a commit, and were measured on a quiet machine. A draft is always written beside the journal.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allcomers.server.charts import chart as charts
from allcomers.server.charts.chart import Axis, Rows
from allcomers.server.charts.picture import picture
from bench.comparison import report
from bench.comparison.report import Row, digits
from bench.comparison.workloads import WORKLOADS
from bench.support import harness, pages
from bench.support.harness import NOISE, ROOT

ENOUGH = 3  # rounds
DOCS = ROOT / "docs"
NAME = "performance"
OURS, OTHERS = 0, 7  # colours
COLUMNS = ("server", "CPU µs", "× baseline", "95 %", "per second", "p50 ms", "p99 ms", "memory MB", "limited by")
PEERS = (
    *("gunicorn", "gevent", "uvicorn", "uvloop", "httptools", "granian", "hypercorn", "waitress", "cheroot"),
    *("bjoern", "fastwsgi", "socketify", "starlette", "nginx", "wrk", "h2load"),
)
EMPTY: dict[str, Any] = {"samples": {}, "shows": "ratio", "baseline": "floor"}

Saved = dict[str, Any]
"""The figures: `runs`, circumstances of each; `figures` of each workload; `instructions` of each way."""


def publish(saved: Saved, place: Path) -> None:
    """Write the draft into `place`, and the page itself if the figures are fit for it; say why if not."""
    write(saved, place)
    print(f"a draft of the page: {place / 'performance.md'}")
    if objection := unfit(saved):
        print(f"docs/performance.md is not written: {objection}")
        return
    write(saved, DOCS)
    print("docs/performance.md and docs/images/performance are written")


def unfit(saved: Saved) -> str:
    """Return why these figures are not for the public; empty if they are."""
    few = [each.name for each in WORKLOADS if rounds_of(saved["figures"].get(each.name, EMPTY)) < ENOUGH]
    if few:
        return f"fewer than {ENOUGH} rounds of {', '.join(few)}"
    if not saved["instructions"]:
        return "instructions were not counted"
    if saved["runs"][0]["commit"].endswith("-dirty"):
        return "what was measured is not committed, so nobody can measure it again"
    others = harness.percentile(report.disturbances(saved), 50)
    if not others < NOISE:
        return f"the machine was not quiet, others used {others:.2f} cores at the median; less than {NOISE:g} is needed"
    return ""


def rounds_of(figures: dict[str, Any]) -> int:
    """Return how often its baseline was measured, and so each server but those that failed or are narrow."""
    return len(figures["samples"].get(figures["baseline"], ()))


def write(saved: Saved, place: Path) -> None:
    images = place / "images" / "performance"
    images.mkdir(parents=True, exist_ok=True)
    for name, figures in saved["figures"].items():
        if found := report.rows(figures):
            (images / f"{name}.svg").write_text(drawn(figures, found))
    path = place / "performance.md"
    if place != DOCS:
        shutil.copy(DOCS / path.name, path)
    pages.write(NAME, text(saved), path)


def drawn(figures: dict[str, Any], found: list[Row]) -> str:
    """Return the plot of a workload: a row for each server, ours in colour."""
    if figures["shows"] == "rate":
        axis = Axis(title=f"{figures['of']}/s, median and range, more is better", unit="rate", log=True)
        rows = [bar(row, row.rate, row.rates, f"{row.rate:,.0f}") for row in found if not row.floor]
        return picture(Rows(title=figures["title"], axis=axis, rows=rows))
    baseline = figures["baseline"]
    axis = Axis(title=f"CPU × {baseline}, 95 %, less is better", unit="times", log=True)
    rows = [
        bar(row, row.ratio[0], row.ratio[1:3], f"{digits(row.ratio.median)} ×") for row in found if row.name != baseline
    ]
    return picture(Rows(title=figures["title"], axis=axis, rows=rows, mark=1.0))


def bar(row: Row, value: float, ends: Sequence[float], label: str) -> charts.Row:
    return charts.Row(
        name=row.name, colour=OURS if row.ours else OTHERS, value=value, low=ends[0], high=ends[1], label=label
    )


def text(saved: Saved) -> str:
    sections = [section(name, figures) for name, figures in saved["figures"].items() if report.rows(figures)]
    return "\n\n".join([circumstances(saved), summary(saved), *sections, *instructions(saved)])


def circumstances(saved: Saved) -> str:
    first, last = saved["runs"][0], saved["runs"][-1]
    commands = ", ".join(dict.fromkeys(f"`{run['command']}`" for run in saved["runs"]))
    days = " to ".join(dict.fromkeys((first["when"][:10], last["when"][:10])))
    least = min(map(rounds_of, saved["figures"].values()), default=0)
    others = report.disturbances(saved)
    siblings = ", the server's and the load's are threads of one core" if last["siblings"] else ""
    versions = ", ".join(f"{name} {last['versions'][name]}" for name in PEERS if name in last["versions"])
    return "\n".join(
        [
            "## How these figures were taken",
            "",
            f"- {commands}, {days}, commit {first['commit']}; {least} rounds or more, of {first['seconds']:g} s each",
            f"- {last['cpu']}, {last['cores']} cores{siblings}; Linux {last['kernel']}, CPython {last['python']}; "
            f"{last['allcomers']}",
            f"- while it was measured, others used {harness.percentile(others, 50):.2f} cores at the median, "
            f"{harness.percentile(others, 90):.2f} in the worst tenth of {len(others):,} measurements",
            f"- {versions}",
        ]
    )


def summary(saved: Saved) -> str:
    """Return a line for each workload: the cheapest way of allcomers, nginx, and the cheapest other Python server."""
    head = "| workload | allcomers | nginx | best other Python server |\n| --- | --- | --- | --- |"
    lines = []
    for name, figures in saved["figures"].items():
        found = report.rows(figures)
        if not found:
            continue
        lines.append(f"| [{figures['title']}](#{name}) | {' | '.join(shown(found, figures['shows']))} |")
        held = sorted((row for row in found if row.kb_each == row.kb_each), key=lambda row: row.kb_each)
        if held:
            lines.append(f"| [memory of an idle connection](#{name}) | {' | '.join(shown(held, 'memory'))} |")
    what = "CPU for each request, event or message × the baseline, or what it shows."
    return "\n".join(["## In short", "", what, "", head, *lines])


def shown(found: list[Row], shows: str) -> list[str]:
    ours = next((row for row in found if row.ours), None)
    nginx = next((row for row in found if row.name == "nginx"), None)
    other = next((row for row in found if not row.ours and not row.floor and row.name != "nginx"), None)
    return [short(row, shows, named=row is not nginx) for row in (ours, nginx, other)]


def short(row: Row | None, shows: str, named: bool) -> str:
    if row is None:
        return "–"
    figure = {
        "rate": f"{row.rate:,.0f} /s",
        "ratio": f"{digits(row.ratio.median)} ×",
        "memory": f"{digits(row.kb_each)} KB",
    }[shows]
    return f"{figure} ({row.name.removeprefix('allcomers ')})" if named else figure


def section(name: str, figures: dict[str, Any]) -> str:
    places = [report.HEAD.index(column) for column in COLUMNS]
    names = [column.replace("baseline", figures["baseline"]) for column in COLUMNS]
    head = f"| {' | '.join(names)} |\n|{' --- |' * len(COLUMNS)}"
    found = report.rows(figures)
    lines = [f"| {' | '.join(report.cells(row)[place] for place in places)} |" for row in found]
    notes = [f"- {line}" for line in report.failed(figures)]
    notes += [f"- {row.name}: {row.errors} errors" for row in found if row.errors]
    title = figures["title"]
    parts = [f"## {name}", title[0].upper() + title[1:] + ".", f"![{title}](images/performance/{name}.svg)"]
    return "\n\n".join([*parts, "\n".join([head, *lines]), *(["\n".join(notes)] if notes else [])])


def instructions(saved: Saved) -> list[str]:
    """Return the table of instructions, if they were counted."""
    if not saved["instructions"]:
        return []
    lines = [
        f"| {way} | {step} | {count:,.0f} |" for way, steps in saved["instructions"].items() for step, count in steps
    ]
    about = (
        "Of allcomers alone, in user space, counted by callgrind: the same on a busy machine "
        "(`python -m bench instructions` says what each is)."
    )
    return [
        "\n\n".join(
            ["## instructions", about, "\n".join(["| way | step | instructions |", "| --- | --- | --- |", *lines])]
        )
    ]
