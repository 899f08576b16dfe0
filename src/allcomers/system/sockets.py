"""Sockets: listen, accept, send a segment, read their state from the kernel. The one file that knows errno."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from allcomers.errors import ConfigError, ListenError, PeerError
from allcomers.protocol.compiled import Server
from allcomers.protocol.message import FileSlice, Segment

RECEIVE: Final = 64 * 1024
"""Bytes requested of a socket at once. A read that comes short of it has got all that was there."""

FD_SETSIZE: Final = 1024
"""Descriptors that select(2) can watch. Compiled into the C library; Python cannot look it up."""

FD_SETSIZE: Final = 1024
"""Descriptors that select(2) can watch. Compiled into the C library; Python cannot look it up."""

_FILE_STEP: Final = 1024 * 1024
"""Bytes of a file handed to the kernel at once, so that one download does not keep a loop from the others."""

_GONE_AGAIN: Final = frozenset(
    (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
)
"""accept(2) reports the errors of a connection that has failed already: they are that peer's, not the listener's."""

_UNACKED: Final = 24
"""Where `struct tcp_info` has tcpi_unacked: of a listener, the length of its queue (linux/tcp.h, net/ipv4/tcp.c)."""

_MORE: Final = 16
"""Peers that may come while those that wait are counted."""

_MANY: Final = 4096
"""The longest backlog that a kernel allows: net.core.somaxconn by default."""

PAUSE: Final = 0.1
"""Seconds for which nothing is accepted after accept(2) failed for want of descriptors: at once it would fail again."""


class Bind:
    """An address to listen on: HOST:PORT, [HOST]:PORT, :PORT, unix:PATH or fd://N. Raises ConfigError.

    option  the option that has set it
    """

    def __init__(self, text: str, option: str = "--bind") -> None:
        self.text = text
        self.option = option
        self.path = ""
        self.fd = -1
        self.host = ""
        self.port = 0
        if text.startswith("unix:"):
            self.path = text.removeprefix("unix:")
            if not self.path:
                raise ConfigError(f"{option} unix:PATH needs a path")
        elif text.startswith("fd://"):
            self.fd = self._number(text.removeprefix("fd://"), 1 << 20)
        else:
            host, colon, port = text.rpartition(":")
            if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
                raise ConfigError(f"{option} {text!r} is not HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N{_guess(text)}")
            self.host = host.strip("[]")
            self.port = self._number(port, 65535)

    def _number(self, text: str, most: int) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) > most:
            raise ConfigError(f"{self.option} {self.text!r}: {text!r} is not a number from 0 to {most}")
        return int(text)


def _guess(text: str) -> str:
    """Suggest a whole address in the place of one that is not: gunicorn accepts a host alone."""
    if re.fullmatch(r"\d+", text):
        return f"; perhaps :{text}"
    return f"; perhaps {text}:8000" if re.fullmatch(r"(\d+\.){3}\d+|localhost", text) else ""


_HINTS: Final = {
    errno.EADDRINUSE: "; another program listens there; {option} takes another address (port 0: a free port)",
    errno.EACCES: "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
}


def listen(bind: Bind, backlog: int) -> list[socket.socket]:
    """Return listening sockets for `bind`, one for each address that its host has. Raises ListenError."""
    try:
        if bind.fd >= 0:
            return [adopt(bind.fd, bind, backlog)]
        if bind.path:
            return [_listen_unix(bind.path, backlog)]
        return _listen_tcp(bind.host, bind.port, backlog)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {bind.text}: {error.strerror}") from None
    except OSError as error:
        raise _refused(bind, error) from None


def adopt(fd: int, bind: Bind, backlog: int) -> socket.socket:
    """Return the listening socket that is open as `fd` already. Raises ListenError."""
    try:
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
        if listener.type != socket.SOCK_STREAM or listener.family not in (
            socket.AF_INET,
            socket.AF_INET6,
            socket.AF_UNIX,
        ):
            raise ListenError(f"cannot listen on {bind.text}: it is no TCP and no Unix stream socket")
        return _configure(listener, backlog)
    except OSError as error:
        raise _refused(bind, error) from None


def _refused(bind: Bind, error: OSError) -> ListenError:
    hint = (
        "" if bind.path and error.errno == errno.EACCES else _HINTS.get(error.errno or 0, "").format(option=bind.option)
    )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ListenError(f"cannot listen on {bind.text}: {reason}{hint}")


def _listen_tcp(host: str, port: int, backlog: int) -> list[socket.socket]:
    host = host or "0.0.0.0"
    # Bytes as they are: of a str, the tables of international names would be loaded first.
    name = host.encode("ascii") if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    for family, kind, proto, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # "localhost" is both 127.0.0.1 and ::1: with port 0, one free port for both.
        listener.bind((address[0], listeners[0].getsockname()[1], *address[2:]) if listeners else address)
        listeners.append(_configure(listener, backlog))
    return listeners


def _listen_unix(path: str, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_abandoned(path):
            raise
        Path(path).unlink()
        listener.bind(path)
    return _configure(listener, backlog)


def _is_abandoned(path: str) -> bool:
    """Return whether no server listens on this socket any more. Raises FileExistsError for a file that is no socket."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _configure(listener: socket.socket, backlog: int) -> socket.socket:
    if listener.family != socket.AF_UNIX:
        # What is accepted inherits it (tcp(7)): one call here, none for each peer. A response is sent whole
        # already, so Nagle's waiting could only delay its last part.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def name(listener: socket.socket, scheme: str) -> str:
    """Return the address as a person would type it: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(address)}"
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"{scheme}://{host}:{address[1]}"


def accept(listener: socket.socket) -> tuple[socket.socket, tuple[str, int, Server]] | None:
    """Return a peer that waits and its address; None if none does. Raises OSError, mostly for want of descriptors."""
    while True:
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _GONE_AGAIN:  # the next may be there still
                continue
            raise
        sock.setblocking(False)
        server = _one(sock.getsockname())  # of a listener at 0.0.0.0 the peer knows a better name
        if not isinstance(address, tuple):
            return sock, ("", 0, server)
        return sock, (sys.intern(address[0]), address[1], server)  # a peer with many connections has one string


@lru_cache(1024)
def _one(name: tuple[Any, ...] | str | bytes) -> Server:
    """Return the same object for all peers that came to the socket of this name."""
    return (name[0], name[1]) if isinstance(name, tuple) else (os.fsdecode(name), None)


def waiting(listener: socket.socket) -> int:
    """Return how many peers to accept that wait at this moment; more where the kernel does not report it.

    To accept until none waits could take for ever, where others have the same listener and peers keep coming.
    """
    count = queued(listener)
    return _MANY if count is None else count + _MORE


def queued(listener: socket.socket) -> int | None:
    """Return how many peers wait to be accepted; None where the kernel does not report it (Linux does for TCP, in
    TCP_INFO)."""
    if listener.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return None
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED + 4)
    return int(struct.unpack_from("I", info, _UNACKED)[0])


def send(sock: socket.socket, segment: Segment) -> int:
    """Send as much of `segment` as the kernel takes, a file by sendfile(2); b"" ends our side. Return the bytes sent.

    Raises BlockingIOError where it takes nothing now, PeerError where a file has become too short.
    """
    if isinstance(segment, FileSlice):
        step = min(segment.count, _FILE_STEP)
        count = os.sendfile(sock.fileno(), segment.file.fileno(), segment.offset, step)
        if count == 0:
            raise PeerError("a file became shorter while it was sent")
        return count
    if segment:
        return sock.send(segment)
    sock.shutdown(socket.SHUT_WR)
    return 0


def refuse(sock: socket.socket, refusal: bytes) -> None:
    """Send `refusal` to a peer that cannot be served, as far as its socket takes it at once, and close."""
    try:
        if refusal:
            sock.send(refusal)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(RECEIVE)  # a socket closed with something unread would reset the peer before it reads
    except OSError:
        pass
    sock.close()


def held(sock: socket.socket) -> int:
    """Return the bytes sent that the peer has not acknowledged; 0 where the system does not report them (tcp(7),
    SIOCOUTQ)."""
    try:
        import fcntl
        import termios

        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ImportError):
        return 0


_SO_ATTACH_FILTER: Final = 26


def deafen(listeners: Iterable[socket.socket]) -> None:
    """Drop new connections, while those in the backlog are still served; on Linux only, else do nothing.

    A listener that is closed resets peers that came between the last accept and the close. A socket filter (socket(7),
    SO_ATTACH_FILTER) of one instruction, "take 0 bytes", drops each SYN before: its sender tries again a second
    later and then meets a closed port, or the next server.
    """
    import ctypes  # late: it takes 5 ms, and only a server that leaves needs it

    for listener in listeners:
        if listener.family == socket.AF_UNIX or (not hasattr(socket, "EPOLLIN") and os.uname().sysname != "Linux"):
            continue
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0
        program = struct.pack("HP", 1, ctypes.addressof(drop))
        try:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except OSError:
            return
