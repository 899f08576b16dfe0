"""The figures of a trial: a Step for each load, a Trial for all of one server's. Values with a form in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import nan
from typing import Any, Final

from allcomers.commands.lab.data.candidate import Candidate

PERCENTILES: Final = ("50", "90", "99", "99.9", "100")
"""Percentiles of response times that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One load on a server. Times are seconds, memory and traffic bytes, rates per second.

    clients     planned; `held`: connections open at once
    rate        requests/s that were due; 0 in a closed loop
    answered    requests, whatever the status
    failing     share of requests and connections that failed, or got 400 and above; `errors`: by kind
    redirects   whether every response is a redirect
    met         whether the goal was met, if there was one
    missed      what was missed of it, in words; `excess`: the worst of that, as a multiple of its limit
    tps, qps    answered in full and well, and sent
    times       response time by percentile, as in PERCENTILES; `mean` of them all
    curve       (response time, share of all that took no longer), for a plot
    series      responses of each second
    load_busy   share of its cores that the load generator used
    cpu         of the server, for each response; busy: cores that it used
    others      cores of the server's and the load's that other processes used
    memory      anonymous, of all its processes, while the load ran
    warnings    reasons to distrust it
    """

    clients: int
    rate: float = 0.0
    seconds: float
    answered: int
    failing: float = 0.0
    met: bool = True
    missed: tuple[str, ...] = ()
    excess: float = 0.0
    held: int = 0
    tps: float
    qps: float = 0.0
    times: Mapping[str, float] = field(default_factory=dict)
    mean: float = nan
    curve: tuple[tuple[float, float], ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    redirects: bool = False
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    series: tuple[float, ...] = ()
    load_busy: float = nan
    cpu: float = nan
    busy: float = nan
    others: float = 0.0
    memory: int = 0
    threads: int = 0
    processes: int = 0
    warnings: tuple[str, ...] = ()

    def time(self, percentile: str) -> float:
        """Return a percentile in seconds; nan if nothing was answered."""
        return self.times.get(percentile, nan)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Step:
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        known["curve"] = tuple((a, b) for a, b in fields["curve"])
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One server, from its start to its end.

    stage     "screen", "ladder" or "open"
    number    of the round, from 0
    start     seconds until it listened
    memory    bytes before the first step, warmed up
    switches  context switches for each response; nan if the kernel does not report them
    took      seconds in total
    failure   why it ended early; "" if it did not
    """

    stage: str
    number: int
    candidate: Candidate
    steps: tuple[Step, ...] = ()
    start: float = nan
    memory: int = 0
    switches: float = nan
    took: float = 0.0
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Trial:
        steps = tuple(map(Step.from_dict, fields["steps"]))
        return cls(**{**fields, "candidate": Candidate.from_dict(fields["candidate"]), "steps": steps})
