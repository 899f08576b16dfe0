"""The values of an analysis: rungs, standings, ranks and a verdict. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from allcomers.commands.lab.analysis import statistics
from allcomers.commands.lab.analysis.scaling import Law
from allcomers.commands.lab.analysis.statistics import NOTHING, Interval, Steadiness
from allcomers.commands.lab.data.candidate import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """All trials' steps with so many clients: requests/s, and medians over trials of the rest.

    mean     of response times, with percentiles beside it
    traffic  bytes/s, both ways
    """

    clients: int
    tps: Interval
    mean: float
    p50: float
    p99: float
    p999: float
    traffic: float
    cpu: float
    memory: float
    failing: float
    held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRung:
    """All trials' steps at a fraction of the peak: requests/s that were due and that were answered, and medians."""

    rate: float
    tps: float
    p50: float
    p99: float
    p999: float
    failing: float
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A candidate after all its trials. Times are seconds, memory bytes.

    stage       the last that it was in
    capacity    requests/s, the best step of each trial that met the goal; `limited`: the load generator was the limit,
                so that it is an estimate from the CPU that the server left idle
    clients     at that step
    missed      what it missed of the goal at the step that came nearest to it, in words, if it has no capacity; `rate`:
                requests/s there, `clients` at that step
    first       requests/s in the first look
    to_best     its capacity relative to the best, round by round; `tied`: the two cannot be told apart
    alone       response time of a lone client, the mean: Rmin of Little's law
    knee        N* = (Rmin + Z)·Xmax
    memory      for each connection
    sustained   requests/s, the highest rate of the open loop that met the goal; 0 if there was none
    switches    context switches for each response
    threads, processes   at most, at once
    curve       (response time, share of responses) in the open loop, at the step nearest to 80 % of the peak
    """

    candidate: Candidate
    stage: str
    failure: str = ""
    capacity: Interval = NOTHING
    limited: bool = False
    clients: int = 0
    rate: float = nan
    missed: str = ""
    first: float = nan
    to_best: Interval = NOTHING
    tied: bool = False
    alone: float = nan
    knee: float = nan
    law: Law | None = None
    cpu: Interval = NOTHING
    memory: float = nan
    switches: float = nan
    threads: int = 0
    processes: int = 0
    rungs: tuple[Rung, ...] = ()
    open_rungs: tuple[OpenRung, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    sustained: float = 0.0
    steadiness: Steadiness = statistics.UNKNOWN
    errors: tuple[tuple[str, int], ...] = ()

    @property
    def is_best(self) -> bool:
        """Whether it is the candidate that all are compared with."""
        return self.to_best.count > 0 and self.to_best.low == self.to_best.high == 1

    def rung(self, clients: int) -> Rung | None:
        """Return the rung of so many clients, or of the next fewer that were tried; None if there is none."""
        return next((rung for rung in reversed(self.rungs) if rung.clients <= clients), None)

    def p99(self, clients: int) -> float:
        """Return seconds, with so many clients or the next fewer; nan if there were none."""
        rung = self.rung(clients)
        return rung.p99 if rung else nan


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate and the reason for its rank, in a sentence or two."""

    standing: Standing
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """chosen is None if nothing could be measured. `cautions`: what to know before trusting or using it."""

    chosen: Ranked | None
    runners_up: tuple[Ranked, ...]
    others: tuple[Ranked, ...]
    cautions: tuple[str, ...]
