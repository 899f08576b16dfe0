"""The listening sockets of the supervisor: opened once, shared by all workers.

They are bound at once, so a taken address is reported at once. The first worker that is ready makes them listen: until
then connections are refused, and a balancer sends them to a server that can answer.

Their owner decides how they are closed. No other process has the sockets that the supervisor opened: so they refuse new
connections before the last one is closed. Sockets passed in (fd://N, by systemd or a parent) may be open elsewhere, and
those passed to a new server are: there the next process that accepts serves new connections, so they are only closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeAlias

from allcomers.config.options import Config
from allcomers.system import sockets
from allcomers.system.listening.plain import PlainListener
from allcomers.system.listening.syn_filter import deafen
from allcomers.system.listening.unix_socket import UnixAccess
from allcomers.system.sockets import Bind


class _Entry(NamedTuple):
    """The sockets of one --bind. `path`: of a Unix socket, absolute: HUP may enter another folder; and `identity`:
    (device, inode) of the path when it was created."""

    bind: Bind
    sockets: list[socket.socket]
    path: str
    identity: tuple[int, int] | None


Ready: TypeAlias = Callable[[list[str], int], object]
"""Called when clients can connect, with the addresses, and the port of the first."""


class Listeners:
    """The sockets of a server, by --bind."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def open(
        self,
        binds: Sequence[str],
        backlog: int,
        inherited: Callable[[str], list[int]],
        access: UnixAccess,
        option: str = "--bind",
        *,
        at_once: bool,
    ) -> None:
        """Bind each of `binds`, which `option` has set. Sockets passed in that listen already go on listening.

        at_once    listen now, and not when a worker is ready
        inherited  returns the descriptors that an old server passed for a bind
        access     of Unix sockets that are created

        Raises ListenError, ConfigError.
        """
        for text in binds:
            bind = Bind(text, option)
            fds = inherited(text)
            found = [sockets.adopt(fd, bind) for fd in fds] if fds else sockets.bound(bind, access)
            for sock in found:
                if at_once or sockets.is_listening(sock):
                    sockets.listen(sock, backlog)
            path = os.path.abspath(bind.path) if bind.path else ""  # noqa: PTH100
            self._entries.append(_Entry(bind, found, path, _identity(path)))

    def open_all(self, config: Config, inherited: Callable[[str], list[int]]) -> None:
        """Bind all addresses of clients. Raises ListenError, ConfigError."""
        access, at_once = unix_access(config), config.listen_when == "start"
        self.open(config.bind, config.backlog, inherited, access, at_once=at_once)
        for option, binds in (("--bind-plain", config.bind_plain), ("--redirect-https", config.redirect_https)):
            begin = len(self._entries)
            named = partial(_inherited_for, inherited, option)
            self.open(binds, config.backlog, named, access, option, at_once=at_once)
            for entry in self._entries[begin:]:
                entry.sockets[:] = [
                    PlainListener(sock, redirects=option == "--redirect-https") for sock in entry.sockets
                ]

    @property
    def all(self) -> list[socket.socket]:
        return [sock for entry in self._entries for sock in entry.sockets]

    def names(self, scheme: str) -> list[str]:
        return [sockets.name(sock, scheme) for sock in self.all]

    @property
    def port(self) -> int:
        """The port of the first socket; 0 for a Unix socket."""
        name = self.all[0].getsockname()
        return name[1] if isinstance(name, tuple) else 0

    def filenos(self) -> list[tuple[str, list[int]]]:
        """Return each bind and its descriptors, for a new server to inherit."""
        return [
            (_mark(entry.bind.option, entry.bind.text), [sock.fileno() for sock in entry.sockets])
            for entry in self._entries
        ]

    def shut_out(self) -> None:
        """Refuse new connections to sockets that this process owns. Workers can still accept those in the backlog."""
        own = [entry for entry in self._entries if entry.bind.fd < 0]
        deafen(sock for entry in own for sock in entry.sockets)
        for entry in own:
            if entry.identity is not None and entry.identity == _identity(entry.path):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108

    def close(self) -> None:
        """Close the sockets in this process alone."""
        for sock in self.all:
            sock.close()
        self._entries.clear()


def _mark(option: str, text: str) -> str:
    """Return the name of an address for a new server: two options may have the same text, "127.0.0.1:0"."""
    return text if option in ("--bind", "--admin") else f"{option} {text}"


def _inherited_for(inherited: Callable[[str], list[int]], option: str, text: str) -> list[int]:
    return inherited(_mark(option, text))


def unix_access(config: Config) -> UnixAccess:
    """Return the access to Unix sockets. Raises ConfigError for unknown names."""
    uid = gid = -1
    if config.uds_owner:
        from allcomers.server.privileges import owner_of

        uid, gid = owner_of(config.uds_owner, "--uds-owner")
    return UnixAccess(int(config.uds_mode, 8) if config.uds_mode else None, uid, gid)


def _identity(path: str) -> tuple[int, int] | None:
    """Return (device, inode) of `path`; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino
