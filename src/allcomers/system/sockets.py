"""Sockets: listen, accept, send a segment, read their state from the kernel. The one file that knows errno."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from allcomers.errors import ConfigError, ListenError, PeerError
from allcomers.protocol.compiled import Server
from allcomers.protocol.message import FileSlice, Segment
from allcomers.system import nonblocking
from allcomers.system.listening.own_address import address_of_all
from allcomers.system.listening.plain import PlainListener
from allcomers.system.listening.unix_socket import UnixAccess, bound_unix
from allcomers.system.native.primitives import Socket, poll
from allcomers.system.processes import forks

RECEIVE: Final = 64 * 1024
"""Bytes requested of a socket at once. A read that comes short of it has got all that was there."""

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

_LAST_DATA_RECEIVED: Final = 52
"""Where it has tcpi_last_data_recv, in milliseconds."""

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


def bound(bind: Bind, access: UnixAccess) -> list[socket.socket]:
    """Return sockets that have `bind`, one for each address of its host, for listen(). Raises ListenError."""
    try:
        if bind.fd >= 0:
            return [adopt(bind.fd, bind)]
        if bind.path:
            return [_configure(bound_unix(bind.path, access))]
        return _bound_tcp(bind.host, bind.port)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {bind.text}: {error.strerror}") from None
    except OSError as error:
        raise _refused(bind.text, bind.option, error) from None


def adopt(fd: int, bind: Bind) -> socket.socket:
    """Return the socket that is open as `fd` already, bound or listening. Raises ListenError."""
    try:
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
        if listener.type != socket.SOCK_STREAM or listener.family not in (
            socket.AF_INET,
            socket.AF_INET6,
            socket.AF_UNIX,
        ):
            raise ListenError(f"cannot listen on {bind.text}: it is no TCP and no Unix stream socket")
        return _configure(listener)
    except OSError as error:
        raise _refused(bind.text, bind.option, error) from None


def listen(listener: socket.socket, backlog: int) -> None:
    """Accept connections into the backlog from now on; until then the kernel refuses them. Raises ListenError."""
    try:
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for those that it will accept: TIME_WAIT
        listener.listen(backlog)
    except OSError as error:
        raise _refused(name(listener, "tcp"), "--bind", error) from None


def is_listening(listener: socket.socket) -> bool:
    return listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


def _refused(address: str, option: str, error: OSError) -> ListenError:
    is_path = address.startswith("unix:")
    hint = "" if is_path and error.errno == errno.EACCES else _HINTS.get(error.errno or 0, "").format(option=option)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ListenError(f"cannot listen on {address}: {reason}{hint}")


def _bound_tcp(host: str, port: int) -> list[socket.socket]:
    host = host or "0.0.0.0"
    # Bytes as they are: of a str, the tables of international names would be loaded first.
    name = host.encode("ascii") if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    for family, kind, proto, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, proto)
        listeners.append(listener)
        try:
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # "localhost" is both 127.0.0.1 and ::1: with port 0, one free port for both.
            _bind_alone(listener, (address[0], listeners[0].getsockname()[1] or address[1], *address[2:]))
            _configure(listener)
        except OSError:
            for opened in listeners:
                opened.close()
            raise
    return listeners


def _bind_alone(listener: socket.socket, address: Any) -> None:
    """Bind so that no other program can bind the same address, even before this one listens. Raises OSError.

    Of two sockets with SO_REUSEADDR, Linux lets the second bind until the first one listens (socket(7)). So this one
    has it for a moment only: where connections of an earlier server, in TIME_WAIT, need it.
    """
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _configure(listener: socket.socket) -> socket.socket:
    if listener.family != socket.AF_UNIX:
        # What is accepted inherits it (tcp(7)): one call here, none for each peer. A response is sent whole
        # already, so Nagle's waiting could only delay its last part.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def name(listener: socket.socket, scheme: str) -> str:
    """Return the address as a person would type it: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(address)}"
    if isinstance(listener, PlainListener):
        scheme = {"https": "http", "tls": "tcp"}.get(scheme, scheme)
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"{scheme}://{host}:{address[1]}"


class Backlog:
    """The peers that wait at a listener, to be accepted by a loop: by descriptor."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self._server = address_of_all(listener)

    def accept(self) -> tuple[Any, tuple[str, int, Server]] | None:
        """Return a peer that waits, which does not block, and its address; None if none does. Raises OSError, mostly
        for want of descriptors."""
        while True:
            try:
                found = nonblocking.accept(self.listener)
            except OSError as error:
                if error.errno in _GONE_AGAIN:  # the next may be there still
                    continue
                raise
            if found is None:
                return None
            fd, host, port = found
            try:
                server = self._server or nonblocking.own_address(fd)
                return self.taken(fd), (host, port, server)
            except OSError:  # this peer's, too
                close_peer(fd)
            except MemoryError:
                close_peer(fd)
                raise

    def taken(self, fd: int) -> Any:
        """Return what stands for the peer that was accepted as `fd`."""
        return fd


def socket_of(fd: int, family: int = -1) -> socket.socket:
    """Return a socket that has the descriptor of a peer. Raises OSError."""
    return Socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0), 0, fileno=fd)


def waiting(listener: socket.socket) -> int:
    """Return how many peers to accept that wait at this moment; more where the kernel does not report it.

    To accept until none waits could take for ever, where others have the same listener and peers keep coming.
    """
    count = queued(listener)
    return _MANY if count is None else count + _MORE


def queued(listener: socket.socket) -> int | None:
    """Return how many peers wait to be accepted; None where the kernel does not report it (Linux does for TCP, in
    TCP_INFO)."""
    try:
        return _tcp_info(listener, _UNACKED)
    except OSError:
        return None


def acknowledge(sock: socket.socket) -> None:
    """Acknowledge what has come at once (tcp(7), TCP_QUICKACK). By Nagle's algorithm (RFC 9293, 3.7.4) a sender keeps a
    small segment until then, and the kernel would wait 40 ms for something to send with it."""
    if sys.platform == "linux":
        with suppress(OSError):  # a Unix socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def waited(sock: socket.socket) -> float:
    """Return the seconds since a peer has connected, or last sent something: the time that it has waited if it was just
    accepted. 0.0 where the kernel does not report it (Linux does for TCP, in TCP_INFO)."""
    return (_tcp_info(sock, _LAST_DATA_RECEIVED) or 0) / 1000


def _tcp_info(sock: socket.socket, at: int) -> int | None:
    """Return the number at this place of TCP_INFO; None where the kernel has none. Raises OSError."""
    if sock.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, at + 4)
    return int(struct.unpack_from("I", info, at)[0])


def ended(sock: socket.socket, *, both: bool = False) -> bool:
    """Return whether the peer has closed its side, or is gone; `both`: whether it receives no more, either, as after a
    reset. True for a socket that is closed. In any thread; unread bytes do not hide the end (poll(2), POLLRDHUP)."""
    fd = sock.fileno()
    if fd < 0:
        return True
    watch = poll()
    watch.register(fd, 0 if both else getattr(select, "POLLRDHUP", 0))  # beside errors and hang-ups
    if watch.poll(0) or sock.fileno() != fd:
        return True
    if both or hasattr(select, "POLLRDHUP"):
        return False
    try:  # elsewhere the end is seen only where all before it was read
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


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


def refuse(peer: socket.socket | int, refusal: bytes) -> None:
    """Send `refusal` to a peer that cannot be served, as far as its socket takes it at once, and close."""
    with suppress(OSError), _lent(peer) as sock:
        if refusal:
            sock.send(refusal)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(RECEIVE)  # a socket closed with something unread would reset the peer before it reads
    close_peer(peer)


@contextmanager
def _lent(peer: socket.socket | int) -> Iterator[socket.socket]:
    """A peer's socket; of a descriptor, one for a moment."""
    sock = socket_of(peer) if isinstance(peer, int) else peer
    try:
        yield sock
    finally:
        if sock is not peer:
            sock.detach()


def close(sock: socket.socket) -> None:
    """Close `sock`. Its descriptor is free afterwards whatever close(2) reports (man page: NOTES)."""
    try:
        sock.close()
    except MemoryError:  # of what is around close(2): there is more now
        sock.close()
    except OSError:
        pass


def close_peer(peer: socket.socket | int) -> None:
    """Close a peer, by its socket or its descriptor; end its connection though another process may have it, too.

    A copy of this process gives up all sockets that it finds (forks.py), but not one that was just being accepted.
    """
    if forks.has_copies:  # one more system call, only where it may be needed
        with suppress(OSError, MemoryError), _lent(peer) as sock:
            sock.shutdown(socket.SHUT_RDWR)
    if isinstance(peer, int):
        with suppress(OSError):
            os.close(peer)
    else:
        close(peer)


def held(sock: socket.socket) -> int:
    """Return the bytes sent that the peer has not acknowledged; 0 where the system does not report them (tcp(7),
    SIOCOUTQ)."""
    try:
        import fcntl
        import termios

        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ImportError):
        return 0
