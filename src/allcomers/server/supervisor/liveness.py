"""Liveness: the supervisor pings each worker every few seconds, and a worker that does not answer for too long hangs.

A ping is a byte in a socket that every loop watches already (control_pipe.py): it costs a loop nothing between pings,
and no call of the app is interrupted. A worker answers between two steps of its work: one whose only thread runs a call
of the app does not answer until the call returns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from allcomers.config.options import Config
from allcomers.server.control_pipe import PING
from allcomers.server.supervisor.workers import NEVER, Worker

_logger = logging.getLogger("allcomers.supervisor")

RECYCLING_INTERVAL: Final = 1.0
"""Most seconds between two pings if workers have recycling limits, which they check with each answer."""

INTERVAL: Final = 5.0
"""Most seconds between two pings."""


class Heartbeat:
    """Pings all workers at the same times.

    hang_timeout  seconds without an answer after which a worker hangs; 0 for never
    most          most seconds between two pings; NEVER if only `hang_timeout` needs the answers
    """

    def __init__(self, hang_timeout: float, most: float = NEVER) -> None:
        self._hang_timeout = hang_timeout
        self._every = min(most, max(0.1, hang_timeout / 12)) if hang_timeout else most
        if self._every < NEVER:
            self._every = min(self._every, INTERVAL)
        self._last = monotonic()
        self.due = self._last if self._every < NEVER else NEVER

    def ping(self, now: float, workers: Iterable[Worker]) -> list[Worker]:
        """Ping the workers if it is due; return those that hang.

        Call it when all messages that came before are read. It counts the time in which this process ran: where all
        processes were stopped for a while, no worker was silent.
        """
        if now < self.due:
            return []
        passed = min(now - self._last, 2 * self._every)
        self._last = now
        self.due = now + self._every
        hung = []
        for worker in workers:
            if worker.ping_pending:
                worker.silent += passed
                if self._hang_timeout and worker.stays and worker.silent >= self._hang_timeout:
                    hung.append(worker)
            elif worker.ready:
                worker.ping_pending = True
                worker.control.order(PING)
            elif self._hang_timeout:
                self._warn_of_start(worker, passed)
        return hung

    def _warn_of_start(self, worker: Worker, passed: float) -> None:
        """Log once that a worker takes long to start, and let it: an app may load for as long as it needs."""
        before, worker.silent = worker.silent, worker.silent + passed
        if before < self._hang_timeout <= worker.silent:
            _logger.warning(
                "worker %d does not serve after %.0f s: the app is still being loaded", worker.pid, worker.silent
            )


def heartbeat(config: Config, watchdog: float) -> Heartbeat:
    """Return a Heartbeat for these options, and a watchdog that is notified every `watchdog` seconds."""
    has_limits = config.max_requests or config.max_memory or config.workers_lifetime
    return Heartbeat(config.hang_timeout, min(RECYCLING_INTERVAL if has_limits else NEVER, watchdog / 2))
