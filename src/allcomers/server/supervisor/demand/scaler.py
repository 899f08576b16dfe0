"""The scaler: once a second it measures the load, and wants one worker more or less where the policy says so."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

from allcomers.config.checks import WorkerRange
from allcomers.config.options import Config
from allcomers.server.supervisor.demand.policy import DemandPolicy, Load, Reason
from allcomers.server.supervisor.demand.worker_count import WorkerCount
from allcomers.system import counters
from allcomers.system.counters import CounterBoard

if TYPE_CHECKING:
    from allcomers.server.supervisor.demand.meter import Member, Meter

EVERY: Final = 1.0
"""Seconds between two looks."""

ROUNDS: Final = 3
"""Looks after a new worker serves at which clients are spread: some are in no state to move at the first."""

_SCALED: Final = {Reason.BUSY: counters.BUSY, Reason.WAITING: counters.WAITING, Reason.IDLE: counters.IDLE}


class Scaler:
    """The changes of `count` by demand.

    spread  has clients of the workers that have most connect anew
    due     when to call turn(); inf while the number of workers is fixed: then there is no work, and no memory for it
    """

    def __init__(self, count: WorkerCount, board: CounterBoard, spread: Callable[[], object], config: Config) -> None:
        self.due = inf
        self._count = count
        self._board = board
        self._spread = spread
        self._rounds = 0  # how often to call spread() still
        self._policy = DemandPolicy(1, 1)
        self._meter: Meter | None = None
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Use new options; what was learned about the load stays."""
        self._config = config
        if not isinstance(config.workers, WorkerRange):
            self.due, self._meter = inf, None
            return
        self._policy.least, self._policy.most = config.workers.least, int(config.workers)
        if self._meter is None:
            from allcomers.server.supervisor.demand.meter import Meter

            self.due, self._meter = 0.0, Meter(self._board)

    def turn(self, now: float, members: Sequence[Member], listeners: Sequence[socket.socket]) -> None:
        """Measure the load, and want one worker more or less where there are too few or too many."""
        assert self._meter is not None
        self.due = now + EVERY
        load = self._meter.look(now, self._config, members, listeners)
        reason = None if load is None else self._policy.look(now, self._count.wanted, load)
        if load is not None and self._rounds and load.serving >= self._count.wanted:
            self._rounds -= 1
            self._spread()
        if load is not None and reason is not None:
            self._rounds = 0 if reason is Reason.IDLE else ROUNDS
            self._count.scale(-1 if reason is Reason.IDLE else 1, _SCALED[reason], _explained(reason, load))


def _explained(reason: Reason, load: Load) -> str:
    if reason is Reason.IDLE:
        return f"the others carry the load, {load.busy:.0%} of one worker"
    if reason is Reason.BUSY:
        return f"{load.serving} were busy for {load.busy / load.serving:.0%} of the time"
    if load.refused:
        return f"{load.refused} requests got 503 in a second, for others wait"
    return f"calls wait {load.wait:.2g} s" if load.wait < inf else "calls or peers wait, and none has its turn"
