"""The listening sockets, as the supervisor has them: opened once, shared by all workers, and left to others at the end.

Whose they are decides how they are left. Nobody else has what we opened: so newcomers are kept out before the last is
closed. What was handed to us (fd://N, by systemd or a parent) others may hold too, and what we hand to a successor they
surely do: there, who comes now is served by the next who accepts, so nothing is done but close.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from allcomers.system import sockets
from allcomers.system.sockets import Bind


class _Place(NamedTuple):
    """What one --bind opened. `path`: (device, inode) of a Unix socket's path as we made it."""

    bind: Bind
    sockets: list[socket.socket]
    path: tuple[int, int] | None


class Listeners:
    """The sockets of a server, by the --bind that asked for them."""

    def __init__(self) -> None:
        self._places: list[_Place] = []

    def open(
        self, binds: Sequence[str], backlog: int, inherited: Callable[[str], list[int]], option: str = "--bind"
    ) -> None:
        """Listen; `inherited` gives the descriptors that a predecessor left for a bind, `option` what asks for it.

        Raises ListenError, ConfigError.
        """
        for text in binds:
            bind = Bind(text, option)
            fds = inherited(text)
            found = [sockets.adopt(fd, bind, backlog) for fd in fds] if fds else sockets.listen(bind, backlog)
            self._places.append(_Place(bind, found, _identity(bind.path)))

    @property
    def all(self) -> list[socket.socket]:
        return [sock for place in self._places for sock in place.sockets]

    def names(self, scheme: str) -> list[str]:
        return [sockets.name(sock, scheme) for sock in self.all]

    def filenos(self) -> list[tuple[str, list[int]]]:
        """Each bind and its descriptors: what a successor inherits."""
        return [(place.bind.text, [sock.fileno() for sock in place.sockets]) for place in self._places]

    def shut_out(self) -> None:
        """Let nobody new come where that is ours to say; who waits already can still be accepted, by the workers."""
        own = [place for place in self._places if place.bind.fd < 0]
        sockets.deafen(sock for place in own for sock in place.sockets)
        for place in own:
            if place.path is not None and place.path == _identity(place.bind.path):
                with suppress(OSError):
                    os.unlink(place.bind.path)  # noqa: PTH108

    def close(self) -> None:
        """In this process alone."""
        for sock in self.all:
            sock.close()
        self._places.clear()


def _identity(path: str) -> tuple[int, int] | None:
    """Which file `path` is; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino
