"""The listening sockets of the supervisor: opened once, shared by all workers.

Their owner decides how they are closed. No other process has the sockets that the supervisor opened: so they refuse new
connections before the last one is closed. Sockets passed in (fd://N, by systemd or a parent) may be open elsewhere, and
those passed to a new server are: there the next process that accepts serves new connections, so they are only closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from allcomers.system import sockets
from allcomers.system.sockets import Bind


class _Entry(NamedTuple):
    """The sockets of one --bind. `path`: (device, inode) of a Unix socket's path when it was created."""

    bind: Bind
    sockets: list[socket.socket]
    path: tuple[int, int] | None


class Listeners:
    """The sockets of a server, by --bind."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def open(
        self, binds: Sequence[str], backlog: int, inherited: Callable[[str], list[int]], option: str = "--bind"
    ) -> None:
        """Listen at each of `binds`, which `option` has set.

        inherited  returns the descriptors that an old server passed for a bind

        Raises ListenError, ConfigError.
        """
        for text in binds:
            bind = Bind(text, option)
            fds = inherited(text)
            found = [sockets.adopt(fd, bind, backlog) for fd in fds] if fds else sockets.listen(bind, backlog)
            self._entries.append(_Entry(bind, found, _identity(bind.path)))

    @property
    def all(self) -> list[socket.socket]:
        return [sock for entry in self._entries for sock in entry.sockets]

    def names(self, scheme: str) -> list[str]:
        return [sockets.name(sock, scheme) for sock in self.all]

    def filenos(self) -> list[tuple[str, list[int]]]:
        """Return each bind and its descriptors, for a new server to inherit."""
        return [(entry.bind.text, [sock.fileno() for sock in entry.sockets]) for entry in self._entries]

    def shut_out(self) -> None:
        """Refuse new connections to sockets that this process owns. Workers can still accept those in the backlog."""
        own = [entry for entry in self._entries if entry.bind.fd < 0]
        sockets.deafen(sock for entry in own for sock in entry.sockets)
        for entry in own:
            if entry.path is not None and entry.path == _identity(entry.bind.path):
                with suppress(OSError):
                    os.unlink(entry.bind.path)  # noqa: PTH108

    def close(self) -> None:
        """Close the sockets in this process alone."""
        for sock in self.all:
            sock.close()
        self._entries.clear()


def _identity(path: str) -> tuple[int, int] | None:
    """Return (device, inode) of `path`; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino
