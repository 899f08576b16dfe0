"""Every server on every workload, as a ratio to a floor in C: what `make bench` runs.

Each round goes through all workloads, and through the servers of each, in shuffled order: start, check the response,
warm up, measure, end. The server's process tree has one core and the load another. `workloads.py` is the table of the
participants. Figures are saved in bench/out/comparison.json, and `python -m bench page` makes the page of them.
Ctrl-C ends all processes and shows what was measured until then.

Where others use the machine too, each measurement waits for a quiet moment and is repeated if it was disturbed
(--patience seconds in total).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.comparison import page, report, rounds
from bench.comparison.rounds import Measured
from bench.comparison.workloads import QUICK, WORKLOADS, Workload
from bench.support import harness, installing
from bench.support.harness import OUT, CannotMeasureError, Disturbance

QUICK_ROUNDS, QUICK_SECONDS, QUICK_PATIENCE, QUICK_MOST = 3, 1.0, 10.0, 165.0
ROUNDS, SECONDS, PATIENCE = 7, 2.0, 600.0
AROUND = 1.4  # seconds beside those that are measured: start, check, warm-up, end


def options(parser: argparse.ArgumentParser) -> None:
    every = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--quick", action="store_true", help="only the hot path, in less than three minutes")
    parser.add_argument("--workloads", type=harness.names, metavar="NAME,...", help=f"workloads: {every}")
    parser.add_argument(
        "--servers", type=harness.names, metavar="PART,...", help="servers whose names contain one of these"
    )
    parser.add_argument("--rounds", type=int, help=f"number of rounds ({ROUNDS}; quick: {QUICK_ROUNDS})")
    parser.add_argument(
        "--seconds", type=float, help=f"seconds of each measurement ({SECONDS:g}; quick: {QUICK_SECONDS:g})"
    )
    parser.add_argument("--patience", type=float, help=f"seconds to wait for a quiet machine ({PATIENCE:g}; quick: 10)")
    parser.add_argument("--reinstall", action="store_true", help="rebuild the peers' environments")


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    harness.pin(harness.LOAD_CORE)
    harness.raise_descriptor_limit()
    if args.reinstall:
        installing.forget()
    count = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    patience = args.patience if args.patience is not None else (QUICK_PATIENCE if args.quick else PATIENCE)
    every = rounds.prepared(chosen(args))
    if shutil.which("wrk") is None:
        raise CannotMeasureError("wrk is needed to make the load (Debian: apt-get install wrk)")
    announce(every, count, seconds)
    until = max(started + QUICK_MOST, time.monotonic() + 60) if args.quick else float("inf")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure(every, count, seconds, Disturbance(patience), until)
    except KeyboardInterrupt:
        harness.warn("stopped: these are the figures until now")
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        shutil.rmtree(OUT / f"nginx-{os.getpid()}", ignore_errors=True)
        report_all(every, seconds, whole=not (args.quick or args.workloads or args.servers))


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
    """Return the floor, and those servers whose names contain one of the parts."""
    rest = workload.servers[1:]
    return (workload.servers[0], *(name for name in rest if any(part in name for part in parts)))


def announce(every: list[Measured], count: int, seconds: float) -> None:
    each = sum(len(measured.takes_part()) for measured in every)
    minutes = each * count * (seconds + AROUND) / 60
    print(
        f"{len(every)} workloads, {each} measurements a round, {count} rounds: about {minutes:.0f} minutes", flush=True
    )
    if siblings():
        harness.warn("the server's core and the load's are threads of one core: they disturb each other")


def measure(every: list[Measured], count: int, seconds: float, disturbance: Disturbance, until: float) -> None:
    for number in rounds.rounds(every, count, seconds, disturbance, until):
        print(f"round {number + 1} of {count}", flush=True)


def report_all(every: list[Measured], seconds: float, whole: bool) -> None:
    """Show and save the figures; make the page of a complete run."""
    saved = {**harness.surroundings(), **circumstances(), "seconds": seconds, "figures": figures(every)}
    path = page.SAVED if whole else page.SAVED.with_name("comparison-part.json")
    path.write_text(json.dumps(saved, indent=1) + "\n")
    report.show(saved)
    print(f"\nsaved {path.relative_to(harness.ROOT)}")
    if whole:
        page.publish(saved)


def figures(every: list[Measured]) -> dict[str, Any]:
    return {
        measured.workload.name: {
            "title": measured.workload.title,
            "shows": measured.workload.shows,
            "samples": {name: measured.samples[name] for name in measured.workload.servers if name in measured.samples},
            "failed": {name: reason for name, (reason, _) in measured.failures.items()},
        }
        for measured in every
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
