"""The admin's server, as the supervisor has it: a process beside the workers, started, watched, replaced as they are.

It has a Workers of its own, so nothing that happens here counts for the server: if it cannot begin, or dies, that is
logged, and requests are served on. It is the last to leave, for until then it tells load balancers that we do.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from allcomers.config.options import Config
from allcomers.server.control_pipe import WorkerEnd
from allcomers.server.supervisor.listeners import Listeners
from allcomers.server.supervisor.liveness import Heartbeat
from allcomers.server.supervisor.workers import Worker, Workers
from allcomers.server.worker import MERCY, Job, work
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.counters import CounterBoard

if TYPE_CHECKING:
    from allcomers.protocol.message import Handler

_logger = logging.getLogger("allcomers.supervisor")

PATIENCE: Final = 1.0
"""Seconds that it has to end what it has begun: its streams never end by themselves."""

HANGS: Final = 30.0
"""Seconds without a sign of life after which it is replaced."""

EVERY: Final = 1.0
"""Seconds between two signs of life of the supervisor, and between two looks of it at how the workers are."""


class AdminProcess:
    """Made before the workers are forked.

    board      what it shows
    inherited  gives the descriptors that a predecessor left, by the text of filenos()
    leave_all  closes, in its process, what belongs to the server

    Raises ListenError, ConfigError.
    """

    def __init__(
        self,
        config: Config,
        board: CounterBoard,
        inherited: Callable[[str], list[int]],
        leave_all: Callable[[], object],
    ) -> None:
        self._config = config
        self._board = board
        self._leave_all = leave_all
        self._listeners = Listeners()
        self._listeners.open([config.admin], 128, lambda text: inherited(_mark(text)), "--admin")
        self._workers = Workers(self._serve, 1, PATIENCE, "the admin's process")
        self._heartbeat = Heartbeat(HANGS)
        self._since = time.time()
        self.due = 0.0  # when publish() is to be called next

    # ------------------------------------------------------------ for the supervisor

    @property
    def names(self) -> list[str]:
        return self._listeners.names("http")

    def filenos(self) -> list[tuple[str, list[int]]]:
        """What a successor inherits."""
        return [(_mark(text), fds) for text, fds in self._listeners.filenos()]

    def turn(self, now: float) -> None:
        """Do what is due."""
        if self._workers.failure:
            self._workers.failure = 0
            self._workers.on_hold = True
            _logger.error("there is no admin's server: it could not begin; requests are served all the same")
        for worker in self._heartbeat.ping(now, self._workers.all.values()):
            self._workers.kill_hung(worker)
        self._workers.reconcile(now)

    def timeout(self) -> float:
        """When turn() or publish() has something to do."""
        return min(self.due, self._workers.due(), self._heartbeat.due)

    def actions(self) -> dict[int, Callable[[], object]]:
        """What to do when which descriptor is readable."""
        return {
            worker.control.fileno(): partial(self._workers.receive, worker) for worker in self._workers.all.values()
        }

    def reap(self) -> None:
        self._workers.reap()

    def renew(self, config: Config) -> None:
        """The options have changed."""
        self._config = config
        self._workers.replace_all()

    def publish(self, stage: int, workers: Workers, now: float) -> None:
        """Write down how the server is and its workers are, each once a second at least."""
        head = self._board.head
        head[counters.STAGE] = stage
        head[counters.WANTED] = workers.wanted
        head[counters.SCHEME] = counters.SCHEMES.index(workers.scheme)
        head[counters.BEAT] = int(now * 1e9)
        for worker in workers.all.values():
            if worker.slot.place:
                _publish(self._board.row(worker.slot.place), worker)
        self.due = now + EVERY

    def close_here(self) -> None:
        """In a worker: nothing of this is its own."""
        self._listeners.close()
        for worker in self._workers.all.values():
            worker.control.close()

    def end(self, *, is_last: bool) -> None:
        """All have left: so does this. Takes no longer than MERCY. `is_last`: nobody else has its socket."""
        if is_last:
            self._listeners.shut_out()
        self._listeners.close()
        self._workers.leave(signal.SIGINT)
        until = monotonic() + MERCY
        while self._workers.all and monotonic() < until:
            self._workers.reap()
            time.sleep(0.01)
        for pid in self._workers.all:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ------------------------------------------------------------ in its own process

    def _serve(self, slot: WorkerSlot, control: WorkerEnd) -> int:
        self._leave_all()
        from allcomers.server.admin.site import PLACES

        own = Config(
            interface="web", model="thread", calls="inline", access_log="off", graceful_timeout=PATIENCE, max_body=1,
            max_connections=PLACES, user=self._config.user, group=self._config.group,
            log_level=self._config.log_level, server_header=self._config.server_header,
        )  # fmt: skip
        return work(Job(config=own, load=self._site), self._listeners.all, slot, control)

    def _site(self) -> Handler:
        from allcomers.server.admin.allowed_hosts import names_of
        from allcomers.server.admin.site import site

        return site(self._board, self._about(), names_of(self._config.admin, self._config.admin_hosts))

    def _about(self) -> dict[str, Any]:
        """What serves, as long as it does."""
        config = self._config
        return {"pid": os.getppid(), "since": self._since, "bind": list(config.bind), "threads": config.threads}


def _mark(text: str) -> str:
    """What is listened on here is not what a --bind of the same words is for."""
    return f"--admin {text}"


def _publish(row: memoryview[int], worker: Worker) -> None:
    row[counters.STATE] = counters.READY if worker.ready else counters.NEW
    if not worker.stays:
        row[counters.STATE] = counters.GOING
    row[counters.PID] = worker.pid
    row[counters.BORN] = int(worker.born * 1e9)
    row[counters.SILENT] = int(worker.silent * 1e3)
