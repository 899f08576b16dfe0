"""The announcements of a server that listens: standard error, PID file, service manager, old server.

The first is made once, when all first workers are ready. The service manager is notified of each reload, too. The log
has what is served, and at the end what was done.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Final

import allcomers
from allcomers import models
from allcomers.errors import OperatorError
from allcomers.server.error_log import announce, complain
from allcomers.server.job import Job
from allcomers.server.supervisor.handover import OldServer
from allcomers.server.supervisor.listeners import Listeners
from allcomers.server.supervisor.workers import Workers
from allcomers.server.systemd import Notifier
from allcomers.system import counters, descriptors

if TYPE_CHECKING:
    from allcomers.server.supervisor.pid_file import PidFile

_logger = logging.getLogger("allcomers.supervisor")

_KINDS: Final = {
    "service": "a TCP service", "web": "a web handler", "wsgi": "a WSGI app", "asgi": "an ASGI app",
    "asgi2": "an ASGI 2 app", "joined": "a table of apps",
}  # fmt: skip


class Announcer:
    """The supervisor's announcements, and the PID file that is part of them.

    done  bool: the first announcement was made
    """

    def __init__(
        self, notifier: Notifier, old_server: OldServer, listeners: Listeners, workers: Workers, job: Job
    ) -> None:
        self.done = False
        self._job = job
        self._since = monotonic()
        self._reloading = False
        self._notifier = notifier
        self._old_server = old_server
        self._listeners = listeners
        self._workers = workers
        self._pid_file: PidFile | None = None

    def claim(self, path: str) -> None:
        """Use the PID file at `path`, if no other process owns it. Raises OperatorError."""
        from allcomers.server.supervisor.pid_file import PidFile

        self._pid_file = PidFile(path)
        self._pid_file.claim(self._old_server.pid)

    def turn(self, admin_names: Iterable[str]) -> bool:
        """Announce that the server listens, or that a reload is complete, if it has become so.

        Return whether it listens from now on.
        """
        listens = self._workers.all_ready and not self.done and bool(self._listeners.all)  # none: it was told to end
        if listens:
            self._announce(admin_names)
        if self._reloading and self._workers.is_settled:
            self._reloading = False
            self._notifier.ready(self._status(), os.getpid())
        return listens

    def reloading(self) -> None:
        """Notify the service manager that a reload starts; turn() notifies it of the end."""
        self._reloading = self.done
        if self._reloading:
            self._notifier.reloading("the workers are replaced")

    def _announce(self, admin_names: Iterable[str]) -> None:
        self.done = True
        if self._pid_file is not None:
            try:
                self._pid_file.write()
            except OperatorError as error:
                complain(error)
        lines = [f"Listening at: {name} (pid {os.getpid()})" for name in self._listeners.names(self._workers.scheme)]
        lines += [f"Admin at: {name}" for name in admin_names]
        lines += filter(None, [descriptors.told(self._job.config.descriptors)])
        announce("".join(f"{line}\n" for line in lines))
        self._log_start()
        if self._old_server.pid:
            self._old_server.stop()  # it notifies the service manager, which as yet believes only that process
            self._notifier.watch()
        else:
            self._notifier.ready(self._status(), os.getpid())

    def _log_start(self) -> None:
        """Log what is served, and how. The first worker has written down what it found (counters.py)."""
        from allcomers.protocol.compiled import KIND

        board = self._workers.slots.board
        row = next((board.row(worker.slot.place) for worker in self._workers.staying if worker.ready), board.head)
        kind = self._job.kind or _KINDS.get(counters.named(counters.KINDS, row[counters.KIND]), "an app")
        python = f"{KIND}, Python {sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
        model = counters.named(("", *models.TABLE), row[counters.MODEL])
        workers = _counted(self._workers.count.wanted, "worker")
        calls = counters.named(counters.WHERES, row[counters.WHERE])
        text = "allcomers %s (%s): %s is %s; %s, %s, calls %s"
        _logger.info(text, allcomers.__version__, python, self._job.name, kind, model, workers, calls)

    def stopping(self, how: str) -> None:
        """Log that the server begins to stop."""
        if self.done:
            _logger.info("stopping: %s", how)

    def stopped(self) -> None:
        """Log what the server has done, once it has served."""
        if not self.done:
            return
        board, classes = self._workers.slots.board, range(counters.ANSWERED, counters.ANSWERED + counters.CLASSES)
        requests = _counted(sum(sum(board.shares(slot)) for slot in classes), "request")
        connections = _counted(sum(board.shares(counters.ACCEPTED)), "connection")
        _logger.info("stopped after %.1f s: %s, %s", monotonic() - self._since, requests, connections)

    def _status(self) -> str:
        names = ", ".join(self._listeners.names(self._workers.scheme))
        return f"{_counted(self._workers.count.wanted, 'worker')}: {names}"

    def close(self) -> None:
        """Remove the PID file."""
        if self._pid_file is not None:
            self._pid_file.remove()


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
