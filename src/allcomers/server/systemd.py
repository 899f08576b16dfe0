"""What systemd is told, and what it hands over: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

No library of systemd's is needed: the one is a datagram of text, the others are variables. They are this process's own;
its workers must not have them (`VARIABLES`), or an app that starts a program would pass them on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, monotonic_ns
from typing import Final

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

OF_ONE_PROCESS: Final = ("WATCHDOG_PID", "LISTEN_PID")
"""The variables that name the process that the others are for."""

_FIRST: Final = 3
"""The first descriptor that is handed over: SD_LISTEN_FDS_START."""

NEVER: Final = float("inf")

PATIENCE: Final = 1.0
"""Seconds that a message may wait for a service manager that is busy."""


def binds(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The sockets that this process was given, as --bind has them: ("fd://3",); () if none were."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = environ.get("LISTEN_FDS", "")
    number = int(count) if count.isascii() and count.isdigit() else 0
    return tuple(f"fd://{fd}" for fd in range(_FIRST, _FIRST + number))


class Notifier:
    """Tells the service manager how it goes; says nothing where nobody listens.

    due    when the watchdog wants to hear of us next, on the monotonic clock
    every  seconds between two times: half of what it waits; infinite where there is none
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.every = _watchdog(environ) / 2 if path else NEVER
        self.due = NEVER

    def say(self, *lines: str) -> None:
        """One message of such lines as "READY=1". What goes wrong with that is not worth a server."""
        if not self._address:
            return
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto("\n".join(lines).encode("utf-8", "surrogateescape"), self._address)

    def ready(self, status: str, pid: int) -> None:
        """The process `pid` serves."""
        if pid == os.getpid():
            self.watch()
        self.say("READY=1", f"MAINPID={pid}", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        self.say("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self.say("STOPPING=1", f"STATUS={status}")

    def watch(self) -> None:
        """From now on the watchdog hears of us."""
        if self.every < NEVER:
            self.due = min(self.due, monotonic())

    def beat(self, now: float, alive: bool) -> None:
        """Once `due`: tell the watchdog, if we are `alive`."""
        if now >= self.due:
            self.due = now + self.every
            if alive:
                self.say("WATCHDOG=1")


def _watchdog(environ: Mapping[str, str]) -> float:
    """Seconds after which a silent process is ended; infinite for never."""
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not (text.isascii() and text.isdigit()):
        return NEVER
    return int(text) / 1e6 or NEVER
