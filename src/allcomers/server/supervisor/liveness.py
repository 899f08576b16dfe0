"""The pulse: each worker is asked for a sign of life every few seconds, and who gives none for too long hangs.

The question is a byte in a pipe that every loop watches already (lifeline.py), so a loop has no cost but when it is
asked, and no call of the app is interrupted. A worker answers between two things that it does: one whose only thread is
in a call of the app does not, until the call returns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from allcomers.server.supervisor.workers import NEVER, Worker

_logger = logging.getLogger("allcomers.supervisor")

OFTEN: Final = 1.0
"""Seconds between two questions where a worker that answers also looks at its wear."""

SELDOM: Final = 5.0
"""Seconds between two questions at most."""


class Heartbeat:
    """Asks all workers at once, again and again.

    hang_timeout  seconds without an answer after which a worker is given up; 0 for never
    most   seconds between two questions at most; NEVER where nobody needs the answers but for `hang_timeout`
    """

    def __init__(self, hang_timeout: float, most: float = NEVER) -> None:
        self._hang_timeout = hang_timeout
        self._every = min(most, max(0.1, hang_timeout / 12)) if hang_timeout else most
        if self._every < NEVER:
            self._every = min(self._every, SELDOM)
        self._last = monotonic()
        self.due = self._last if self._every < NEVER else NEVER

    def ping(self, now: float, workers: Iterable[Worker]) -> list[Worker]:
        """Ask, if it is time to; who has been silent for too long.

        To be called when all words that were said before have been heard. Time counts as this process has lived it:
        where everything was stopped for a while, nobody was silent.
        """
        if now < self.due:
            return []
        passed = min(now - self._last, 2 * self._every)
        self._last = now
        self.due = now + self._every
        hanging = []
        for worker in workers:
            if worker.ping_pending:
                worker.silent += passed
                if self._hang_timeout and worker.stays and worker.silent >= self._hang_timeout:
                    hanging.append(worker)
            elif worker.ready:
                worker.ping_pending = True
                worker.control.ping()
            elif self._hang_timeout:
                self._wait_for(worker, passed)
        return hanging

    def _wait_for(self, worker: Worker, passed: float) -> None:
        """It does not serve yet, and how long an app takes to load is its own affair; but somebody should know."""
        before, worker.silent = worker.silent, worker.silent + passed
        if before < self._hang_timeout <= worker.silent:
            _logger.warning(
                "worker %d does not serve after %.0f s: the app is still being loaded", worker.pid, worker.silent
            )
