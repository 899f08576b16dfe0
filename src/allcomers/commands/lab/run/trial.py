"""One trial: start the server anew, warm it up, load it step by step, end it. It survives a server that dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import nan
from typing import Final

from allcomers.commands.lab.analysis.figures import Step, Trial
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.run import usage
from allcomers.commands.lab.run.load_process import LoadFailedError, LoadRunner
from allcomers.commands.lab.run.server import Server, ServerFailedError, ServerSettings, running_server

WARM_UP: Final = 0.4
"""Seconds."""

WARM_CLIENTS: Final = 16

FOREVER: Final = 1 << 30
"""Patience without end."""

_BETTER: Final = 1.1
"""Multiple of the best rate so far: a server that gains so much with more clients may gain more with yet more."""

_SETTLE: Final = 0.05
"""Seconds for the server to notice that the clients have gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load: so many clients, for so many seconds, so many requests/s (0: a closed loop)."""

    clients: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The resources that all trials share. `report` receives the current activity, in a few words."""

    server_settings: ServerSettings
    runner: LoadRunner
    report: Callable[[str], object] = lambda activity: None


def run(
    setup: Setup, stage: str, number: int, candidate: Candidate, loads: Iterable[Load], *, patience: int = 2
) -> Trial:
    """Run a trial. Whatever happens to the server, return a Trial: with the steps until then, and with the reason.

    patience  steps in a row that miss the goal and gain nothing, after which more clients are not tried
    """
    start = time.monotonic()
    trial = Trial(stage=stage, number=number, candidate=candidate)
    steps: list[Step] = []
    server: Server | None = None
    try:
        with running_server(setup.server_settings, candidate) as server:
            _warm_up(setup, server)
            trial = replace(trial, start=server.start, memory=usage.size(server.pid).memory)
            _climb(setup, server, candidate, loads, steps, patience)
    except (ServerFailedError, LoadFailedError) as error:
        trial = replace(trial, failure=str(error))
    return replace(
        trial, steps=tuple(steps), switches=_switches(server, steps), took=round(time.monotonic() - start, 3)
    )


def _warm_up(setup: Setup, server: Server) -> None:
    setup.runner.run(server.scheme, server.address, clients=WARM_CLIENTS, seconds=WARM_UP)
    server.check()


def _climb(
    setup: Setup, server: Server, candidate: Candidate, loads: Iterable[Load], steps: list[Step], patience: int
) -> None:
    """Add clients until the goal is missed and nothing is gained, `patience` times in a row, for one may be bad
    luck."""
    worse = 0
    for load in loads:
        setup.report(f"{candidate.name}: {_describe(load)}")
        steps.append(measure(setup, server, load))
        server.check()
        best = max((step.tps for step in steps[:-1]), default=0.0)
        worse = 0 if steps[-1].met or steps[-1].tps > _BETTER * best else worse + 1
        if worse == patience and not load.rate:
            return


def _describe(load: Load) -> str:
    clients = f"{load.clients:,} client" + ("s" if load.clients > 1 else "")
    return f"{load.rate:,.0f} requests/s" if load.rate else clients


def measure(setup: Setup, server: Server, load: Load) -> Step:
    """Run one load, and measure what the server uses under it. Raises LoadFailedError."""
    cores = setup.server_settings.cores | setup.runner.cores
    before, busy, start = usage.cpu(server.pid), usage.busy(cores), time.monotonic()
    sizes: list[usage.Size] = []
    step, load_cpu = setup.runner.run(
        server.scheme,
        server.address,
        clients=load.clients,
        seconds=load.seconds,
        rate=load.rate,
        midway=lambda: sizes.append(usage.size(server.pid)),
    )
    time.sleep(_SETTLE)
    took, used = time.monotonic() - start, usage.cpu(server.pid) - before
    size = sizes[0] if sizes else usage.Size()
    return replace(
        step,
        cpu=used / step.answered if step.answered else nan,
        busy=used / step.seconds if step.seconds else 0.0,  # not of `took`, which includes the start of the load
        others=max(0.0, usage.busy(cores) - busy - used - load_cpu) / took,
        memory=size.memory,
        threads=size.threads,
        processes=size.processes,
    )


def _switches(server: Server | None, steps: list[Step]) -> float:
    answered = sum(step.answered for step in steps)
    spent = server.child.spent if server else None
    return spent.switches / answered if spent and answered else nan
