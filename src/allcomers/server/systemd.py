"""Notifications to systemd, and sockets from it: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

They need no library: a notification is a datagram of text, the rest are environment variables. These are for this
process alone; workers remove them (`VARIABLES`), or an app that starts a program would pass them on.
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
"""The variables that name the process for which the others are meant."""

_FIRST: Final = 3
"""The first descriptor from systemd: SD_LISTEN_FDS_START."""

NEVER: Final = float("inf")

PATIENCE: Final = 1.0
"""Seconds that a message may wait for a busy service manager."""


def binds(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sockets passed to this process, as for --bind: ("fd://3",); () if there are none."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = environ.get("LISTEN_FDS", "")
    number = int(count) if count.isascii() and count.isdigit() else 0
    return tuple(f"fd://{fd}" for fd in range(_FIRST, _FIRST + number))


class Notifier:
    """Notifications to the service manager; none are sent if there is no service manager.

    due    when the watchdog's next notification is due, on the monotonic clock
    every  seconds between two of them: half of its time-out; infinite without a watchdog
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.every = _watchdog(environ) / 2 if path else NEVER
        self.due = NEVER

    def send(self, *lines: str) -> None:
        """Send one message of lines such as "READY=1". Ignore errors: the server goes on without them."""
        if not self._address:
            return
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto("\n".join(lines).encode("utf-8", "surrogateescape"), self._address)

    def ready(self, status: str, pid: int) -> None:
        """Report that the process `pid` serves."""
        if pid == os.getpid():
            self.watch()
        self.send("READY=1", f"MAINPID={pid}", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        self.send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self.send("STOPPING=1", f"STATUS={status}")

    def watch(self) -> None:
        """Notify the watchdog from now on."""
        if self.every < NEVER:
            self.due = min(self.due, monotonic())

    def beat(self, now: float, alive: bool) -> None:
        """Notify the watchdog if that is due and the server is `alive`."""
        if now >= self.due:
            self.due = now + self.every
            if alive:
                self.send("WATCHDOG=1")


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds after which the watchdog ends a silent process; infinite for never."""
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not (text.isascii() and text.isdigit()):
        return NEVER
    return int(text) / 1e6 or NEVER
