"""The announcements of a server that listens: standard error, PID file, service manager, old server.

The first is made once, when all first workers are ready. The service manager is notified of each reload, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from allcomers.errors import OperatorError
from allcomers.server.error_log import complain
from allcomers.server.supervisor.handover import OldServer
from allcomers.server.supervisor.listeners import Listeners
from allcomers.server.supervisor.workers import Workers
from allcomers.server.systemd import Notifier

if TYPE_CHECKING:
    from allcomers.server.supervisor.pid_file import PidFile


class Announcer:
    """The supervisor's announcements, and the PID file that is part of them.

    done  bool: the first announcement was made
    """

    def __init__(self, notifier: Notifier, old_server: OldServer, listeners: Listeners, workers: Workers) -> None:
        self.done = False
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

    def turn(self, admin_names: Iterable[str]) -> None:
        """Announce that the server listens, or that a reload is complete, if it has become so."""
        if self._workers.all_ready and not self.done:
            self._announce(admin_names)
        if self._reloading and self._workers.is_settled:
            self._reloading = False
            self._notifier.ready(self._status(), os.getpid())

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
        for name in self._listeners.names(self._workers.scheme):
            print(f"Listening at: {name} (pid {os.getpid()})", file=sys.stderr)
        for name in admin_names:
            print(f"Admin at: {name}", file=sys.stderr)
        sys.stderr.flush()
        if self._old_server.pid:
            self._old_server.stop()  # it notifies the service manager, which as yet believes only that process
            self._notifier.watch()
        else:
            self._notifier.ready(self._status(), os.getpid())

    def _status(self) -> str:
        workers = self._workers.wanted
        return f"{workers} worker{'s' if workers > 1 else ''}: {', '.join(self._listeners.names(self._workers.scheme))}"

    def close(self) -> None:
        """Remove the PID file."""
        if self._pid_file is not None:
            self._pid_file.remove()
