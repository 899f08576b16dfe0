"""The rounds: all workloads, each in shuffled order, the servers within it too.

A server starts afresh for each measurement, is checked and warmed up, and is measured once the machine is quiet; the
floor of the workload is measured within the same minute.
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

from bench.comparison import loads, peers
from bench.comparison.check import check
from bench.comparison.workloads import Workload
from bench.endurance import idle
from bench.support import harness, processes
from bench.support.harness import CannotMeasureError, Disturbance, Launch, Server
from bench.support.installing import PLACE

WARM = 0.2  # seconds of checks, which warm up
TRIES = 2  # failures in a row until a server is left out
LONGEST = 160  # characters of a line of a reason
OPENING = 60.0  # seconds for 10,000 connections to be accepted and answered once

Sample = dict[str, Any]


@dataclass(slots=True)
class Measured:
    """The figures of one workload.

    samples   of each server, in the order of the rounds; each names its `round`
    failures  of each server that failed: the last reason, and the number of failures since the last success
    """

    workload: Workload
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, tuple[str, int]] = field(default_factory=dict)

    def takes_part(self) -> list[str]:
        return [name for name in self.workload.servers if self.failures.get(name, ("", 0))[1] < TRIES]

    def failed(self, name: str, error: Exception, times: int = 1) -> None:
        reason = brief(error)
        self.failures[name] = reason, self.failures.get(name, ("", 0))[1] + times
        harness.warn(f"{self.workload.name}: {name}: {reason}")


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


def rounds(every: list[Measured], count: int, seconds: float, disturbance: Disturbance, until: float) -> Iterator[int]:
    """Measure, and yield the number of each round before it starts. Nothing starts after `until`."""
    for number in range(count):
        yield number
        for measured in random.sample(every, len(every)):
            taking_part = measured.takes_part()
            for name in random.sample(taking_part, len(taking_part)):
                if time.monotonic() > until:
                    return
                one(measured, name, number, seconds, disturbance)


def one(measured: Measured, name: str, number: int, seconds: float, disturbance: Disturbance) -> None:
    try:
        launch = peers.launch(name, measured.workload)
        act = partial(measure, measured.workload, launch, seconds, disturbance)
        sample = disturbance.undisturbed(act)
    except (CannotMeasureError, OSError, subprocess.SubprocessError) as error:
        measured.failed(name, error)
        return
    if name in measured.failures:
        measured.failures[name] = measured.failures[name][0], 0
    measured.samples.setdefault(name, []).append({"round": number, **sample})


def measure(workload: Workload, launch: Launch, seconds: float, disturbance: Disturbance) -> Sample:
    """Measure one server once: start, check, warm up, load, end."""
    with harness.serving(launch) as server:
        check(workload, server.address, WARM)
        if workload.load == "held":
            return held(server, seconds, disturbance)
        disturbance.wait_for_quiet()
        memory: list[int] = []
        look = threading.Timer(seconds * 0.75, lambda: memory.append(anonymous_kib(server.pid)))
        look.start()
        try:
            sample = charged(server, disturbance, partial(loads.closed, workload, server.address, seconds))
        finally:
            look.cancel()
            look.join()
        return {**sample, "memory_kib": max(memory, default=0)}


def held(server: Server, seconds: float, disturbance: Disturbance) -> Sample:
    """Hold 10,000 connections beside those that warm up: what each costs while idle, then what their bursts cost."""
    sockets = idle.hold(server.address, idle.WARM_UP)
    try:
        base = anonymous_kib(server.pid)
        until = time.monotonic() + OPENING
        while len(sockets) < idle.WARM_UP + loads.HELD:
            sockets += idle.hold(server.address, loads.HELD // 10)
            if time.monotonic() > until:
                raise CannotMeasureError(f"had let in {len(sockets):,} of {loads.HELD:,} after {OPENING:g} s")
        each = (anonymous_kib(server.pid) - base) * 1.024 / loads.HELD
        disturbance.wait_for_quiet()
        sample = charged(server, disturbance, partial(loads.bursts, sockets, seconds))
        return {**sample, "memory_kib": anonymous_kib(server.pid), "kb_each": each}
    finally:
        for sock in sockets:
            sock.close()


def charged(server: Server, disturbance: Disturbance, load: partial[dict[str, Any]]) -> Sample:
    """Return the load's figures, and the CPU of the server's tree over that time.

    micros     CPU per request, µs
    busy       cores that the server used; load_busy: the load; others: all other processes
    """
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
