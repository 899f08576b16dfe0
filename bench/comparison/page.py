"""docs/performance.md and its plots from saved figures: `python -m bench page`.

They are written into docs only if the figures are complete, of a commit, and were measured on a quiet machine: all
workloads, five rounds or more, and others that used less than 0.2 cores. A draft is always written below bench/out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench.comparison import plot, report
from bench.comparison.report import Row, digits
from bench.comparison.workloads import WORKLOADS
from bench.support.harness import NOISE, OUT, ROOT, CannotMeasureError

SAVED = OUT / "comparison.json"
ENOUGH = 5  # rounds
DOCS = ROOT / "docs"
COLUMNS = ("server", "CPU µs/request", "× floor", "95 %", "requests/s", "p50 ms", "p99 ms", "memory MB", "limited by")
PEERS = (
    *("gunicorn", "gevent", "uvicorn", "uvloop", "httptools", "granian", "hypercorn", "waitress", "cheroot"),
    *("bjoern", "fastwsgi", "socketify", "starlette"),
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--saved", type=Path, default=SAVED, help="saved figures")


def run(args: argparse.Namespace) -> None:
    try:
        saved = json.loads(args.saved.read_text())
    except (OSError, ValueError) as error:
        raise CannotMeasureError(f"no figures to make the page from: {error}; run `make bench` first") from error
    publish(saved)


def publish(saved: dict[str, Any]) -> None:
    """Write the draft, and the page itself if the figures are fit for it; print a line with the result and the
    reasons."""
    write(saved, OUT)
    print(f"a draft of the page: {(OUT / 'performance.md').relative_to(ROOT)}")
    if objection := unfit(saved):
        print(f"docs/performance.md is not written: {objection}")
        return
    write(saved, DOCS)
    print("docs/performance.md and docs/images/performance are written")


def unfit(saved: dict[str, Any]) -> str:
    """Return why these figures are not for the public; empty if they are."""
    others = report.disturbed(saved)
    missing = [workload.name for workload in WORKLOADS if not report.rows(saved["figures"].get(workload.name, EMPTY))]
    if missing:
        return f"not all was measured: {', '.join(missing)}"
    if saved["commit"].endswith("-dirty"):
        return "what was measured is not committed, so nobody can measure it again"
    if least_rounds(saved) < ENOUGH:
        return f"fewer than {ENOUGH} rounds"
    if not others < NOISE:
        return f"the machine was not quiet, others used {others:.2f} cores at the median; less than {NOISE:g} is needed"
    return ""


def least_rounds(saved: dict[str, Any]) -> int:
    """Return how often the workload with the fewest measurements of its floor was measured."""
    return min(len(figures["samples"].get("floor", ())) for figures in saved["figures"].values())


EMPTY: dict[str, Any] = {"samples": {}, "shows": "ratio"}


def write(saved: dict[str, Any], place: Path) -> None:
    images = place / "images" / "performance"
    images.mkdir(parents=True, exist_ok=True)
    for name, figures in saved["figures"].items():
        if found := report.rows(figures):
            (images / f"{name}.svg").write_text(picture(figures, found))
    (place / "performance.md").write_text(text(saved))


def picture(figures: dict[str, Any], found: list[Row]) -> str:
    if figures["shows"] == "rate":
        points = [plot.Point(r.name, r.rate, *r.rates, f"{r.rate:,.0f}", r.ours) for r in found if not r.floor]
        return plot.svg(figures["title"], "requests/s, median and range, more is better", points)
    points = [plot.Point(r.name, *r.ratio[:3], f"{digits(r.ratio.mean)} ×", r.ours) for r in found if r.name != "floor"]
    return plot.svg(figures["title"], "CPU per request × floor in C, 95 %, less is better", points, line=1.0)


def text(saved: dict[str, Any]) -> str:
    sections = [section(name, figures) for name, figures in saved["figures"].items() if report.rows(figures)]
    return "\n\n".join([INTRODUCTION.strip(), circumstances(saved), summary(saved), *sections]) + "\n"


INTRODUCTION = """
# Performance

What a request costs, beside other servers: `make bench` installs the servers below in an environment of their own,
measures them in turn with allcomers, and writes this page.

One core serves, another makes the load. Each figure stands as a ratio to a server in C that does as little as can be
done for the workload (`bench/floor`), measured in the same round: absolute figures mean nothing on another machine.
**CPU per request** is user and system time of the server's whole process tree, divided by the requests that it
answered. `× floor` is the geometric mean over the rounds, and `95 %` its confidence interval (bootstrap over the
rounds). The other columns are medians. Where the load is the limit (wrk has one core, and some servers are cheaper than
wrk), or all wait for something, requests/s shows nothing of the server, and the CPU figure stands all the same. Memory
is the private memory of the tree (Pss_Anon). gunicorn's sync workers close each connection, keep-alive or not; servers
that gather the pieces of a streamed response can be below the floor, which sends each by itself.
"""


def circumstances(saved: dict[str, Any]) -> str:
    versions = saved["versions"]
    program_versions = ", ".join(
        f"{name} {versions[name]}" for name in (*PEERS, "nginx", "wrk", "h2load") if name in versions
    )
    return "\n".join(
        [
            "## How these figures were taken",
            "",
            f"- `{saved['command']}`, {saved['when'][:10]}, commit {saved['commit']}; {least_rounds(saved)} rounds of "
            f"{saved['seconds']:g} s each, 64 connections where nothing else is said",
            f"- {saved['cpu']}, {saved['cores']} cores{siblings(saved)}; Linux {saved['kernel']}, "
            f"CPython {saved['python']}; {saved['allcomers']}",
            f"- while it was measured, others used {report.disturbed(saved):.2f} cores at the median "
            f"({saved['load average'][0]:.1f} load average at the end, the load's own core in it)",
            f"- {program_versions}",
        ]
    )


def siblings(saved: dict[str, Any]) -> str:
    return ", the server's and the load's are threads of one core" if saved["siblings"] else ""


def summary(saved: dict[str, Any]) -> str:
    """Return a line for each workload: the cheapest way of allcomers, nginx, and the cheapest other Python server."""
    head = "| workload | allcomers | nginx | best other Python server |\n| --- | --- | --- | --- |"
    lines = []
    for name, figures in saved["figures"].items():
        found = report.rows(figures)
        ours = next((row for row in found if row.ours), None)
        nginx = next((row for row in found if row.name == "nginx"), None)
        other = next((row for row in found if not row.ours and not row.floor and row.name != "nginx"), None)
        shown = [short(row, figures["shows"], named=row is not nginx) for row in (ours, nginx, other)]
        if found:
            lines.append(f"| [{figures['title']}](#{name}) | {' | '.join(shown)} |")
    return "\n".join(
        ["## In short", "", "CPU per request × floor, or requests/s where that is the point.", "", head, *lines]
    )


def short(row: Row | None, shows: str, named: bool) -> str:
    if row is None:
        return "–"
    figure = f"{row.rate:,.0f} /s" if shows == "rate" else f"{digits(row.ratio.mean)} ×"
    return f"{figure} ({row.name.removeprefix('allcomers ')})" if named else figure


def section(name: str, figures: dict[str, Any]) -> str:
    head = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"
    places = [report.HEAD.index(column) for column in COLUMNS]
    lines = [f"| {' | '.join(report.cells(row)[place] for place in places)} |" for row in report.rows(figures)]
    out = [f"- {line}" for line in report.failed(figures)]
    errors = [f"- {row.name}: {row.errors} errors" for row in report.rows(figures) if row.errors]
    title = figures["title"]
    parts = [f"## {name}", title[0].upper() + title[1:] + ".", f"![{title}](images/performance/{name}.svg)"]
    return "\n\n".join([*parts, "\n".join([head, *lines]), *(["\n".join(out + errors)] if out + errors else [])])
