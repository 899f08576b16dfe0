"""USR2: a new server takes over the listening sockets from this one, with new code of allcomers and of everything else.

The old supervisor starts the same command again, in the folder where it was started itself, with its sockets open and
a pipe to report through. The new one starts its workers; once they serve, it reports so, and the old one drains and
ends. If the new one ends before that, the old one goes on. At each moment one of them accepts from the same sockets, so
no connection is lost.

An environment variable describes what is handed over, for the process named there alone:

    ALLCOMERS_SUCCEEDS={"pid": 4711, "pipe": 9, "workers": 2, "sockets": [["127.0.0.1:8000", [5]]]}
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

from allcomers.server import systemd
from allcomers.server.supervisor.exit_status import ending
from allcomers.system.signals import blocked_signals, release

_logger = logging.getLogger("allcomers.supervisor")

VARIABLE: Final = "ALLCOMERS_SUCCEEDS"

_READY: Final = b"ready\n"


class Inheritance(NamedTuple):
    """What the new server gets.

    sockets  each bind and its descriptors
    workers  how many are wanted: by demand, the new one begins with as many
    """

    sockets: Sequence[tuple[str, list[int]]]
    workers: int


class Handover:
    """The start of a new server, up to the moment when it takes over or ends.

    folder     the folder to start it in
    hand_over  called with the new server's process id once it serves
    """

    def __init__(self, folder: str, hand_over: Callable[[int], object]) -> None:
        self._folder = folder
        self._hand_over = hand_over
        self._new: NewServer | None = None
        self._abandoned = False

    @property
    def is_running(self) -> bool:
        return self._new is not None

    @property
    def pids(self) -> list[int]:
        """The new server's process id, until it serves or has ended."""
        return [] if self._new is None else [self._new.pid]

    def start(self, inheritance: Inheritance, forget: Callable[[], object]) -> None:
        """Start a new server, unless one is starting; `forget` is as for NewServer."""
        if self._new is not None:
            _logger.warning("a new server is starting already: process %d", self._new.pid)
            return
        try:
            self._new = NewServer(inheritance, self._folder, forget)
        except OSError as error:
            _logger.error("no new server can be started: %s; this one serves on", error.strerror)
            return
        _logger.info("a new server starts, to take over: process %d", self._new.pid)

    def fileno(self) -> int:
        """Return the descriptor that is readable when receive() has something to do; -1 if there is none."""
        return -1 if self._new is None else self._new.fileno()

    def receive(self) -> None:
        """Hand over to the new server if it serves. If it has failed, reap() logs how it ended."""
        new = self._new
        if new is not None and new.serves() and not self._abandoned:
            self._new = None
            _logger.info("process %d has taken over; this one finishes its requests", new.pid)
            self._hand_over(new.pid)

    def abandon(self, signum: int) -> None:
        """Stop the new server, which does not serve yet, because this one must stop."""
        self._abandoned = True
        if self._new is not None:
            os.kill(self._new.pid, signum)

    def reap(self) -> None:
        """Collect the new server's exit status if it has ended."""
        if self._new is None:
            return
        pid, status = os.waitpid(self._new.pid, os.WNOHANG)
        if pid:
            self._new.close()
            self._new = None
            if not self._abandoned:
                code = os.waitstatus_to_exitcode(status)
                # With status 0 it was told to stop: by a signal to the group, which is on its way to this process, too.
                level = logging.ERROR if code else logging.INFO
                _logger.log(
                    level, "the new server, process %d, %s before it served: this one serves on", pid, ending(code)
                )

    def close_here(self) -> None:
        """Close the pipe in a forked process, which does not own it."""
        if self._new is not None:
            self._new.close()


class NewServer:
    """The new server, seen from the old one.

    folder   the folder to start in
    forget   called in the child, to drop the parent's signal handling

    Raises OSError if no process can be started.
    """

    def __init__(self, inheritance: Inheritance, folder: str, forget: Callable[[], object]) -> None:
        reader, writer = os.pipe()
        try:
            with blocked_signals():
                self.pid = os.fork()
                if self.pid == 0:
                    _become(inheritance, folder, writer, forget)
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.pipe = reader

    def fileno(self) -> int:
        """Return the descriptor that is readable once serves() has a result; -1 after that."""
        return self.pipe

    def serves(self) -> bool:
        """Return whether it serves; if not, it has ended or soon will. Call only when fileno() is readable."""
        data = os.read(self.pipe, 64)
        self.close()
        return data == _READY

    def close(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def _become(inheritance: Inheritance, folder: str, pipe: int, forget: Callable[[], object]) -> NoReturn:
    """Execute the new server in the child; never return into the supervisor's code."""
    try:
        forget()
        import json

        for fd in [pipe, *(fd for _, fds in inheritance.sockets for fd in fds)]:
            os.set_inheritable(fd, True)
        for variable in systemd.OF_ONE_PROCESS:
            if os.environ.get(variable) == str(os.getppid()):
                os.environ[variable] = str(os.getpid())
        os.environ[VARIABLE] = json.dumps({"pid": os.getpid(), "pipe": pipe, **inheritance._asdict()})
        if folder:
            os.chdir(folder)
        release()
        os.execv(sys.executable, sys.orig_argv)
    except BaseException as error:
        _logger.error("the new server cannot be started: %s", error)
    finally:
        os._exit(127)


class OldServer:
    """The server that this process must replace, and its descriptors; empty if there is none.

    pid      its process id until stop(); 0 if there is none
    workers  how many it wants; 0 if there is none
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self.pid = 0
        self._pipe = -1
        self.workers = 0
        self._sockets: list[tuple[str, list[int]]] = []
        text = environ.pop(VARIABLE, "")
        if text:
            self._inherit(text)

    def _inherit(self, text: str) -> None:
        import json

        given: dict[str, Any] = json.loads(text)
        if given["pid"] == os.getpid():
            self.pid = os.getppid()
            self._pipe = given["pipe"]
            self._sockets = given["sockets"]
            self.workers = given.get("workers", 0)  # an older release does not report them
            os.set_inheritable(self._pipe, False)

    def sockets(self, bind: str) -> list[int]:
        """Return its descriptors for this --bind. If the same --bind is given again, return the next ones."""
        for entry in self._sockets:
            if entry[0] == bind:
                self._sockets.remove(entry)
                return entry[1]
        return []

    def stop(self) -> None:
        """Report that this process serves, so that the old server drains and ends."""
        self.pid = 0
        if self._pipe >= 0:
            with suppress(OSError):  # it has ended already
                os.write(self._pipe, _READY)
        self.forget()

    def forget(self) -> None:
        """Close, in workers too, the descriptors that sockets() has not returned: their --bind is given no more."""
        for fd in (self._pipe, *(fd for _, fds in self._sockets for fd in fds)):
            if fd >= 0:
                os.close(fd)
        self._pipe = -1
        self._sockets = []
