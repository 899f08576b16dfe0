"""All of docs/performance.md: every server on every workload, as a ratio to a floor in C; `make bench` runs it.

A round of a workload goes through its servers in shuffled order: start, check the response, warm up, measure, end. The
server's process tree has one core and the load another. Rounds go on until all figures are narrow or the time is over.
`workloads.py` is the table of the participants, `loads.py` that of the loads. The instructions of allcomers' own ways
are counted at the end.

Each finished round is written to DIR/journal.jsonl, and a further run with the same --out adds to it. At the end, or at
Ctrl-C, the page is made of all that is there: a draft in DIR, and docs/performance.md itself where the figures are fit
for it. `--minutes 0` measures nothing, and makes the page.

The machine need not be quite quiet: no measurement waits for that. Each tells how many cores others used meanwhile, and
those that were disturbed are left out where enough are left without them.
"""

import argparse
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.comparison import page, report, rounds
from bench.comparison.journal import Journal
from bench.comparison.rounds import Measured
from bench.comparison.workloads import QUICK, WORKLOADS, Workload
from bench.request import instructions
from bench.support import harness, installing
from bench.support.harness import OUT, CannotMeasureError

MINUTES, QUICK_MINUTES = 58.0, 2.5
SECONDS = 1.0
COUNTING = 0.1  # of the time is for the instructions
WAYS = [name for name in instructions.KINDS if name not in ("parts", "options")]


def options(parser: argparse.ArgumentParser) -> None:
    every = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--out", type=Path, default=OUT / "performance", metavar="DIR", help="journal and draft")
    parser.add_argument("--minutes", type=float, help=f"time of this run ({MINUTES:g}; quick: {QUICK_MINUTES:g})")
    parser.add_argument("--quick", action="store_true", help="only the hot path, in less than three minutes")
    parser.add_argument("--workloads", type=harness.names, metavar="NAME,...", help=f"workloads: {every}")
    parser.add_argument(
        "--servers", type=harness.names, metavar="PART,...", help="servers whose names contain one of these"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each measurement ({SECONDS:g})")
    parser.add_argument("--reinstall", action="store_true", help="rebuild the peers' environments")


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    if shutil.which("wrk") is None:
        raise CannotMeasureError("wrk is needed to make the load (Debian: apt-get install wrk)")
    if args.reinstall:
        installing.forget()
    whole = not (args.quick or args.workloads or args.servers)
    minutes = args.minutes if args.minutes is not None else (QUICK_MINUTES if args.quick else MINUTES)
    out = args.out if not args.quick else args.out.with_name(f"{args.out.name}-quick")
    every = rounds.prepared(chosen(args))
    journal = Journal(out)
    if minutes:
        journal.begin({**harness.surroundings(), **circumstances(), "seconds": args.seconds})
    resume(every, journal)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    until, counts = started + minutes * 60, whole and len(journal.of("instructions")) < len(WAYS)
    try:
        measure(every, journal, args.seconds, until - counts * COUNTING * minutes * 60)
        if counts:
            count(journal, until)
    except KeyboardInterrupt:
        harness.warn("stopped: these are the figures until now; the same command goes on")
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        finish(journal, every, out, whole)


def chosen(args: argparse.Namespace) -> list[Workload]:
    """Raises CannotMeasureError for an unknown name."""
    named = args.workloads or [workload.name for workload in WORKLOADS if not args.quick or workload.name in QUICK]
    known = {workload.name: workload for workload in WORKLOADS}
    if unknown := [name for name in named if name not in known]:
        raise CannotMeasureError(f"no workload is called {', '.join(unknown)}: there are {', '.join(known)}")
    found = [known[name] for name in known if name in named]
    if args.quick:
        found = [replace(each, servers=QUICK.get(each.name, each.servers)) for each in found]
    if args.servers:
        found = [replace(each, servers=wanted(each, args.servers)) for each in found]
    return [each for each in found if len(each.servers) > 1]


def wanted(workload: Workload, parts: list[str]) -> tuple[str, ...]:
    """Return the baseline, and those servers whose names contain one of the parts."""
    rest = workload.servers[1:]
    return (workload.baseline, *(name for name in rest if any(part in name for part in parts)))


def resume(every: list[Measured], journal: Journal) -> None:
    """Add the rounds that the journal has. Servers that failed then may try again."""
    by_name = {measured.workload.name: measured for measured in every}
    unavailable = {name: dict(measured.failures) for name, measured in by_name.items()}
    for record in journal.of("round"):
        if record["workload"] in by_name:
            by_name[record["workload"]].add(record)
    for name, measured in by_name.items():
        past = {server: (reason, 0) for server, (reason, _) in measured.failures.items()}
        measured.failures = past | unavailable[name]


def measure(every: list[Measured], journal: Journal, seconds: float, until: float) -> None:
    harness.pin(harness.LOAD_CORE)
    harness.raise_descriptor_limit()
    if siblings():
        harness.warn("the server's core and the load's are threads of one core: they disturb each other")
    try:
        for record in rounds.rounds(every, seconds, until):
            journal.add("round", record)
            left = max(0.0, until - time.monotonic()) / 60
            due = sum(len(measured.due()) for measured in every)
            print(
                f"{record['workload']}: round {record['round'] + 1}; {due} figures to narrow, {left:.0f} min",
                flush=True,
            )
    finally:
        harness.pin(None)
        shutil.rmtree(harness.nginx_place(), ignore_errors=True)


def count(journal: Journal, until: float) -> None:
    """Count the instructions of the ways that the journal does not have yet; none starts after `until`."""
    known = {record["way"] for record in journal.of("instructions")}
    for way in WAYS:
        if way not in known and time.monotonic() < until:
            print(f"instructions: {way}", flush=True)
            try:
                journal.add("instructions", {"way": way, "steps": instructions.counted(way)})
            except CannotMeasureError as error:
                harness.warn(f"instructions: {way}: {rounds.brief(error)}")


def finish(journal: Journal, every: list[Measured], out: Path, whole: bool) -> None:
    """Show the figures of the journal; make the page of them."""
    saved = figures(journal, every)
    report.show(saved)
    if saved["runs"]:
        page.publish(saved, out) if whole else page.write(saved, out)


def figures(journal: Journal, every: list[Measured]) -> page.Saved:
    """Return the figures of this run's workloads, and those that the journal has of others."""
    others = [Measured(each) for each in WORKLOADS if each.name not in {measured.workload.name for measured in every}]
    resume(others, journal)
    by_name = {measured.workload.name: measured for measured in (*every, *others)}
    return {
        "runs": journal.of("run"),
        "figures": {each.name: of_workload(by_name[each.name]) for each in WORKLOADS},
        "instructions": {record["way"]: record["steps"] for record in journal.of("instructions")},
    }


def of_workload(measured: Measured) -> dict[str, Any]:
    workload, samples = measured.workload, measured.samples
    return {
        "title": workload.title,
        "shows": workload.shows,
        "of": workload.of,
        "baseline": workload.baseline,
        "samples": {name: samples[name] for name in workload.servers if name in samples},
        "failed": {name: reason for name, (reason, _) in measured.failures.items()},
    }


def circumstances() -> dict[str, Any]:
    tools = {name: version for name, flag in TOOLS.items() if (version := version_of(name, flag))}
    program = harness.allcomers("run", "").command[0]
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout
    return {"allcomers": version.strip(), "versions": {**installing.versions(), **tools}, "siblings": siblings()}


TOOLS = {"nginx": "-v", "wrk": "-v", "h2load": "--version"}


def version_of(program: str, flag: str) -> str:
    """Return a program's version from its output; empty if it is not installed."""
    path = shutil.which(program) or shutil.which(f"/usr/sbin/{program}")
    if path is None:
        return ""
    done = subprocess.run([path, flag], capture_output=True, text=True, timeout=10)
    words = (done.stdout + done.stderr).replace("/", " ").split()
    return next((word for word in words if word[:1].isdigit()), "")


def siblings() -> bool:
    """Return whether both cores are threads of one (sysfs-devices-system-cpu)."""
    near = Path(f"/sys/devices/system/cpu/cpu{harness.SERVER_CORE}/topology/thread_siblings_list")
    try:
        text = near.read_text().strip()
    except OSError:
        return False
    spans = [span.partition("-") for span in text.split(",")]
    return any(int(low) <= harness.LOAD_CORE <= int(high or low) for low, _, high in spans)
