"""The load of a step: `allcomers load` in a process of its own, on its own cores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path
from typing import Final

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.figures import PERCENTILES, Step
from allcomers.commands.lab.run.child_process import ChildProcess, wait_until
from allcomers.commands.load.data.histogram import Histogram, highest
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term

MIDWAY: Final = 0.7
"""Fraction of a load after which the server's size is measured: all clients are connected."""

_GRACE: Final = 30.0
"""Seconds that a load may take beside its duration and time-out: ten thousand connections need some."""

_POINTS: Final = 60
"""Points of the curve of response times, at most."""


class LoadFailedError(Exception):
    """The load generator delivered no figures: the reason, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRunner:
    """Runs loads.

    options  further options of `allcomers load`
    path     path to request, for HTTP
    timeout  seconds for a response
    goal     the terms that responses must meet
    think    seconds from a response to the client's next request, in a closed loop
    cores    cores that the load may use; all if empty
    folder   folder for its figures
    """

    options: tuple[str, ...]
    path: str
    timeout: float = 10.0
    goal: tuple[Term, ...] = ()
    think: float = 0.0
    cores: frozenset[int]
    folder: Path

    def run(
        self,
        scheme: str,
        address: str,
        *,
        clients: int,
        seconds: float,
        rate: float = 0.0,
        midway: Callable[[], object] = lambda: None,
    ) -> tuple[Step, float]:
        """Run one load; return its figures and its CPU time in seconds. `midway` is called while it runs.

        Raises LoadFailedError.
        """
        figures = self.folder / "load.json"
        figures.unlink(missing_ok=True)
        url = f"{scheme}://{address}{self.path if scheme.startswith('http') else ''}"
        command = self._command(url, clients, seconds, rate, figures)
        child = ChildProcess(command, cores=self.cores, output=self.folder / "load.log")
        try:
            until = time.monotonic() + seconds * MIDWAY
            wait_until(lambda: child.status is not None or time.monotonic() >= until, seconds)
            midway()
            ended = child.wait(seconds + self.timeout + _GRACE)
        finally:
            child.end(3.0)
        if not ended or not figures.exists():
            raise LoadFailedError(_why(child, ended))
        result = Result.from_json(figures.read_text())
        missed = [term for term in self.goal if not term.met(result)]
        step = replace(
            _step(result, clients, rate),
            met=not missed,
            missed=tuple(wording.shortfall(term, term.measured(result)) for term in missed),
            excess=max((_excess(term, term.measured(result)) for term in missed), default=0.0),
        )
        return step, child.spent.cpu if child.spent else 0.0

    def _command(self, url: str, clients: int, seconds: float, rate: float, figures: Path) -> list[str]:
        settings = {"-c": clients, "-d": f"{seconds:.3f}", "-t": min(max(1, len(self.cores)), clients)}
        think = f"{self.think:.3f}"  # clients that think start one after another, or all of them would send in step
        due = {"-r": f"{rate:.3f}"} if rate else {"--think": think, "--ramp": think}
        flags = [str(value) for pair in (settings | due).items() for value in pair]
        waiting = ["--timeout", f"{self.timeout:.3f}"]  # before the user's own, which take precedence
        start = [sys.executable, "-m", "allcomers", "load", url]
        return [*start, *waiting, *self.options, *flags, "-q", "--json", str(figures)]


def _why(child: ChildProcess, ended: bool) -> str:
    lines = [line for line in child.output_tail().splitlines() if line.strip()]
    last = lines[-1].removeprefix("allcomers: ")[:300] if lines else "no output"
    return f"the load generator {'gave no figures' if ended else 'did not end'}: {last}"


def _excess(term: Term, value: float | None) -> float:
    """Return the measured value as a multiple of the limit, or the limit of the value where more is better."""
    if value is None:
        return inf
    over, under = (value, term.limit) if term.comparison.startswith("<") else (term.limit, value)
    return over / under if under else inf


def _step(result: Result, clients: int, rate: float) -> Step:
    good = 1 - result.errors.get("status", 0) / result.answered if result.answered else 0.0
    percents = [float(name) for name in PERCENTILES]
    return Step(
        clients=clients,
        rate=rate,
        seconds=result.seconds,
        answered=result.answered,
        failing=result.error_share if result.answered else 1.0,
        held=result.connections_held,
        tps=result.tps * good,
        qps=result.qps,
        mean=result.response.mean if result.answered else nan,
        times=dict(zip(PERCENTILES, result.response.percentiles(*percents), strict=True)) if result.answered else {},
        curve=_curve(result.response),
        errors=dict(result.errors),
        redirects=bool(result.redirects),
        bytes_in=result.bytes_in_per_second,
        bytes_out=result.bytes_out_per_second,
        series=tuple(interval.answered / interval.seconds for interval in result.intervals if interval.seconds),
        load_busy=result.cpu,
        warnings=result.warnings,
    )


def _curve(times: Histogram) -> tuple[tuple[float, float], ...]:
    """Return (seconds, share of all that took no longer): some points, the last of them the longest."""
    pairs = list(times.pairs())
    total = sum(count for _, count in pairs)
    points: list[tuple[float, float]] = []
    seen = plotted = 0
    for bucket, count in pairs:
        seen += count
        if seen - plotted >= total / _POINTS or seen == total:
            points.append((highest(bucket) / 1e9, seen / total))
            plotted = seen
    return tuple(points)
