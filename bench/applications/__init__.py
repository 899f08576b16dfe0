"""Ten applications under this server, uvicorn and gunicorn, used as users do, also at HUP, --reload and TERM.

Each application is small and of one framework. Its clients are those that its users have: httpx, websockets, Chromium,
gradio_client, python-socketio, mcp. All of them are installed from PyPI into an environment of their own
(.venv/applications). With --points: the points in which servers differ and apps notice, a small app for each.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.applications import life, points
from bench.applications.packages import python as applications_python
from bench.applications.served import Served
from bench.applications.table import APPLICATIONS, CONTENDERS, HERE, Application, Contender
from bench.support import harness
from bench.support.pages import write

CHECKS: dict[str, Callable[[Application, Contender, Path], list[str]]] = {
    "HUP": life.hup,
    "--reload": life.reload,
    "TERM": life.term,
}
USE = "use"

RESULTS = HERE / "results.json"
"""The results that docs/frameworks.md shows. "before": of allcomers at commit da1b64d, when these were first run."""

Results = dict[str, dict[str, dict[str, Any]]]
"""By application, server and check: {"done": int, "faults": [str]}."""

HEADS = {"before": "allcomers before", "allcomers": "allcomers", "uvicorn": "uvicorn 0.54", "gunicorn": "gunicorn 27"}
"""The columns of the tables."""


class Cell(NamedTuple):
    """The result of one check: how many things were done, and the faults."""

    done: int
    faults: list[str]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apps", default="", metavar="LIST", help="applications, by name")
    parser.add_argument("--servers", default="", metavar="LIST", help="servers: allcomers, uvicorn, gunicorn")
    parser.add_argument(
        "--points", action="store_true", help="the points in which servers differ, not the applications"
    )
    parser.add_argument("--checks", default="", metavar="LIST", help=f"checks: {', '.join([USE, *CHECKS])}")
    parser.add_argument(
        "--write", action="store_true", help="keep the results, and put the table into docs/frameworks.md"
    )


def run(arguments: argparse.Namespace) -> None:
    names = [one.name for one in CONTENDERS if chosen(one.name, arguments.servers)]
    python = applications_python()
    name = "points" if arguments.points else "applications"
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = points.results(python, names) if arguments.points else measured(arguments, python, names)
    for title, row in found.items():
        for server, result in row.items():
            known[name].setdefault(title, {}).setdefault(server, {}).update(result)
    shown = (points.table if arguments.points else table)(known[name], HEADS)
    print(shown)
    if arguments.write:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        write(name, shown)


def measured(arguments: argparse.Namespace, python: Path, names: list[str]) -> Results:
    results: Results = {}
    columns = [name for name in (USE, *CHECKS) if chosen(name, arguments.checks)]
    for app in APPLICATIONS:
        for contender in CONTENDERS:
            if not (chosen(app.name, arguments.apps) and contender.name in names and contender.serves(app)):
                continue
            found = {column: cell(column, app, contender, python)._asdict() for column in columns}
            results.setdefault(app.title, {})[contender.name] = found
            print(f"{app.name} under {contender.name}: {summary(found)}", file=sys.stderr, flush=True)
    return results


def chosen(name: str, names: str) -> bool:
    return not names or name in names.split(",")


def cell(column: str, app: Application, contender: Contender, python: Path) -> Cell:
    try:
        if column == USE:
            return use(app, contender, python)
        return Cell(1, CHECKS[column](app, contender, python))
    except harness.CannotMeasureError as error:
        return Cell(1, [str(error)])


def use(app: Application, contender: Contender, python: Path) -> Cell:
    """Use the app as its users do."""
    served = Served(app, contender, python)
    try:
        done = subprocess.run(
            [str(python), str(HERE / "clients"), app.name, served.url],
            cwd=served.folder,
            env=served.env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
        if not checks:
            raise harness.CannotMeasureError(f"the client printed nothing: {done.stderr[-300:]}")
        return Cell(len(checks), [f"{one['check']}: {one['error']}" for one in checks if one["error"]])
    finally:
        served.stop()


# ---------------------------------------------------------------- the table


def summary(found: dict[str, dict[str, Any]]) -> str:
    """Return "ok, N of N", or which of the checks failed."""
    if not found:
        return ""
    done = found.get(USE, {}).get("done", 0)
    failed = []
    for name, one in found.items():
        if one["faults"]:
            failed.append(f"{done - len(one['faults'])} of {done}" if name == USE else f"{name} fails")
    return "; ".join(failed) if failed else f"ok ({done})" if done else "ok"


def table(results: Results, heads: dict[str, str]) -> str:
    """Return a table of Markdown, a row for each application; below it, each fault but those of before."""
    lines = [f"| application | {' | '.join(heads.values())} |", "| --- |" + " --- |" * len(heads)]
    faults = []
    for title, row in results.items():
        lines.append(f"| {title} | {' | '.join(summary(row.get(name, {})) for name in heads)} |")
        for name in heads:
            for column, one in row.get(name, {}).items() if name != "before" else ():
                faults += [f"- {title} under {name}, {column}: `{fault}`" for fault in one["faults"]]
    return "\n".join([*lines, "", *faults])
