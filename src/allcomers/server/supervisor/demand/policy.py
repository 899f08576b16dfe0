"""The policy of `--workers MIN-MAX`: when there is to be one worker more, or one less. No clock and no I/O.

One more, when for GROW_AFTER seconds the workers were busy or calls waited, and the machine has CPU time left for it.
One less, when for a much longer time the others could have carried the load with room. What keeps it from flapping:

    a gap        One more at 80 % of n workers; one less only where the others would be at 50 %. So a steady load that
                 brings a worker is always above the line at which it goes, also where one more is just enough.
    a pause      After each change, until the new worker serves and has had time to take its part.
    a memory     What was taken away and soon missed is kept for twice as long the next time, and so on up to an hour.
                 That also holds where the figures do not show what limits a worker.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

GROW_AFTER: Final = 2.0
"""Seconds for which there must be need of another worker: three looks of one second."""

SHRINK_AFTER: Final = 60.0
"""Seconds for which one worker must have been too many."""

LONGEST: Final = 3600.0
"""The same, at most, where workers that went were missed."""

REGRET: Final = 3.0
"""A worker is missed if another must start within so many times the seconds that it was too many before it went."""

PAUSE: Final = 3.0
"""Seconds after a change, or since all workers serve, in which nothing is decided."""

HIGH: Final = 0.8
"""The share of their time that workers are busy, above which they need another."""

LOW: Final = 0.5
"""The share at most that the others would be busy if one went."""

WAIT: Final = 0.1
"""Seconds that a call or a peer waits for its turn, above which another worker is needed."""

SPARE: Final = 0.25
"""The part of a worker's CPU time that must be idle: one more that only takes it from the others is of no use."""

LIGHT: Final = 0.25
"""The part of all cores that the workers may use while none is idle: up to that, others take the rest, and one more
gets its share from them."""

SMOOTHING: Final = 0.2
"""The part of each look in the mean by which a worker goes: a mean over about five seconds."""


class Load(NamedTuple):
    """The load of a second.

    serving  workers that serve
    busy     the shares of it, 0 to 1, for which they were busy, added up
    wait     seconds that a call waits for a thread, or a peer for a worker; inf where none has its turn
    refused  requests that got 503 because of overload
    cpu      cores that the workers used
    cores    that the server may use
    spare    those of them that were idle; inf if the system does not report it
    """

    serving: int
    busy: float
    wait: float
    refused: int
    cpu: float
    cores: float
    spare: float


class Reason(enum.Enum):
    """The reason of a change."""

    BUSY = "the workers were busy"
    WAITING = "calls waited"
    IDLE = "the others carry the load"


class _Phase(enum.Enum):
    SETTLING = "after a change, or while a worker is missing"
    STEADY = "there is no reason to change"
    RISING = "there is one for another worker"
    FALLING = "there is one for a worker less"


class DemandPolicy:
    """The number of workers by demand, between `least` and `most`.

    patience  seconds for which a worker must be too many before it goes
    """

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self.patience = SHRINK_AFTER
        self._wanted = 0
        self._mean = 0.0
        self._phase = _Phase.SETTLING
        self._since = 0.0  # when the phase began
        self._shrunk = -LONGEST * REGRET

    def look(self, now: float, wanted: int, load: Load) -> Reason | None:
        """Return the reason to have one worker more or less than `wanted`; None to have as many. Call once a second.

        The change is made before the next look, or was not possible: what `wanted` is then decides.
        """
        self._mean += (load.busy - self._mean) * SMOOTHING
        need = _need(load)
        if wanted != self._wanted or load.serving < wanted:
            self._wanted = wanted
            self._enter(_Phase.SETTLING, now, anew=True)
        elif self._phase is not _Phase.SETTLING or now - self._since >= PAUSE:
            self._enter(self._next(wanted, load, need), now)
        lasted = now - self._since
        if self._phase is _Phase.RISING and lasted >= GROW_AFTER:
            self._grown(now)
            return need
        if self._phase is _Phase.FALLING and lasted >= self.patience:
            self._shrunk = now
            return Reason.IDLE
        return None

    def _enter(self, phase: _Phase, now: float, *, anew: bool = False) -> None:
        if anew or phase is not self._phase:
            self._phase = phase
            self._since = now

    def _next(self, wanted: int, load: Load, need: Reason | None) -> _Phase:
        if need is not None:
            return _Phase.RISING if wanted < self.most and _has_room(load) else _Phase.STEADY
        if wanted > self.least and self._mean <= LOW * (wanted - 1):
            return _Phase.FALLING
        return _Phase.STEADY

    def _grown(self, now: float) -> None:
        """Note whether the last worker that went is missed."""
        missed = now - self._shrunk < REGRET * self.patience
        self.patience = min(LONGEST, 2 * self.patience) if missed else SHRINK_AFTER


def _need(load: Load) -> Reason | None:
    """Return the reason for another worker; None if there is none."""
    if load.wait > WAIT or load.refused:
        return Reason.WAITING
    return Reason.BUSY if load.busy > HIGH * load.serving else None


def _has_room(load: Load) -> bool:
    """Return whether one worker more gets CPU time that the others do not need."""
    return load.spare >= SPARE * load.cpu / load.serving or load.cpu <= LIGHT * load.cores
