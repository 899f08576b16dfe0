"""USR2: a new server takes over the listening sockets from this one, with new code of allcomers and of everything else.

The old supervisor starts the same command again, in the folder where it was started itself, with its sockets open and
a pipe to tell through. The new one starts its workers; once they serve, it says so, and the old one drains and ends. If
the new one ends before that, the old one stays what it is. At each moment somebody accepts from the same sockets, so no
connection is lost.

What is handed over stands in a variable, for the process named there alone:

    ALLCOMERS_SUCCEEDS={"pid": 4711, "pipe": 9, "sockets": [["127.0.0.1:8000", [5]]]}
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

from allcomers.server import systemd
from allcomers.system.signals import blocked_signals, release

_logger = logging.getLogger("allcomers.supervisor")

VARIABLE: Final = "ALLCOMERS_SUCCEEDS"

_READY: Final = b"ready\n"


class NewServer:
    """The new server, as the old one has it.

    sockets  each bind and its descriptors
    start    the folder to start in
    forget   called in the child: signals are not the parent's any more

    Raises OSError where no process can be had.
    """

    def __init__(self, sockets: Sequence[tuple[str, list[int]]], start: str, forget: Callable[[], object]) -> None:
        reader, writer = os.pipe()
        try:
            with blocked_signals():
                self.pid = os.fork()
                if self.pid == 0:
                    forget()
                    _become(sockets, start, writer)
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.pipe = reader

    def fileno(self) -> int:
        """Readable when it is known whether it serves."""
        return self.pipe

    def serves(self) -> bool:
        """Does it? Else it is about to end, or has ended. Only when fileno() is readable."""
        said = os.read(self.pipe, 64)
        self.close()
        return said == _READY

    def close(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def _become(sockets: Sequence[tuple[str, list[int]]], start: str, pipe: int) -> NoReturn:
    """In the child: never return into the supervisor's code."""
    try:
        import json

        for fd in [pipe, *(fd for _, fds in sockets for fd in fds)]:
            os.set_inheritable(fd, True)
        for variable in systemd.OF_ONE_PROCESS:
            if os.environ.get(variable) == str(os.getppid()):
                os.environ[variable] = str(os.getpid())
        os.environ[VARIABLE] = json.dumps({"pid": os.getpid(), "pipe": pipe, "sockets": sockets})
        if start:
            os.chdir(start)
        release()
        os.execv(sys.executable, sys.orig_argv)
    except BaseException as error:
        _logger.error("the new server cannot be started: %s", error)
    finally:
        os._exit(127)


class OldServer:
    """What this process has from the server that it is to follow; nothing, if there is none.

    pid  the old server's; 0 if there is none
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self.pid = 0
        self._pipe = -1
        self._sockets: list[tuple[str, list[int]]] = []
        text = environ.pop(VARIABLE, "")
        if text:
            self._take(text)

    def _take(self, text: str) -> None:
        import json

        given: dict[str, Any] = json.loads(text)
        if given["pid"] == os.getpid():
            self.pid = os.getppid()
            self._pipe = given["pipe"]
            self._sockets = given["sockets"]
            os.set_inheritable(self._pipe, False)

    def sockets(self, bind: str) -> list[int]:
        """Those that it had open for this --bind; each time those of another, if it was given again."""
        for place in self._sockets:
            if place[0] == bind:
                self._sockets.remove(place)
                return place[1]
        return []

    def stop(self) -> None:
        """We serve: it can go."""
        if self._pipe >= 0:
            with suppress(OSError):  # it is gone already
                os.write(self._pipe, _READY)
        self.forget()

    def forget(self) -> None:
        """Close what we have of it and did not take: its sockets at addresses that are not ours; in a worker too."""
        for fd in (self._pipe, *(fd for _, fds in self._sockets for fd in fds)):
            if fd >= 0:
                os.close(fd)
        self._pipe = -1
        self._sockets = []
