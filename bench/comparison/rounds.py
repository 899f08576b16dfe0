"""The rounds: of each workload in turn, one that has had few before one that has had many.

A round measures its servers in shuffled order, the baseline among them: within the same minute, so that what the
machine does meanwhile is in both. A server starts afresh for each measurement, is checked and warmed up. One whose
figure is narrow enough sits out the rounds that are left: a busy machine needs more rounds than a quiet one.
"""

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.comparison import peers, report
from bench.comparison.loads import LOADS
from bench.comparison.workloads import Workload
from bench.support import harness, processes
from bench.support.harness import CannotMeasureError, Disturbance, Launch, Server
from bench.support.installing import PLACE

WARM = 0.2  # seconds of checks, which warm up
TRIES = 2  # failures in a row until a server is left out
LONGEST = 160  # characters of a line of a reason
LEAST, MOST = 3, 12  # rounds
NARROW, WIDE = 1.1, 1.4  # the high end of an interval, divided by the low one: of the best servers, of those far behind
BEHIND = 2.5  # times the best of all that is far behind

Sample = dict[str, Any]


@dataclass(slots=True)
class Measured:
    """The figures of one workload.

    samples   of each server, in the order of the rounds; each names its `round`
    failures  of each server that failed: the last reason, and the number of failures since the last success
    rounds    how many there were
    """

    workload: Workload
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, tuple[str, int]] = field(default_factory=dict)
    rounds: int = 0

    def takes_part(self) -> list[str]:
        return [name for name in self.workload.servers if self.failures.get(name, ("", 0))[1] < TRIES]

    def failed(self, name: str, error: Exception, times: int = 1) -> None:
        reason = brief(error)
        self.failures[name] = reason, self.failures.get(name, ("", 0))[1] + times
        harness.warn(f"{self.workload.name}: {name}: {reason}")

    def due(self) -> list[str]:
        """Return the servers of the next round, the baseline among them; [] if no figure needs one."""
        names = self.takes_part()
        baseline, others = self.workload.baseline, [name for name in names if name != self.workload.baseline]
        if baseline not in names or self.rounds >= MOST:
            return []
        ratios = {name: report.ratio(self.samples.get(name, []), self.samples.get(baseline, [])) for name in others}
        far = BEHIND * min((ratio.median for ratio in ratios.values() if ratio.rounds), default=0.0)
        wanting = [
            name
            for name, ratio in ratios.items()
            if ratio.rounds < LEAST or ratio.high / ratio.low > (WIDE if ratio.median > far else NARROW)
        ]
        return [baseline, *wanting] if wanting else []

    def add(self, record: dict[str, Any]) -> None:
        """Add a round, as round() has returned it."""
        self.rounds += 1
        for name, sample in record["samples"].items():
            self.samples.setdefault(name, []).append({"round": record["round"], **sample})
            if name in self.failures:
                self.failures[name] = self.failures[name][0], 0
        for name, reason in record["failed"].items():
            self.failures[name] = reason, self.failures.get(name, ("", 0))[1] + 1


def brief(error: Exception) -> str:
    """Return one line: the error, without the command that it happened to, and its last line of output."""
    lines = str(error).splitlines() or [type(error).__name__]
    what = re.sub(r"^(did not start): .*", r"\1", lines[0]).partition(f": {sys.prefix}")[0].partition(f": {PLACE}")[0]
    return " … ".join(line.strip()[:LONGEST] for line in dict.fromkeys((what, lines[-1])))


def prepared(workloads: list[Workload]) -> list[Measured]:
    """Install and compile all that the servers need; report and leave out a server that is not available."""
    peers.prepare()
    every = [Measured(workload) for workload in workloads]
    for measured in every:
        for name in measured.workload.servers:
            try:
                peers.launch(name, measured.workload)
            except CannotMeasureError as error:
                measured.failed(name, error, times=TRIES)
    return every


def rounds(every: list[Measured], seconds: float, until: float) -> Iterator[dict[str, Any]]:
    """Measure round after round until all figures are narrow; yield each. None starts after `until` (monotonic)."""
    while time.monotonic() < until:
        wanting = [measured for measured in every if measured.due()]
        if not wanting:
            return
        fewest = min(measured.rounds for measured in wanting)
        measured = random.choice([measured for measured in wanting if measured.rounds == fewest])
        record = one_round(measured, seconds)
        measured.add(record)
        yield record


def one_round(measured: Measured, seconds: float) -> dict[str, Any]:
    """Return the samples of one round, and the reasons of those that failed."""
    due = measured.due()
    samples: dict[str, Sample] = {}
    failed: dict[str, str] = {}
    for name in random.sample(due, len(due)):
        try:
            samples[name] = measure(measured.workload, peers.launch(name, measured.workload), seconds)
        except (CannotMeasureError, OSError, subprocess.SubprocessError) as error:
            failed[name] = brief(error)
            harness.warn(f"{measured.workload.name}: {name}: {failed[name]}")
    return {"workload": measured.workload.name, "round": measured.rounds, "samples": samples, "failed": failed}


def measure(workload: Workload, launch: Launch, seconds: float) -> Sample:
    """Measure one server once: start, check, warm up, load, end."""
    load = LOADS[workload.load]
    with harness.serving(launch) as server:
        load.check(workload, server.address, WARM)
        with load.hold(server) as held:
            memory: list[int] = []
            look = threading.Timer(seconds * 0.75, lambda: memory.append(anonymous_kib(server.pid)))
            look.start()
            try:
                sample = charged(server, partial(load.drive, workload, server, held, seconds))
            finally:
                look.cancel()
                look.join()
        return {**sample, **held.figures, "memory_kib": max(memory, default=0)}


def charged(server: Server, load: partial[dict[str, Any]]) -> Sample:
    """Return the load's figures, and the CPU of the server's tree over that time.

    micros     CPU per request, µs
    busy       cores that the server used; load_busy: the load; others: all other processes
    """
    disturbance = Disturbance()
    disturbance.begin()
    before, load_before, started = processes.cpu_seconds(server.pid), harness.load_seconds(), time.monotonic()
    result = load()
    took = time.monotonic() - started
    used = processes.cpu_seconds(server.pid) - before
    if not result["requests"]:
        raise CannotMeasureError(f"not one answer, {result['errors']} errors")
    return {
        **result,
        "micros": used / result["requests"] * 1e6,
        "busy": used / took,
        "load_busy": (harness.load_seconds() - load_before) / took,
        "others": disturbance.others(used),
    }


def anonymous_kib(pid: int) -> int:
    """Return processes.anonymous_kib, 0 if a process of the tree ended meanwhile."""
    try:
        return processes.anonymous_kib(pid)
    except (OSError, TypeError):
        return 0
