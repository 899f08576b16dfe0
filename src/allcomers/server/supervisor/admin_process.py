"""The admin's process, seen from the supervisor: it runs beside the workers and is started, watched and replaced alike.

It has a Workers of its own, so its failures do not affect the server: if it cannot start, or dies, that is logged, and
requests are still served. It stops last, because until then it reports to load balancers that the server stops.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from shutil import rmtree
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn

from allcomers.config.options import Config, is_private
from allcomers.server.admin.past import Past
from allcomers.server.control_pipe import KILL_MARGIN, WorkerEnd
from allcomers.server.job import Job, account
from allcomers.server.supervisor.demand.worker_count import WorkerCount
from allcomers.server.supervisor.listeners import Listeners, unix_access
from allcomers.server.supervisor.liveness import Heartbeat
from allcomers.server.supervisor.workers import Worker, Workers
from allcomers.system import counters
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.counters import CounterBoard
from allcomers.system.diagnostics.board import DiagnosticBoard
from allcomers.system.diagnostics.error_board import ErrorBoard
from allcomers.system.diagnostics.route_board import RouteBoard
from allcomers.system.processes import title

if TYPE_CHECKING:
    from allcomers.protocol.message import Handler

_logger = logging.getLogger("allcomers.supervisor")

PATIENCE: Final = 1.0
"""Seconds that it has for its requests: its streams never end by themselves."""

HANG_TIMEOUT: Final = 30.0
"""Seconds without a sign of life after which it is replaced."""

SHOWN: Final = ("threads", "admin_hosts", "user", "group", "log_level", "log_format", "log_config", "server_header")
"""Options that the admin's process uses."""

EVERY: Final = 1.0
"""Seconds between two writes of the supervisor's state to the board: of its sign of life, and of its workers."""


class AdminProcess:
    """The admin's process. Create it before the workers are forked.

    board      the counters that it shows
    inherited  returns the descriptors that an old server passed, by the text of filenos()
    leave_all  closes the server's descriptors in the admin's process

    diagnostics  what workers write down for it beside their figures
    due          when to call publish() next

    Raises ListenError, ConfigError.
    """

    def __init__(
        self,
        config: Config,
        board: CounterBoard,
        inherited: Callable[[str], list[int]],
        leave_all: Callable[[], object],
        work: Callable[[Job, list[socket.socket], WorkerSlot, WorkerEnd], NoReturn],
    ) -> None:
        self._config = config
        self._board = board
        self._leave_all = leave_all
        self._work = work
        self._listeners = Listeners()
        access = unix_access(config)
        self._listeners.open([config.admin], 128, lambda text: inherited(_mark(text)), access, "--admin", at_once=True)
        self._workers = Workers(self._serve, 1, PATIENCE, "the admin's process")
        self._heartbeat = Heartbeat(HANG_TIMEOUT)
        self._since = time.time()
        self._past = Past()
        self.diagnostics = DiagnosticBoard(
            errors=ErrorBoard() if is_private(config.admin) else None,
            routes=RouteBoard() if config.by_route else None,
            sockets=_folder(config) if config.profile else "",
        )
        self.due = 0.0

    # ------------------------------------------------------------ in the supervisor

    @property
    def names(self) -> list[str]:
        return self._listeners.names("http")

    def filenos(self) -> list[tuple[str, list[int]]]:
        """Return each bind and its descriptors, for a new server to inherit."""
        return [(_mark(text), fds) for text, fds in self._listeners.filenos()]

    def turn(self, now: float) -> None:
        """Carry out all work that is due."""
        if self._workers.failure:
            self._workers.failure = 0
            self._workers.on_hold = True
            _logger.error("the admin's process could not start; requests are served all the same")
        for worker in self._heartbeat.ping(now, self._workers.all.values()):
            self._workers.kill_hung(worker)
        self._workers.reconcile(now)

    def timeout(self) -> float:
        """Return the time at which turn() or publish() has work."""
        return min(self.due, self._workers.due(), self._heartbeat.due)

    def actions(self) -> dict[int, Callable[[], object]]:
        """Map each descriptor to the action for when it is readable."""
        return {
            worker.control.fileno(): partial(self._workers.receive, worker) for worker in self._workers.all.values()
        }

    @property
    def pids(self) -> list[int]:
        return list(self._workers.all)

    def reap(self) -> None:
        self._workers.reap()

    def renew(self, config: Config) -> None:
        """Use new options. Restart if that needs it: else those who watch see the reload, and keep their past."""
        old, self._config = self._config, config
        if any(getattr(old, name) != getattr(config, name) for name in SHOWN):
            self._workers.replace_all()

    def publish(self, stage: int, workers: Workers, reload: tuple[int, float], now: float) -> None:
        """Write the state of the server and its workers to the board, at least once a second.

        reload  (the state of the last reload, when it began)
        """
        head = self._board.head
        head[counters.STAGE] = stage
        _publish_count(head, workers.count)
        head[counters.RELOAD], head[counters.RELOAD_AT] = reload[0], int(reload[1] * 1e9)
        head[counters.RELOAD_LEFT] = sum(bool(worker.replace) for worker in workers.staying)
        head[counters.DIED], head[counters.REPLACED] = workers.died, workers.replaced
        head[counters.SCHEME] = counters.SCHEMES.index(workers.scheme)
        head[counters.BEAT] = int(now * 1e9)
        for worker in workers.all.values():
            if worker.slot.place:
                _publish(self._board.row(worker.slot.place), worker)
        self.due = now + EVERY

    def close_here(self) -> None:
        """Close in a worker what it does not own: all descriptors, and the past."""
        self._past.close()
        self._listeners.close()
        for worker in self._workers.all.values():
            worker.control.close()

    def end(self, *, is_last: bool) -> None:
        """Stop after all workers have stopped, within KILL_MARGIN. `is_last`: no other process has its socket."""
        if self.diagnostics.sockets:
            rmtree(self.diagnostics.sockets, ignore_errors=True)
        if is_last:
            self._listeners.shut_out()
        self._listeners.close()
        self._workers.leave(signal.SIGINT)
        until = monotonic() + KILL_MARGIN
        while self._workers.all and monotonic() < until:
            self._workers.reap()
            time.sleep(0.01)
        for pid in self._workers.all:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ------------------------------------------------------------ in its own process

    def _serve(self, slot: WorkerSlot, control: WorkerEnd) -> NoReturn:
        title.name_process(title.ADMIN)
        self._leave_all()
        from allcomers import models
        from allcomers.server.admin.site import CONNECTIONS, THREADS

        own = Config(
            interface="web", model=models.best(), calls="pool", threads=THREADS, access_log="off", max_body=1,
            graceful_timeout=PATIENCE, max_connections=CONNECTIONS, overload="off", user=self._config.user,
            group=self._config.group, log_level=self._config.log_level, server_header=self._config.server_header,
        )  # fmt: skip
        self._work(Job(config=own, load=self._site), self._listeners.all, slot, control)

    def _site(self) -> Handler:
        from allcomers.server.admin.allowed_hosts import names_of
        from allcomers.server.admin.site import site

        names = names_of(self._config.admin, self._config.admin_hosts)
        return site(self._board, self._past, self.diagnostics, self._about(), names)

    def _about(self) -> dict[str, Any]:
        """Return the facts about the server that stay the same."""
        config = self._config
        return {"pid": os.getppid(), "since": self._since, "bind": list(config.bind), "threads": config.threads}


def _folder(config: Config) -> str:
    """Make the folder of the sockets at which workers show their stacks: their user alone may enter it."""
    path = tempfile.mkdtemp(prefix="allcomers-")
    new = account(config)
    if new is not None:
        os.chown(path, new.uid, new.gid)
    return path


def _mark(text: str) -> str:
    """Return a name for an --admin that differs from a --bind of the same text."""
    return f"--admin {text}"


def _publish_count(head: memoryview[int], count: WorkerCount) -> None:
    head[counters.WANTED] = count.wanted
    head[counters.LEAST], head[counters.MOST] = (count.range.least, int(count.range)) if count.range else (0, 0)
    reason, when, by = count.scaled
    head[counters.SCALED], head[counters.SCALED_AT], head[counters.SCALED_BY] = reason, int(when * 1e9), by > 0


def _publish(row: memoryview[int], worker: Worker) -> None:
    row[counters.STATE] = counters.READY if worker.ready else counters.NEW
    if not worker.stays:
        row[counters.STATE] = counters.GOING
    row[counters.PID] = worker.pid
    row[counters.BORN] = int(worker.born * 1e9)
    row[counters.SILENT] = int(worker.silent * 1e3)
